"""A store that another process writes while this one reads it: counts only grow, and nothing is lost or raised."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from rows import SETTINGS, problem

from offleash.store import Store

ROUNDS, PROBLEMS = 40, 3

# One round: sample i of every problem, then its verdict; every fifth is undecided, every second of the others right.
WRITER = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from rows import problem, sample, verdict
from offleash.store import Store
with Store.open(sys.argv[1]).writer() as writer:
    for i in range({ROUNDS}):
        samples = [sample(problem(p), i) for p in range({PROBLEMS})]
        writer.add_samples(samples)
        writer.add_verdicts([verdict(s, None if i % 5 == 4 else i % 2 == 0) for s in samples])
"""


@pytest.mark.slow
def test_counts_grow_while_a_writer_appends(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    with store.writer() as writer:
        writer.add_model({"id": "m", "label": "base"})
        writer.add_sampler(SETTINGS)
        writer.add_problems([problem(p) for p in range(PROBLEMS)], [0.5] * PROBLEMS)
    seen: list[dict[str, tuple[int, int, int, int]]] = [{}]
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "s")]) as process:
        last = False
        while not last:
            last = process.poll() is not None  # then once more
            now = {row.id: (row.c, row.n, row.undecided, row.unverified) for row in store.counts("base")}
            if now != seen[-1]:
                seen.append(now)
    assert process.returncode == 0
    assert len(seen) > 3, "the reader met the writer at work"
    for before, after in itertools.pairwise(seen):
        assert before.keys() <= after.keys()
        for name, (c, n, undecided, unverified) in after.items():
            old = before.get(name, (0, 0, 0, 0))
            assert c >= old[0] and n >= old[1] and undecided >= old[2] and c <= n
            assert n + undecided + unverified >= sum(old[1:])  # no sample disappears
        # Parts are whole rounds: every problem has as many samples and verdicts as any other.
        assert len(set(after.values())) == 1 and len(after) == PROBLEMS
        assert next(iter(after.values()))[3] <= 1  # the round whose verdicts are not written yet
    judged = [i for i in range(ROUNDS) if i % 5 != 4]
    final = (sum(i % 2 == 0 for i in judged), len(judged), ROUNDS - len(judged), 0)
    assert seen[-1] == {problem(p).id: final for p in range(PROBLEMS)}
