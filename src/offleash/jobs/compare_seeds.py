"""`offleash compare A B B ...`: several training seeds of one method against one base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from offleash.boundary import SeedDifference, powers, seed_difference
from offleash.boundary.compare import AT_ONE, MARGIN
from offleash.boundary.difference import grid
from offleash.core import InputError
from offleash.jobs.display import aligned, say
from offleash.jobs.sides import Side, same_problems

Json = dict[str, Any]


def compare_seeds(base: Side, methods: Sequence[Side], k: int | None) -> tuple[Json, str]:
    """What the method does to pass@k: the document and the text. The interval is for new training seeds on new problems.

    Raises:
        InputError: no problem that all sides have, or k beyond some problem's samples.
    """
    base, methods = _shared(base, methods)
    n = min(int(side.counts.n.min()) for side in (base, *methods))
    judged = max(1, n // 2) if k is None else k
    if not 1 <= judged <= n:
        raise InputError(f"--k: {judged}; every problem of every side has at least {n} samples, so give 1 to {n}")
    ks = tuple(sorted({*grid(n), judged}))
    found = seed_difference([side.counts for side in methods], base.counts, ks)
    verdict = _verdict(found, judged)
    shown = tuple(sorted({*powers(n), judged}))
    because = _because(found, judged, verdict)
    return _document(found, shown, judged, verdict, because, methods), _text(
        found, shown, judged, verdict, because, base
    )


def _shared(base: Side, methods: Sequence[Side]) -> tuple[Side, list[Side]]:
    """All sides over the problems that all have, sorted by id."""
    paired = [same_problems(base, side) for side in methods]
    base, methods = paired[0][0], [side for _, side in paired]
    common = set(base.counts.ids).intersection(*(side.counts.ids for side in methods))
    if not common:
        raise InputError("id: no problem is in all sides; measure every training seed on the problems of the base")

    def only_common(side: Side) -> Side:
        left = len(side.counts) - len(common)
        if left:
            say(f"{side.name}: left out {left} problems that not all sides have")
        keep = np.array([name in common for name in side.counts.ids])
        return replace(side, counts=side.counts.take(keep).sorted())

    return only_common(base), [only_common(side) for side in methods]


def _verdict(found: SeedDifference, k: int) -> str:
    """As in `boundary.compare`, without "both": single problems of several seeds are no evidence on the method."""
    _, low, high = found.difference.at(k)
    if low > 0:
        return "expanded"
    if high < 0:
        return "shrunk"
    return "no_change" if low >= -MARGIN and high <= MARGIN else "undecided"


def _because(found: SeedDifference, k: int, verdict: str) -> str:
    from offleash.report.digits import band

    text, interval = band(*found.difference.at(k))
    place = {
        "expanded": "wholly above 0",
        "shrunk": "wholly below 0",
        "no_change": f"wholly within +-{MARGIN:g}",
        "undecided": f"which contains 0 and reaches beyond +-{MARGIN:g}",
    }[verdict]
    j = found.difference.ks.index(k)
    parts = ", ".join(
        f"{name} {found.shares[name][j]:.0%}" for name in found.shares if np.isfinite(found.shares[name][j])
    )
    said = (
        f"Over {found.seeds} training seeds and {found.difference.problems} problems, pass@{k} of the method minus the base is "
        f"{text}, 95% simultaneous band {interval}, {place}; it speaks of {found.population}."
    )
    if parts:
        said += f" Of its variance: {parts}."
    if found.caveat:
        said += f" {found.caveat}"
    return f"{said} {AT_ONE}" if k == 1 else said


def _document(
    found: SeedDifference, ks: Sequence[int], k: int, verdict: str, because: str, methods: Sequence[Side]
) -> Json:
    at = [found.difference.ks.index(x) for x in ks]
    return {
        "seeds": found.seeds,
        "problems": found.difference.problems,
        "population": found.population,
        "caveat": found.caveat,
        "difference": {
            str(x): dict(zip(("value", "low", "high"), found.difference.at(x), strict=True)) for x in ks
        },
        "per_seed": [
            {"name": side.name, "difference": {str(x): float(found.per_seed[i, j]) for x, j in zip(ks, at, strict=True)}}
            for i, side in enumerate(methods)
        ],
        "shares": {
            name: {str(x): float(v[j]) if np.isfinite(v[j]) else None for x, j in zip(ks, at, strict=True)}
            for name, v in found.shares.items()
        },
        "k": k,
        "verdict": verdict,
        "because": because,
    }  # fmt: skip


def _text(found: SeedDifference, ks: Sequence[int], k: int, verdict: str, because: str, base: Side) -> str:
    from offleash.report.digits import band

    header = ("k", f"method - {base.name}", "simultaneous 95% band", *(f"seed {i + 1}" for i in range(found.seeds)))
    rows = []
    for x in ks:
        j = found.difference.ks.index(x)
        rows.append((str(x), *band(*found.difference.at(x)), *(f"{v:+.3f}" for v in found.per_seed[:, j])))
    return "\n".join([*aligned(header, rows), "", f"verdict at k={k}, about the method: {verdict}", because])
