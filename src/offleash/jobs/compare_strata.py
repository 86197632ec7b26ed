"""The strata of a comparison: what changed on problems of like difficulty, and of each task, level and split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from offleash.boundary import Stratum, by_difficulty, by_label
from offleash.jobs.display import aligned
from offleash.jobs.sides import Side

Json = dict[str, Any]

FEWEST = 4
"""Samples of a from which half can sort the problems."""


def strata(a: Side, b: Side, k: int) -> tuple[Json, list[str]]:
    """The part of the document, and lines; empty where there is nothing to tell apart."""
    document: Json = {}
    lines: list[str] = []
    rest = int((a.counts.n - a.counts.n // 2).min())
    if same_counts(a, b):
        document["reason"] = (
            "both sides have the same counts; strata by difficulty need B's samples to be others than A's"
        )
        lines.append(f"no strata by difficulty: {document['reason']}")
    elif a.counts.n.min() >= FEWEST and k <= rest:
        found = by_difficulty(a.counts, b.counts, k)
        document["by_difficulty"] = [_json(s) for s in found]
        lines += _table(f"A's success rate at k={k} *", found)
        lines.append("* half of A's samples sort the problems, the other half measure them")
    labels = {name: a.groups[name] for name in a.counts.ids if name in a.groups}
    shared = set(a.counts.ids) & set(b.counts.ids)
    if shared <= set(labels) and len({labels[name] for name in shared}) > 1:
        found = by_label(a.counts, b.counts, labels, k)
        document["by_label"] = [_json(s) for s in found]
        lines += ["", *_table(f"problems at k={k}", found)]
    return document, lines


def same_counts(a: Side, b: Side) -> bool:
    """Whether the two sides agree on every problem, and there is one they need not have agreed on."""
    one, two = a.counts.sorted(), b.counts.sorted()
    if one.ids != two.ids or (one.c != two.c).any() or (one.n != two.n).any():
        return False
    return bool(((one.c > 0) & (one.c < one.n)).any())


def _json(stratum: Stratum) -> Json:
    e = stratum.difference
    numbers = {"a": stratum.pass_a, "b": stratum.pass_b, "value": e.value, "low": e.low, "high": e.high}
    return {
        "name": stratum.name,
        "problems": stratum.problems,
        **{name: None if math.isnan(x) else x for name, x in numbers.items()},
        **({"reason": e.reason} if e.reason else {}),
    }


def _table(title: str, found: Sequence[Stratum]) -> list[str]:
    from offleash.report.digits import band

    rows = [
        (
            s.name,
            f"{s.problems:.0f}",
            f"{s.pass_a:.3f}",
            f"{s.pass_b:.3f}",
            *band(s.difference.value, s.difference.low, s.difference.high),
        )
        for s in found
        if round(s.problems)
    ]
    return aligned((title, "problems", "A", "B", "B - A", "95% band over strata"), rows)
