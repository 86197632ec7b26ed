"""Every gold of GSM8K and MATH-500 is accepted from its own solution's text, by both verifiers. Needs OFFLEASH_DATA.

Where the data are not there, the samples in tests/data stand in for them.
"""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from offleash import tasks
from offleash.tasks.math.bounds import beyond
from offleash.tasks.math.normal import plain
from offleash.tasks.math.refused import refused

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "math" / "golds.json").read_text())
SAMPLES = Path(__file__).parents[2] / "data"
SIDES = [(name, side) for name, sides in GOLDEN.items() for side in sides]
FOLDERS = {"gsm8k": "gsm8k", "math-500": "math500"}


@pytest.fixture(params=["samples", "whole"])
def data(request):
    if request.param == "samples":
        return SAMPLES
    if not os.environ.get("OFFLEASH_DATA"):
        pytest.skip("OFFLEASH_DATA names no folder with gsm8k/ and math500/")
    return Path(os.environ["OFFLEASH_DATA"])


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_every_gold_is_accepted_from_its_own_solution(data, name, side):
    file = data / FOLDERS[name] / f"{side}.jsonl"
    if not file.is_file():
        pytest.skip(f"OFFLEASH_DATA has no {FOLDERS[name]}/{side}.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    expected = GOLDEN[name][side]
    if data != SAMPLES:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == expected["sha256"], "another edition of the data"
        assert len(rows) == expected["rows"]
    for verifier in ("", "/numeric"):
        task = tasks.get(f"{name}{verifier}:{data / FOLDERS[name]}")
        loaded = task.load()
        assert not loaded.left_out
        problems = {p.meta["row"]: p for p in loaded.problems}
        pairs = [(problems[f"{side} {i}"], r.get("solution", r["answer"])) for i, r in enumerate(rows, start=1)]
        verdicts = tasks.verify_all(task, pairs)
        refused = {p.meta["row"]: v.reason for (p, _), v in zip(pairs, verdicts, strict=True) if v.correct is not True}
        assert refused == expected["refused"]


@pytest.mark.parametrize("name", GOLDEN)
def test_no_gold_is_refused_unread(data, name):
    golds = {p.answer for p in tasks.get(f"{name}:{data / FOLDERS[name]}").load().problems}
    based = re.compile(r"[0-9](_.*)")  # refused where the gold has no base
    others = {gold: "17" + (based.search(gold) or [0, ""])[1] for gold in golds}
    assert not [gold for gold in golds if beyond(plain(gold)) or refused(others[gold], gold)]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_gold_of_another_problem_is_refused_by_both_or_neither(data, name):
    """Answers that are wrong in a natural way: those of the next problems. The verifiers may differ only where one is undecided."""
    first, second = (tasks.get(f"{name}{v}:{data / FOLDERS[name]}") for v in ("", "/numeric"))
    problems = [p for p in first.load().problems if p.split == "test"][:150]
    pairs = [(p, f"\\boxed{{{problems[i - step].answer}}}") for step in (1, 2) for i, p in enumerate(problems)]
    a, b = tasks.verify_all(first, pairs), tasks.verify_all(second, pairs)
    assert not [(p.answer, t) for (p, t), x, y in zip(pairs, a, b, strict=True) if x.correct and y.correct is False]
    assert not [(p.answer, t) for (p, t), x, y in zip(pairs, a, b, strict=True) if y.correct and x.correct is False]
    assert sum(v.correct is None for v in a) == 0
