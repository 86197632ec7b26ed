"""`offleash plan`: the library's numbers, from a pilot and from a guess."""

from __future__ import annotations

import json

import numpy as np
import pytest

from offleash.boundary import Counts
from offleash.boundary import plan as library
from offleash.cli import main as cli
from offleash.core import rng

SMALL = ("--problems", "50", "--problems", "100", "--samples", "16")


@pytest.fixture
def pilot(tmp_path):
    draw = rng.stream("test pilot")
    counts = Counts(tuple(map(str, range(60))), draw.binomial(16, draw.beta(0.4, 2, 60)), np.full(60, 16))
    path = tmp_path / "pilot.jsonl"
    rows = zip(counts.ids, counts.c.tolist(), counts.n.tolist(), strict=True)
    path.write_text("\n".join(json.dumps({"id": i, "c": c, "n": n}) for i, c, n in rows))
    return path, counts


def run(capsys, *arguments):
    code = cli.run(["plan", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_a_pilot(pilot, capsys):
    path, counts = pilot
    code, out, _ = run(capsys, path, "--k", 8, "--shift", -0.1, *SMALL, "--json")
    found, direct = json.loads(out), library(counts, 8, -0.1, problems=(50, 100), samples=(16,))
    assert code == 0
    assert [(row["problems"], row["samples"], row["power"]) for row in found["table"]] == [
        (p, n, power) for (p, n), power in sorted(direct.table.items())
    ]
    assert (found["problems"], found["samples"], found["draws"]) == (direct.problems, direct.samples, direct.draws)


def test_a_guess_for_people(capsys):
    code, out, _ = run(capsys, "0.3,2", "--k", 8, "--shift", -0.05, *SMALL)
    assert code == 0
    assert out.splitlines()[1].split() == ["problems", "n=16"]
    assert "cheapest with power 0.8: " in out or "even 5000 problems" in out


def test_a_thin_pilot_is_said(tmp_path, capsys):
    path = tmp_path / "thin.jsonl"
    path.write_text('{"id": "one", "c": 5, "n": 16}\n')
    document = json.loads(run(capsys, path, "--k", 8, "--shift", -0.1, *SMALL, "--json")[1])
    assert document["caveat"].startswith("a pilot of 1 problem knows its pass@8 to about +-0.50")
    assert f"caveat: {document['caveat']}" in run(capsys, path, "--k", 8, "--shift", -0.1, *SMALL)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "no file or folder 'nowhere.jsonl'"),
        (["0,2"], "are above 0"),
        (["0.3,2", "--shift", "0"], "shift"),
        (["0.3,2", "--shift", "-0.99"], "shift"),
        (["0.3,2", "--spread", "fwe"], "did you mean 'few'"),
        (["0.3,2", "--power", "1"], "power: 1.0"),
        (["0.3,2", "--samples", "4"], "samples"),
        (["{pilot}", "--k", "17"], "17"),
        (["0.3,2", "--power", "0.05"], "no more than the chance of a false alarm"),
        (["{pilot}", "--task", "countdown"], "--task"),
        (
            ["0.3,2", "--task", "countdown", "--level", "3"],
            "--task, --level: a guess at the rates (0.3,2) has no problems",
        ),
    ],
)
def test_bad_input(arguments, message, pilot, capsys):
    given = [a.format(pilot=pilot[0]) for a in arguments]
    defaults = {"--k": 8, "--shift": -0.05}
    more = [x for name, value in defaults.items() if name not in given for x in (name, value)]
    code, _, err = run(capsys, *given, *more)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
