"""The long proof of extrapolation: do the bounds hold the truth, is the model right or wrong? docs/results/extrapolation.json

    .venv/bin/python -m pytest tests/boundary/test_extrapolate_proof.py --run-proofs

64 samples; 120 sets of 100 problems and 50 of 400. `caught`: of the sets in which the model's own interval misses the truth, the
share whose value is refused or whose reported interval holds it. The limits are 95% less two Monte Carlo errors of as many sets
(2.0% and 3.1%): at least .910 of 120 sets and .888 of 50 are covered, at most .090 and .112 reported and wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from offleash.boundary import Counts
from offleash.boundary.extrapolate import MISS, extrapolate

LONG = [pytest.mark.prove, pytest.mark.timeout(7200)]

Floats = NDArray[np.float64]
Generator = np.random.Generator
RESULT = Path(__file__).parents[2] / "docs" / "results" / "extrapolation.json"
N, FACTORS = 64, (2, 4, 8)
SIZES = ((100, 120), (400, 50))  # problems, sets


def zeroed(g: Generator, size: int, zeros: float, p: Floats) -> Floats:
    return np.where(g.random(size) < zeros, 0.0, p)


RIGHT: dict[str, Callable[[Generator, int], Floats]] = {
    "Beta(.15, .35), 15% impossible": lambda g, size: zeroed(g, size, 0.15, g.beta(0.15, 0.35, size)),
    "Beta(.3, 3)": lambda g, size: g.beta(0.3, 3, size),
    "Beta(.5, 10), 30% impossible": lambda g, size: zeroed(g, size, 0.3, g.beta(0.5, 10, size)),
}
WRONG: dict[str, Callable[[Generator, int], Floats]] = {
    "20% at .3/n, 80% at .5": lambda g, size: np.where(g.random(size) < 0.2, 0.3 / N, 0.5),
    "30% at .3/n, 70% Beta(2, 3)": lambda g, size: np.where(g.random(size) < 0.3, 0.3 / N, g.beta(2, 3, size)),
    "40% at .3/n, 30% at .5, 30% impossible": lambda g, size: g.choice([0.3 / N, 0.5, 0.0], size, p=[0.4, 0.3, 0.3]),
    "30% at .1/n, 70% Beta(2, 3)": lambda g, size: np.where(g.random(size) < 0.3, 0.1 / N, g.beta(2, 3, size)),
}


def case(name: str, draw: Callable[[Generator, int], Floats], problems: int, sets: int) -> dict[str, Any]:
    generator = np.random.default_rng(3)
    ids = tuple(f"{i:04d}" for i in range(problems))
    everything = draw(np.random.default_rng(1), 4_000_000)
    truth = {N * f: float((1 - (1 - everything) ** (N * f)).mean()) for f in FACTORS}
    found = [
        extrapolate(Counts(ids, generator.binomial(N, draw(generator, problems)), np.full(problems, N)), truth)
        for _ in range(sets)
    ]
    out: dict[str, Any] = {"rates": name, "problems": problems, "sets": sets}
    for (k, at), f in zip(truth.items(), FACTORS, strict=True):
        bounds = np.array([e.bounds[k] for e in found])
        model = np.array([e.model_interval[k] for e in found])
        refused = np.array([bool(e.curve[k].reason) for e in found])
        inside = (bounds[:, 0] <= at) & (at <= bounds[:, 1])
        by_model = (model[:, 0] <= at) & (at <= model[:, 1])
        reported = np.array([e.curve[k].low <= at <= e.curve[k].high for e in found])
        wrong = ~by_model
        out[f"{f} n"] = {
            "truth": round(at, 4),
            "bounds cover": round(float(inside.mean()), 4),
            "width": round(float(np.ptp(bounds, axis=1).mean()), 4),
            "model's interval covers": round(float(by_model.mean()), 4),
            "its width": round(float(np.ptp(model, axis=1).mean()), 4),
            "refused": round(float(refused.mean()), 4),
            "caught": round(float((refused | reported)[wrong].mean()), 4) if wrong.any() else None,
            "reported and wrong": round(float((~refused & ~reported).mean()), 4),
        }
    errors = np.array([[h.error for h in e.hold_out] for e in found])
    out["hold-out errors, 5% to 95%"] = {
        str(f): np.round(np.quantile(errors[:, j], [0.05, 0.95]), 4).tolist() for j, f in enumerate(MISS)
    }
    out["misfit at 1%"] = round(float(np.mean([e.fit_p < 0.01 for e in found])), 4)
    return out


@pytest.mark.parametrize("kind", [pytest.param("right", marks=LONG), pytest.param("wrong", marks=LONG)])
def test_bounds_and_refusals(kind: str) -> None:
    shapes = {"right": RIGHT, "wrong": WRONG}[kind]
    rows = [case(name, draw, *size) for size in SIZES for name, draw in shapes.items()]
    document = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    document["command"] = "python -m pytest tests/boundary/test_extrapolate_proof.py --run-proofs"
    document[f"the model is {kind}"] = rows
    RESULT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    judge(rows, kind)


@pytest.mark.parametrize("kind", ["right", "wrong"])
def test_the_record_holds(kind: str) -> None:
    """What is committed is what the proof asks for, of its sizes and cases."""
    rows = json.loads(RESULT.read_text())[f"the model is {kind}"]
    shapes = {"right": RIGHT, "wrong": WRONG}[kind]
    assert [(row["rates"], row["problems"], row["sets"]) for row in rows] == [
        (name, *size) for size in SIZES for name in shapes
    ]
    judge(rows, kind)


def judge(rows: list[dict[str, Any]], kind: str) -> None:
    for row in rows:
        least = {120: 0.910, 50: 0.888}[row["sets"]]
        for f in FACTORS:
            got = row[f"{f} n"]
            assert got["bounds cover"] >= least and got["reported and wrong"] <= 1 - least, row
            if kind == "right":
                assert got["model's interval covers"] >= least and got["refused"] <= 0.15, row
            elif got["model's interval covers"] <= 0.8:  # there is something to catch
                assert got["caught"] >= 0.9, row
