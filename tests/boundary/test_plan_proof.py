"""The long proof of the planner: promised power against the actual test, written to docs/results/planner_power.json.

    .venv/bin/python -m pytest tests/boundary/test_plan_proof.py --run-proofs

400 studies a cell (standard error at most 2.5%), each with fresh problems and judged by the band of `compare` with 2,000
replicates: all k up to n at once, read at one. Also: how often the planner's shortcut (moments for the bootstrap, a Gaussian for
the band's tail) decides a study as the bootstrap does, and what a pilot of 100 problems makes of the plan.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from offleash.boundary import Counts, difference
from offleash.boundary.difference import grid
from offleash.boundary.passk import pass_at_k
from offleash.boundary.plan import _moved, band_tail, lower_ends, plan

Floats = NDArray[np.float64]
RESULT = Path(__file__).parents[2] / "docs" / "results" / "planner_power.json"
STUDIES = 400
PILOTS = "power at the advised size, 10%, 50%, 90% of pilots"
# difficulty, k, shift, spread, problems, samples
CELLS = [
    ((0.15, 0.35), 16, -0.05, "all", 100, 64),
    ((0.15, 0.35), 16, 0.05, "all", 100, 32),
    ((0.15, 0.35), 16, -0.05, "few", 100, 64),
    ((0.15, 0.35), 16, 0.05, "few", 200, 16),
    ((0.15, 0.35), 64, -0.10, "few", 50, 128),
    ((0.3, 3.0), 8, 0.06, "all", 50, 32),
    ((0.3, 3.0), 32, -0.08, "few", 100, 64),
    ((2.0, 2.0), 1, 0.03, "all", 50, 32),
    ((3.0, 0.3), 4, -0.04, "few", 200, 16),
    ((0.05, 2.0), 64, 0.06, "all", 100, 128),
    ((0.3, 2.0), 8, -0.05, "all", 200, 32),
    ((0.3, 2.0), 64, -0.10, "all", 100, 256),
]


def moved(generator: np.random.Generator, p: Floats, spread: str, size: float, shift: float) -> Floats:
    if spread == "all":
        return _moved(p, size)
    return np.where(generator.random(len(p)) < size, float(shift > 0), p)


def found(cell: Any, size: float, studies: int) -> tuple[float, float]:
    """Power of the band that `compare` judges by, and the share of studies that the shortcut decides alike."""
    (a, b), k, shift, spread, problems, n = cell
    generator = np.random.default_rng(9)
    ids, total = tuple(f"{i:04d}" for i in range(problems)), np.full(problems, n)
    sign, hits, same = np.sign(shift), 0, 0
    ks = sorted({*grid(n), k})
    value = pass_at_k(np.arange(n + 1)[:, None], n, np.array(ks))
    p = generator.beta(a, b, 20_000)
    q = moved(generator, p, spread, size, shift)
    tail = band_tail(value[generator.binomial(n, q)] - value[generator.binomial(n, p)])
    for seed in range(studies):
        p = generator.beta(a, b, problems)
        before, after = generator.binomial(n, p), generator.binomial(n, moved(generator, p, spread, size, shift))
        band = difference(Counts(ids, before, total), Counts(ids, after, total.copy()), ks, seed=seed, replicates=2000)
        _, low, high = band.at(k)
        hit = bool(low > 0 if sign > 0 else high < 0)
        values = sign * (pass_at_k(after, n, k) - pass_at_k(before, n, k))
        hits, same = hits + hit, same + (hit == bool(lower_ends(values[None], tail)[0] > 0))
    return hits / studies, same / studies


def record(section: str, rows: list[dict[str, Any]]) -> None:
    document = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    document["command"] = "python -m pytest tests/boundary/test_plan_proof.py --run-proofs"
    document["studies"], document[section] = STUDIES, rows
    RESULT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_promised_power_is_real() -> None:
    rows = []
    for cell in CELLS:
        shapes, k, shift, spread, problems, n = cell
        promised = plan(shapes, k, shift, spread=spread, problems=(problems,), samples=(n,))
        rows.append(row(cell, promised.table[problems, n], promised.size))
        if (best := promised.needed[n]) is not None and best <= 1000:  # and at the number of problems it advises
            advised = plan(shapes, k, shift, spread=spread, problems=(best,), samples=(n,))
            rows.append(row((shapes, k, shift, spread, best, n), advised.table[best, n], advised.size))
    record("promised power", rows)
    judge_power(rows)


def judge_power(rows: list[dict[str, Any]]) -> None:
    """Within 0.05; and no setting is shown to be decided alike in less than 95% of studies (two standard errors)."""
    for one in rows:
        assert one["found"] == pytest.approx(one["promised"], abs=0.05), one
        assert one["decided alike"] >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / STUDIES), one


def row(cell: Any, promised: float, size: float) -> dict[str, Any]:
    power, same = found(cell, size, STUDIES)
    names = ("difficulty", "k", "shift", "spread", "problems", "samples")
    return dict(zip(names, cell, strict=True)) | {
        "promised": round(promised, 3),
        "found": round(power, 3),
        "decided alike": round(same, 3),
    }


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_what_a_pilot_of_100_problems_is_worth() -> None:
    """Power at the advised size, when advice comes from 100 problems: spread over 30 pilots."""
    shapes, k, shift, n = (0.15, 0.35), 16, -0.05, 64
    rows = []
    for spread in ("all", "few"):
        true = plan(shapes, k, shift, spread=spread, samples=(n,), problems=(50, 1600))
        powers = []
        for seed in range(30):
            generator = np.random.default_rng([seed, 1])
            c = generator.binomial(n, generator.beta(*shapes, 100))
            pilot = Counts(tuple(f"{i}" for i in range(100)), c, np.full(100, n))
            advised = plan(pilot, k, shift, spread=spread, samples=(n,), problems=(50,), seed=seed).needed[n]
            assert advised is not None
            powers.append(plan(shapes, k, shift, spread=spread, samples=(n,), problems=(advised,)).table[advised, n])
        rows.append(
            {
                "spread": spread,
                "problems needed": true.needed[n],
                PILOTS: np.round(np.quantile(powers, [0.1, 0.5, 0.9]), 3).tolist(),
            }
        )
    record("a pilot of 100 problems", rows)
    judge_pilots(rows)


def judge_pilots(rows: list[dict[str, Any]]) -> None:
    for one in rows:
        assert 0.7 <= one[PILOTS][1] <= 0.9, one


def test_the_record_holds() -> None:
    """What is committed is what the proofs ask for, of their sizes and cells."""
    document = json.loads(RESULT.read_text())
    rows, pilots = document["promised power"], document["a pilot of 100 problems"]
    names = ("difficulty", "k", "shift", "spread", "problems", "samples")
    held = [(tuple(one["difficulty"]), *(one[name] for name in names[1:])) for one in rows]
    assert document["studies"] == STUDIES and [cell for cell in CELLS if cell not in held] == []
    assert [one["spread"] for one in pilots] == ["all", "few"]
    judge_power(rows)
    judge_pilots(pilots)
