"""`offleash compare A B B ...`: training seeds of one method."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from offleash.boundary import Counts, seed_difference
from offleash.cli import main as cli
from offleash.core import rng

P, N = 60, 32


def counts(rate: np.ndarray, *key: object) -> Counts:
    draw = rng.stream("test seeds", *key)
    return Counts(tuple(f"p{i:03d}" for i in range(P)), draw.binomial(N, rate), np.full(P, N))


def write(path: Path, side: Counts) -> str:
    lines = [json.dumps({"id": i, "c": int(c), "n": int(n)}) for i, c, n in zip(side.ids, side.c, side.n, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def sides(tmp_path) -> list[str]:
    """A base and four seeds of a method that solves everything more often, each by a little more or less."""
    rate = rng.stream("test rates").beta(0.4, 2, P)
    better = [np.clip(rate + 0.05 + 0.02 * s, 0, 1) for s in range(4)]
    return [
        write(tmp_path / "base.jsonl", counts(rate, 0)),
        *(write(tmp_path / f"seed{s}.jsonl", counts(r, 1, s)) for s, r in enumerate(better)),
    ]


def run(capsys, *arguments):
    code = cli.run(["compare", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_document_is_that_of_the_library(sides, capsys):
    code, out, _ = run(capsys, *sides, "--k", 4, "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["seeds"], document["problems"], document["k"]) == (4, P, 4)
    assert document["verdict"] == "expanded"
    loaded = [Counts.from_rows([json.loads(x) for x in Path(p).read_text().splitlines()]) for p in sides]
    direct = seed_difference(loaded[1:], loaded[0], [1, 4]).difference
    for k in (1, 4):
        assert document["difference"][str(k)]["value"] == pytest.approx(direct.at(k)[0], abs=1e-12)
    assert [row["name"] for row in document["per_seed"]] == [Path(p).name for p in sides[1:]]
    assert sum(document["shares"][name]["4"] for name in document["shares"]) == pytest.approx(1)


def test_for_people_and_on_disk(sides, tmp_path, capsys):
    code, out, _ = run(capsys, *sides, "--out", tmp_path / "c")
    assert code == 0
    assert "about the method: " in out
    assert "new training seeds on new problems" in out
    assert json.loads((tmp_path / "c" / "comparison.json").read_text())["because"] in out


def test_two_seeds_carry_a_caveat(sides, capsys):
    document = json.loads(run(capsys, *sides[:3], "--json")[1])
    assert document["caveat"]
    assert document["caveat"] in document["because"]


def test_seeds_on_other_problems(sides, tmp_path, capsys):
    some = Path(sides[1]).read_text().splitlines()
    fewer, other = tmp_path / "fewer.jsonl", tmp_path / "other.jsonl"
    fewer.write_text("\n".join(some[:40]))
    other.write_text('{"id": "elsewhere", "c": 1, "n": 32}\n')
    code, out, err = run(capsys, *sides[:3], fewer, "--json")
    assert (code, json.loads(out)["problems"]) == (0, 40)
    assert "left out 20 problems that not all sides have" in err
    code, _, err = run(capsys, *sides[:3], other)
    assert (code, "no problem is in all sides" in err) == (2, True)
    assert run(capsys, *sides, "--k", 33)[0] == 2
