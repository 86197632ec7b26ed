"""Boundary regimes of prolonged training: does pass@k at large k fall, stop, or keep rising?

ProRL (arXiv 2505.24864) names three regimes from base, intermediate and final curves and gives no thresholds. Here they are intervals of paired
differences at the largest k, all three at once with the stated confidence (Bonferroni):

    diminish    final - base wholly below 0
    sustained   final - mid wholly above 0, and final above base
    plateau     mid - base wholly above 0, and final - mid contains 0
    undecided   anything else

tried in this order. A plateau is the absence of a proven change after the middle, so it is only as good as the width of that
interval, which `because` states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts
from offleash.boundary.passk import check_ks, pass_matrix, powers
from offleash.core import Estimate, InputError

Floats = NDArray[np.float64]
Label = Literal["diminish", "plateau", "sustained", "undecided"]
CONTRASTS = ("mid - base", "final - mid", "final - base")


@dataclass(frozen=True)
class Regime:
    """One task's regime.

    Attributes:
        label: diminish, plateau, sustained or undecided.
        because: the numbers that decided.
        k: where it was judged.
        mid_base, final_mid, final_base: paired differences of pass@k with simultaneous intervals.
    """

    label: Label
    because: str
    k: int
    mid_base: Estimate
    final_mid: Estimate
    final_base: Estimate


def regime(
    base: Counts,
    mid: Counts,
    final: Counts,
    *,
    k: int | None = None,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> Regime:
    """The regime of one task, from three models on the same problems.

    Args:
        base, mid, final: counts before, during and after training, over exactly the same problems.
        k: where to judge; default the largest power of two that every n allows.
        level: with which the three intervals hold together.
        seed: of the bootstrap.
        replicates: of the bootstrap.

    Raises:
        InputError: the problems differ, a problem has no sample, or k exceeds some n.
    """
    sides = {"base": base.sorted(), "mid": mid.sorted(), "final": final.sorted()}
    for name, side in sides.items():
        if side.ids != sides["base"].ids:
            raise InputError(f"{name}: other problems than base; measure all three models on the same problems")
    least = int(min(side.n.min() for side in sides.values()))
    judged = check_ks([k])[0] if k is not None else (powers(least) or (1,))[-1]
    if judged > least:
        raise InputError(f"k: {judged} exceeds the samples of some problem (least n is {least}); ask for k <= {least}")
    passes = [pass_matrix(side, [judged]) for side in sides.values()]
    value, low, high = contrasts(passes[0], passes[1], passes[2], level=level, seed=seed, replicates=replicates)
    label = labels(value, low, high)[0]
    method = f"paired pass@{judged}; {level:.0%} for all three together; {resample.METHOD}"
    each = [Estimate(float(value[j, 0]), float(low[j, 0]), float(high[j, 0]), len(base), method) for j in range(3)]
    told = ", ".join(
        f"{name} {e.value:+.3f} [{e.low:+.3f}, {e.high:+.3f}]" for name, e in zip(CONTRASTS, each, strict=True)
    )
    because = f"pass@{judged} over {len(base)} problems, {level:.0%} intervals together: {told}"
    return Regime(label, because, judged, each[0], each[1], each[2])


def contrasts(
    base: Floats,
    mid: Floats,
    final: Floats,
    *,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> tuple[Floats, Floats, Floats]:
    """CONTRASTS of the means over problems, with intervals that hold together within each column.

    Args:
        base, mid, final: (P, K) pass@k of P problems; the K columns are separate questions (tasks of the same size, values of k).
        level: for the three contrasts of one column together; each gets 1 - (1 - level) / 3.

    Returns:
        value, low, high: (3, K) each.
    """
    resample.check_level(level)
    if not base.shape == mid.shape == final.shape or base.ndim != 2:
        raise InputError(f"base, mid, final: shapes {base.shape}, {mid.shape}, {final.shape}; give (P, K), all alike")
    values = np.hstack([mid - base, final - mid, final - base])
    drawn = resample.draw(values, seed=seed, replicates=replicates)
    low, high = resample.ends(drawn, (-1.0, 1.0), (1 - level) / 2 / len(CONTRASTS), resample.SIGNED)
    shape = (len(CONTRASTS), base.shape[1])
    return values.mean(axis=0).reshape(shape), low.reshape(shape), high.reshape(shape)


def labels(value: Floats, low: Floats, high: Floats) -> list[Label]:
    """The regime of each of K columns, from the (3, K) results of `contrasts`; the rule of the module."""
    out: list[Label] = []
    for k in range(value.shape[1]):
        if high[2, k] < 0:
            out.append("diminish")
        elif low[1, k] > 0 and value[2, k] > 0:
            out.append("sustained")
        elif low[0, k] > 0 and low[1, k] <= 0 <= high[1, k]:
            out.append("plateau")
        else:
            out.append("undecided")
    return out
