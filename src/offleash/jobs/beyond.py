"""pass@k of one side past the samples that were drawn: a model's value with bounds that do without it, or why there is none."""

from __future__ import annotations

import math
from typing import Any

from offleash.boundary import extrapolate
from offleash.core import InputError
from offleash.jobs.sides import Side

Json = dict[str, Any]


def curve_beyond(side: Side, k: int) -> tuple[Json, str]:
    """The part of the document, and a line.

    Raises:
        InputError: the samples cover k already.
    """
    least = int(side.counts.n.min())
    if k <= least:
        raise InputError(
            f"--beyond: {side.name}: {k} is within its {least} samples of each problem, so its curve has it already"
        )
    if least < 2:
        raise InputError(f"--beyond: {side.name}: a problem has {least} sample; nothing can be continued from that")
    found = extrapolate(side.counts, [k])
    estimate = found.curve[k]
    bounds = found.bounds.get(k)
    document: Json = {
        "value": None if math.isnan(estimate.value) else estimate.value,
        "low": None if math.isnan(estimate.low) else estimate.low,
        "high": None if math.isnan(estimate.high) else estimate.high,
        "bounds": None if bounds is None else list(bounds),
        "hold_out": [{"factor": h.factor, "predicted": h.predicted, "observed": h.observed} for h in found.hold_out],
    }
    name = f"{side.name}: pass@{k}, beyond the {side.counts.n.min()} samples drawn,"
    if math.isnan(estimate.value):
        held = "" if bounds is None else f" (without a model it lies in [{bounds[0]:.3f}, {bounds[1]:.3f}])"
        return document | {"reason": estimate.reason}, f"{name} cannot be said{held}: {estimate.reason}"
    return document, f"{name} is foreseen as {estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
