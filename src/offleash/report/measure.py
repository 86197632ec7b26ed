"""The numbers of one set of problems: every arm's curve, entropy and comparison with the base, and every problem's counts.

All statistics are `offleash.boundary`'s; this file decides what is asked of it and keeps the answers as plain JSON values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offleash.boundary import Comparison, Counts, chance_curve, compare, curve, powers, token_entropy
from offleash.core import Estimate
from offleash.report.reading import Measured, StratumData
from offleash.store import Arm, Study

Json = dict[str, Any]


def estimate_json(e: Estimate) -> Json:
    """An Estimate as JSON: null where it is undefined, with the reason beside it."""
    out: Json = {name: _null(getattr(e, name)) for name in ("value", "low", "high")}
    return out | {"n": e.n, "method": e.method, "reason": e.reason}


def stratum_facts(study: Study, data: StratumData) -> Json:
    """Everything the report says of one set of problems."""
    base = data.arms[study.baseline]
    arms: Json = {}
    comparisons: dict[str, Comparison] = {}
    for arm in study.arms:
        measured = data.arms[arm.label]
        arms[arm.label] = _arm_facts(study, measured)
        found = None if arm is study.base else _compare(base, measured)
        if found is not None:
            comparisons[arm.label] = found
        arms[arm.label]["comparison"] = _comparison(found)
    largest = max((k for a in arms.values() for k in map(int, a["pass_at_k"])), default=max(study.ks))
    return {
        "name": data.stratum.name,
        "task": data.stratum.task,
        "level": data.stratum.level,
        "split": data.stratum.split,
        "problem_count": len(data.problems),
        "chance": _chance(data, sorted({*study.ks, *powers(largest)})),
        "arms": arms,
        "problems": _problems(study.arms, data, comparisons),
    }


def _compare(base: Measured, arm: Measured) -> Comparison | None:
    """The comparison, where there is anything to compare."""
    if base.counts is None or arm.counts is None or not set(base.counts.ids) & set(arm.counts.ids):
        return None
    return compare(base.counts, arm.counts)


def _arm_facts(study: Study, measured: Measured) -> Json:
    facts: Json = {"model": measured.model, "reason": measured.reason}
    facts |= {"undecided": measured.undecided, "unverified": measured.unverified}
    if measured.counts is None:
        return facts | {"problem_count": 0, "samples": None, "pass_at_k": {}, "token_entropy": None}
    n = measured.counts.n
    ks = sorted({*powers(int(n.min())), *study.ks})
    return facts | {
        "problem_count": len(measured.counts),
        "samples": {"least": int(n.min()), "most": int(n.max())},
        "pass_at_k": {str(k): estimate_json(e) for k, e in curve(measured.counts, ks).items()},
        "token_entropy": estimate_json(token_entropy(measured.entropies)),
    }


def _comparison(comparison: Comparison | None) -> Json | None:
    """`compare --json` without its long lists (the curves and problems have places of their own), plus what it was read at."""
    if comparison is None:
        return None
    kept = {k: v for k, v in comparison.to_json().items() if k not in ("problems", "pass_at_k")}
    lost, gained = (len(comparison.support.significant(name)) for name in ("shrunk", "expanded"))
    return kept | {
        "k": comparison.k,
        "problem_count": comparison.problems,
        "sign_p": _null(comparison.support.sign_p),
        "significant": {"expanded": gained, "shrunk": lost},
        "left_out": {"base_only": len(comparison.only_a), "arm_only": len(comparison.only_b)},
    }


def _chance(data: StratumData, ks: Sequence[int]) -> Json:
    if not data.problems:
        return {"pass_at_k": {}, "reason": "the store holds no such problem"}
    curves = chance_curve([p.guess for p in data.problems], ks)
    reason = next((e.reason for e in curves.values() if e.reason), "")
    return {"pass_at_k": {str(k): estimate_json(e) for k, e in curves.items()}, "reason": reason}


def _problems(arms: Sequence[Arm], data: StratumData, comparisons: Mapping[str, Comparison]) -> list[Json]:
    """Every problem with its counts, the ones the base solves most often first."""
    counts = {
        label: {i: (int(c), int(n)) for i, c, n in zip(m.counts.ids, m.counts.c, m.counts.n, strict=True)}
        for label, m in data.arms.items()
        if m.counts is not None
    }
    classes = {label: {p.id: p for p in c.support.problems} for label, c in comparisons.items()}
    rows = []
    for problem in data.problems:
        cells: Json = {}
        for arm in arms:
            if problem.id not in counts.get(arm.label, {}):
                continue
            c, n = counts[arm.label][problem.id]
            found = classes.get(arm.label, {}).get(problem.id)
            cells[arm.label] = {
                "c": c,
                "n": n,
                "class": found.name if found else None,
                "confidence": _null(found.confidence) if found else None,
            }
        rows.append({"id": problem.id, "prompt": problem.prompt, "guess": _null(problem.guess), "arms": cells})
    base = arms[0].label

    def order(row: Json) -> tuple[float, str]:
        own = row["arms"].get(base)
        return (-own["c"] / own["n"] if own else 1.0, row["id"])

    return sorted(rows, key=order)


def frontier(study: Study, data: StratumData) -> Json:
    """pass@K against pass@1 of the base, every checkpoint and every final model, all on the same problems.

    K is the largest asked-for k that every point has samples for, and the problems are those that every point has.
    """
    points: dict[str, list[tuple[int | None, Counts]]] = {}
    for arm in study.arms:
        on_the_way = [(step, m.counts) for step, m in data.checkpoints[arm.label] if m.counts is not None]
        final = data.arms[arm.label].counts
        points[arm.label] = [*on_the_way, *([] if final is None else [(None, final)])]
    all_counts = [counts for path in points.values() for _, counts in path]
    if not all_counts:
        return {
            "k": None,
            "baseline": study.baseline,
            "problem_count": 0,
            "arms": {},
            "reason": "nothing is measured yet",
        }
    shared = set.intersection(*(set(counts.ids) for counts in all_counts))
    if not shared:
        reason = "the models were measured on different problems, so no two points can be compared"
        return {"k": None, "baseline": study.baseline, "problem_count": 0, "arms": {}, "reason": reason}
    cut = {
        label: [(step, counts.take(np.array([i in shared for i in counts.ids]))) for step, counts in path]
        for label, path in points.items()
    }
    n = min(int(counts.n.min()) for path in cut.values() for _, counts in path)
    k = max([k for k in study.ks if k <= n] or [n])
    arms = {label: [_point(step, counts, k) for step, counts in path] for label, path in cut.items()}
    return {"k": k, "baseline": study.baseline, "problem_count": len(shared), "arms": arms, "reason": ""}


def _point(step: int | None, counts: Counts, k: int) -> Json:
    ends = curve(counts, {1, k})
    return {
        "step": step,
        "samples": {"least": int(counts.n.min()), "most": int(counts.n.max())},
        "pass_at_1": estimate_json(ends[1]),
        "pass_at_k": estimate_json(ends[k]),
    }


def _null(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
