"""The long proof of the laws' intervals: coverage over many simulated runs, written to docs/results/laws_coverage.json.

    .venv/bin/python -m pytest tests/boundary/test_laws_proof.py --run-proofs        (15 minutes of one core)

1,000 sets a case (standard error .7%). Each case of the compute law is the paper's run with batches of 2048 (ScaleRL, arXiv
2510.13786: A .645, B 1.70, C_mid 10.9k; R0 .35, noise .004), seen through a window of compute. Of each set is asked whether the
truth lies within the profile's threshold, which is what the interval's ends are solved from; 30 sets a case compare both.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from offleash.boundary import compute_law, entropy_law, sigmoid
from offleash.boundary.sigmoid_fit import Rows, _quantiles, best

Floats = NDArray[np.float64]
RESULT = Path(__file__).parents[2] / "docs" / "results" / "laws_coverage.json"
SETS = 1000
R0, A, B, C_MID, NOISE = 0.35, 0.645, 1.70, 10909.0, 0.004


def ar1(generator: np.random.Generator, n: int, rho: float) -> Floats:
    e = generator.normal(size=n)
    for i in range(1, n):
        e[i] = rho * e[i - 1] + math.sqrt(1 - rho**2) * e[i]
    return e


def record(section: str, rows: list[dict[str, Any]]) -> None:
    document = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    document["command"] = "python -m pytest tests/boundary/test_laws_proof.py --run-proofs"
    document["sets"], document[section] = SETS, rows
    RESULT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


# (window's end, rows, correlation of neighbours, how R0 is treated)
CASES = [
    (8000, 30, 0.0, "known"),
    (16_000, 30, 0.0, "known"),
    (50_000, 30, 0.0, "known"),
    (8000, 30, 0.0, "fitted"),
    (16_000, 30, 0.0, "fitted"),
    (50_000, 30, 0.0, "fitted"),
    (50_000, 15, 0.0, "known"),
    (50_000, 75, 0.0, "known"),
    (50_000, 30, 0.5, "known"),
    (50_000, 75, 0.5, "fitted"),
    (50_000, 30, 0.0, "first value as known"),
]


def grid_fit(c: Floats, sets: list[Floats]) -> float:
    """Standard deviation of A by the paper's grid: A in .450 ... .800, 100 C_mid on [100, 40000], the best B for each."""
    grid_a, grid_c = np.arange(0.45, 0.8001, 0.005), np.linspace(100, 40_000, 100)
    grid_b = np.exp(np.linspace(math.log(0.3), math.log(8), 120))
    s = (1 / (1 + (grid_c[:, None, None] / c) ** grid_b[None, :, None])).reshape(-1, len(c))
    ss = (s * s).sum(axis=1)
    found = []
    for y in sets:
        sy = s @ (y - R0)
        squares = [((a - R0) ** 2 * ss - 2 * (a - R0) * sy).min() for a in grid_a]
        found.append(grid_a[int(np.argmin(squares))])
    return float(np.std(found))


def compute_case(hi: float, n: int, rho: float, treat: str) -> dict[str, Any]:
    generator = np.random.default_rng(20)
    c = np.linspace(1500, hi, n)
    truth, mean = (A, math.log(B), math.log(C_MID)), sigmoid(c, R0, A, B, C_MID)
    inside, open_above, closed_and_wrong, sets, same = np.zeros(3), 0, 0, [], 0
    for i in range(SETS):
        y, first = mean + NOISE * ar1(generator, n, rho), R0 + NOISE * float(generator.normal())
        known = {"known": R0, "fitted": None, "first value as known": first}[treat]
        rows = Rows(np.log(c), y, known, first if known is None else None)
        fit = best(rows)
        quantiles, degrees, _ = _quantiles(rows, fit, 0.95, False)
        limits = [fit.square * (1 + q * q / degrees) for q in quantiles]
        at_truth = (best(rows, truth[0]), best(rows, b=truth[1]), best(rows, u=truth[2]))
        held = [f.square <= limit for f, limit in zip(at_truth, limits, strict=True)]
        opened = best(rows, 1.0).square <= limits[0]
        inside += held
        open_above += opened
        closed_and_wrong += not opened and not held[0]
        sets.append(y)
        if i < 30:
            law = (
                compute_law(np.concatenate([[0.0], c]), np.concatenate([[first], y]))
                if known is None
                else compute_law(c, y, r0=known)
            )
            ends = (
                law.A.low <= A <= law.A.high,
                law.B.low <= B <= law.B.high,
                law.C_mid.low <= C_MID <= law.C_mid.high,
            )
            same += list(ends) == held
    out = {
        "window": [1500, hi], "rows": n, "rho": rho, "R0": treat,
        "coverage": dict(zip(("A", "B", "C_mid"), (inside / SETS).round(4).tolist(), strict=True)),
        "A_open": open_above / SETS, "A_closed_and_wrong": closed_and_wrong / SETS, "ends_agree_of_30": same,
    }  # fmt: skip
    if treat == "known" and rho == 0 and n == 30:
        out["sd_of_A_by_the_papers_grid"] = round(grid_fit(c, sets[:300]), 4)
    return out


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_compute_law_covers() -> None:
    """At least 93% everywhere. At most 97% with 75 rows and 98% with 30, which say less of how neighbours correlate."""
    rows = [compute_case(*case) for case in CASES]
    record("compute", rows)
    judge_compute(rows)


def judge_compute(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        held = row["coverage"].values()
        assert row["ends_agree_of_30"] == 30, row
        if row["R0"] == "first value as known":
            assert row["coverage"]["B"] < 0.93, row  # the trap: a noisy first value is not R0
            continue
        assert min(held) >= 0.93 and row["A_closed_and_wrong"] <= 0.07, row
        if row["window"][1] == 50_000 and row["rows"] >= 30:
            assert max(held) <= (0.97 if row["rows"] >= 75 else 0.98), row
    windows = {row["window"][1]: row for row in rows[:3]}
    assert windows[8000]["A_open"] > 0.8 and windows[16_000]["A_open"] < 0.05 and windows[50_000]["A_open"] == 0


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_entropy_law_covers() -> None:
    """93% to 97% from 30 steps on. Fewer steps cannot tell correlated neighbours from a trend."""
    rows = []
    for n in (10, 20, 30, 100, 250):
        h = 0.1 + 0.9 * np.exp(-np.arange(n) / (n / 3))
        for rho in (0.0, 0.5, 0.8):
            generator = np.random.default_rng(21)
            inside = np.zeros(2)
            for _ in range(SETS):
                law = entropy_law(h, 0.7 - 0.2 * np.exp(h) + 0.02 * ar1(generator, n, rho))
                inside += [law.a.low <= 0.2 <= law.a.high, law.ceiling.low <= 0.5 <= law.ceiling.high]
            held = dict(zip(("a", "ceiling"), (inside / SETS).round(4).tolist(), strict=True))
            rows.append({"steps": n, "rho": rho, "coverage": held})
    record("entropy", rows)
    judge_entropy(rows)


def judge_entropy(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        low, high = {10: (0.85, 1.0), 20: (0.9, 0.98)}.get(row["steps"], (0.93, 0.97))
        assert all(low <= x <= high for x in row["coverage"].values()), row


def test_the_record_holds() -> None:
    """What is committed is what the proofs ask for."""
    document = json.loads(RESULT.read_text())
    rows = document["compute"]
    assert document["sets"] == SETS
    assert [(row["window"][1], row["rows"], row["rho"], row["R0"]) for row in rows] == CASES
    judge_compute(rows)
    judge_entropy(document["entropy"])
