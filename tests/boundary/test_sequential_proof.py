"""The long proof of sequential sampling: the same verdict as 1,024 draws of everything, from how many draws?

    .venv/bin/python -m pytest tests/boundary/test_sequential_proof.py --run-proofs

Written to docs/results/sequential.json. The base: 10% to 20% of the problems impossible, the rest Beta(.15, .35). The trained
model: the same, with problems lost, or sharpened, with problems lost. Both studies see the same stream of draws; a second,
independent study of 1,024 draws tells how often two such studies agree at all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from offleash.boundary import Counts, compare
from offleash.boundary.sequential import next_draws, verdict_when_stopped
from offleash.boundary.stopping import design, states, unseen_bound

LONG = [pytest.mark.prove, pytest.mark.timeout(3600)]

Floats = NDArray[np.float64]
Generator = np.random.Generator
RESULT = Path(__file__).parents[2] / "docs" / "results" / "sequential.json"
FIXED = 1024


def lose(generator: Generator, p: Floats, share: float) -> Floats:
    return np.where(generator.random(len(p)) < share, 0.0, p)


def sharpen(p: Floats) -> Floats:
    """Log odds times 1.3 plus 1: above p = 0.034 better, below worse."""
    with np.errstate(divide="ignore"):
        return np.asarray(1 / (1 + np.exp(-(1.3 * (np.log(p) - np.log1p(-np.minimum(p, 1 - 1e-15))) + 1))))


CHANGES: dict[str, Callable[[Generator, Floats], Floats]] = {
    "none": lambda g, p: p,
    "15% lost": lambda g, p: lose(g, p, 0.15),
    "sharpened, 8% lost": lambda g, p: lose(g, sharpen(p), 0.08),
    "p^0.6, 4% lost": lambda g, p: lose(g, p**0.6, 0.04),
}


def rates(generator: Generator, change: str, problems: int) -> tuple[Floats, Floats, float]:
    zeros = generator.uniform(0.1, 0.2)
    p = np.where(generator.random(problems) < zeros, 0.0, generator.beta(0.15, 0.35, problems))
    return p, CHANGES[change](generator, p), zeros


def truth(change: str, k: int) -> float:
    """pass@k of the trained model minus that of the base where no problem is impossible."""
    generator = np.random.default_rng(1)
    p = generator.beta(0.15, 0.35, 4_000_000)
    return float(((1 - p) ** k - (1 - CHANGES[change](generator, p)) ** k).mean())


def counts(c: NDArray[Any], n: NDArray[Any]) -> Counts:
    return Counts(tuple(f"{i:05d}" for i in range(len(c))), c, n.copy())


def one_study(change: str, seed: int, problems: int, k: int) -> dict[str, Any]:
    """One fixed and one sequential study of the same stream; no problem is drawn more than 1,024 times in either."""
    generator = np.random.default_rng([seed, 7])
    p, q, zeros = rates(generator, change, problems)
    streams = np.stack([np.cumsum(generator.random((problems, FIXED)) < r[:, None], axis=1) for r in (p, q)])
    full = np.full(problems, FIXED)
    judged = compare(counts(streams[0, :, -1], full), counts(streams[1, :, -1], full), k=k, seed=seed, replicates=2000)
    again = [counts(generator.binomial(FIXED, r), full) for r in (p, q)]
    second = compare(*again, k=k, seed=seed, replicates=2000)
    epsilon, beyond = unseen_bound(k), FIXED // k
    n = np.zeros((2, problems), dtype=np.int64)
    while True:
        c = np.where(n > 0, np.take_along_axis(streams, np.maximum(n - 1, 0)[:, :, None], axis=2)[:, :, 0], 0)
        a, b = counts(c[0], n[0]), counts(c[1], n[1])
        if n.min() > 0:
            found = verdict_when_stopped(a, b, epsilon, beyond=beyond, seed=seed)
            if found.final:
                break
        draws = next_draws(a, b, 10**9, epsilon, beyond=beyond)
        n = n + np.stack([draws.a, draws.b])
    called = np.stack([states(side, design(epsilon)) for side in (a, b)])
    at = {name: i for i, name in enumerate(a.ids)}
    wrong = sum(q[at[i]] >= p[at[i]] for i in found.lost) + sum(p[at[i]] >= q[at[i]] for i in found.gained)
    both = np.stack([p, q])
    return {
        "fixed": judged.verdict, "second": second.verdict, "sequential": found.verdict, "zeros": zeros,
        "share": found.draws / (2 * problems * FIXED), "low": found.low, "high": found.high,
        "claims": len(found.lost) + len(found.gained), "wrong claims": wrong,
        "false in": [int(((called == "in") & (both <= epsilon)).sum()), int((both <= epsilon).sum())],
        "false out": [int(((called == "out") & (both > epsilon)).sum()), int((both > epsilon).sum())],
    }  # fmt: skip


def summary(rows: list[dict[str, Any]], gap: float | None) -> dict[str, Any]:
    pairs = Counter(f"{row['fixed']} -> {row['sequential']}" for row in rows if row["fixed"] != row["sequential"])
    claims = [row["wrong claims"] / row["claims"] if row["claims"] else 0.0 for row in rows]
    out = {
        "studies": len(rows),
        "same verdict": round(float(np.mean([row["fixed"] == row["sequential"] for row in rows])), 4),
        "two fixed studies agree": round(float(np.mean([row["fixed"] == row["second"] for row in rows])), 4),
        "share of samples": round(float(np.mean([row["share"] for row in rows])), 4),
        "studies above a quarter": round(float(np.mean([row["share"] > 0.25 for row in rows])), 4),
        "largest share": round(float(max(row["share"] for row in rows)), 4),
        "verdicts of the fixed study": dict(sorted(Counter(row["fixed"] for row in rows).items())),
        "disagreements": dict(sorted(pairs.items())),
        "false discovery rate of lost and gained": round(float(np.mean(claims)), 5),
    }
    if gap is not None:
        out["interval holds the truth"] = round(
            float(np.mean([row["low"] <= gap * (1 - row["zeros"]) <= row["high"] for row in rows])), 4
        )
    for name in ("false in", "false out"):
        wrong, of = np.sum([row[name] for row in rows], axis=0)
        out[name] = round(float(wrong / max(of, 1)), 5)
    return out


def record(section: str, content: dict[str, Any]) -> None:
    document = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    document["command"] = "python -m pytest tests/boundary/test_sequential_proof.py --run-proofs"
    document[section] = content
    RESULT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


CASES = [(512, 200, 100), (512, 100, 50), (256, 200, 50)]  # k, problems, studies of each change
ALARMS = "false alarms, 300 studies of 100 problems, pass@256"


def section(k: int, problems: int) -> str:
    return f"pass@{k}, {problems} problems, against {FIXED} draws"


@pytest.mark.parametrize("case", [pytest.param(case, marks=LONG) for case in CASES])
def test_the_same_verdict_from_a_quarter_of_the_samples(case: tuple[int, int, int]) -> None:
    k, problems, each = case
    done = {change: [one_study(change, seed, problems, k) for seed in range(each)] for change in CHANGES}
    out = {change: summary(rows, truth(change, k)) for change, rows in done.items()}
    everything = [row for rows in done.values() for row in rows]
    out["all"] = summary(everything, None)
    record(section(k, problems), out)
    judge(out, problems, each)


def judge(out: dict[str, Any], problems: int, each: int) -> None:
    assert out["all"]["share of samples"] <= 0.25
    # 100 problems leave a verdict on the edge so often that even two fixed studies agree in 89% only; those that stop early find
    # "both" less often (0.775 of 200 studies were the same).
    assert out["all"]["same verdict"] >= (0.93 if problems >= 200 else out["all"]["two fixed studies agree"] - 0.15)
    assert out["all"]["false discovery rate of lost and gained"] <= 0.05
    assert out["all"]["false in"] <= 0.05 and out["all"]["false out"] <= 0.05
    for change in CHANGES:
        assert out[change]["interval holds the truth"] >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / each)


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_false_alarms() -> None:
    """The same model twice: shrunk, expanded or both in at most 5% of studies that stop when they like."""
    rows = [one_study("none", 1000 + seed, 100, 256) for seed in range(300)]
    alarms = {
        name: round(float(np.mean([row[name] in ("shrunk", "expanded", "both") for row in rows])), 4)
        for name in ("sequential", "fixed")
    }
    record(ALARMS, alarms)
    judge_alarms(alarms)


def judge_alarms(alarms: dict[str, float]) -> None:
    assert alarms["sequential"] <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


def test_the_record_holds() -> None:
    """What is committed is what the proofs ask for, of their sizes and cases."""
    document = json.loads(RESULT.read_text())
    assert set(document) == {"command", ALARMS, *(section(k, problems) for k, problems, _ in CASES)}
    for k, problems, each in CASES:
        out = document[section(k, problems)]
        assert [out[change]["studies"] for change in CHANGES] == [each] * len(CHANGES)
        judge(out, problems, each)
    judge_alarms(document[ALARMS])
