"""The paired difference of two pass@k curves with simultaneous bands, and the k at which the curves cross."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts, join
from offleash.boundary.passk import check_ks, pass_matrix, powers
from offleash.core import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Difference:
    """b minus a over K values of k, on the same P problems for every k.

    Attributes:
        ks: K draws, increasing.
        value: (K,) mean over problems of pass@k of b minus pass@k of a.
        low, high: (K,) simultaneous band: all K true differences lie inside with probability `level`.
        point_low, point_high: (K,) pointwise intervals.
        problems: P.
        level: nominal coverage.
        method: how the band was made.
    """

    ks: tuple[int, ...]
    value: Floats
    low: Floats
    high: Floats
    point_low: Floats
    point_high: Floats
    problems: int
    level: float
    method: str

    def at(self, k: int) -> tuple[float, float, float]:
        """(value, low, high) of the simultaneous band at k."""
        j = self.ks.index(k)
        return float(self.value[j]), float(self.low[j]), float(self.high[j])


@dataclass(frozen=True)
class Crossing:
    """Where the sign of b minus a flips, with a confidence set.

    Attributes:
        k: where the estimated difference crosses zero (linear in log k between grid points).
        low, high: the band certifies one sign at `low` and the other at `high`, so a true crossing lies between them
            with at least the band's confidence.
        sign: sign of b minus a before the crossing: +1 (b better at small k, a at large k) or -1.
    """

    k: float
    low: int
    high: int
    sign: int


def grid(n: int, per_octave: int = 4) -> tuple[int, ...]:
    """Distinct whole numbers near 2^(i / per_octave) up to n: every power of two, and n itself."""
    steps = np.arange(int(np.log2(n)) * per_octave + per_octave + 1) / per_octave
    ks = {int(k) for k in np.round(2.0**steps) if k <= n}
    return tuple(sorted(ks | set(powers(n)) | {n}))


def difference(
    a: Counts,
    b: Counts,
    ks: Iterable[int] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> Difference:
    """Mean over problems of pass@k(b) - pass@k(a), paired by problem, with pointwise and simultaneous intervals.

    A problem is resampled with both its counts, so the pairing is kept and the interval covers which problems and which
    samples. The band is `resample.simultaneous_tail` (balanced sup-t, Beran 1988) and holds over all ks at once.

    Args:
        a: counts of one model.
        b: counts of the other over exactly the same problems (use `counts.join` first).
        ks: draws; default `grid` up to the smallest n of either side.
        level: nominal coverage.
        seed: of the bootstrap; the same input and seed give the same numbers.
        replicates: of the bootstrap.

    Raises:
        InputError: the problems differ, or some k exceeds the n of some problem (the population would change with k).
    """
    resample.check_level(level)
    if set(a.ids) != set(b.ids):
        raise InputError(
            f"id: the two sides hold different problems ({len(a)} and {len(b)}); join them first, so that each "
            "difference is within one problem"
        )
    pair = join(a, b)
    chosen = check_ks(ks) if ks is not None else grid(shared_n(pair.a, pair.b))
    refuse_beyond(pair.a, pair.b, chosen[-1])
    values = pass_matrix(pair.b, chosen) - pass_matrix(pair.a, chosen)
    drawn = resample.draw(values, seed=seed, replicates=replicates)
    return from_replicates(chosen, values, drawn, level)


def from_replicates(ks: tuple[int, ...], values: Floats, drawn: resample.Replicates, level: float) -> Difference:
    """Bands for per-problem differences `values` (P, K) from their bootstrap replicates."""
    bounds = (-1.0, 1.0)
    tails = resample.simultaneous_tail(drawn, level), (1 - level) / 2
    (low, point_low), (high, point_high) = resample.ends_at(drawn, bounds, tails, resample.SIGNED)
    method = f"paired; {resample.METHOD}; {level:.0%} balanced sup-t over {len(ks)} values of k"
    return Difference(ks, values.mean(axis=0), low, high, point_low, point_high, len(values), level, method)


def shared_n(a: Counts, b: Counts) -> int:
    """The largest k that every problem of both sides allows; InputError where some problem has no sample at all."""
    least = int(min(a.n.min(), b.n.min()))
    if least < 1:
        name = next(side.ids[int(np.argmin(side.n))] for side in (a, b) if side.n.min() < 1)
        raise InputError(f"n: problem {name!r} has no decided sample (n=0); sample it again or leave it out with --n 1")
    return least


def refuse_beyond(a: Counts, b: Counts, k: int) -> None:
    """InputError if k exceeds the n of any problem."""
    least = shared_n(a, b)
    if k > least:
        short = int(((a.n < k) | (b.n < k)).sum())
        raise InputError(
            f"k: {k} exceeds the samples of {short} of {len(a)} problems (least n is {least}), and every k must use the "
            f"same problems; ask for k <= {least}, sample more, or leave those problems out with --n {k}"
        )


def crossing(diff: Difference) -> Crossing | None:
    """The first k at which the difference provably changes sign, or None where the band certifies no two signs.

    Confidence: if the band covers the true difference at all k, the truth has the certified sign at `low` and the
    opposite one at `high`, so it crosses zero between them.
    """
    sign = np.where(diff.low > 0, 1, np.where(diff.high < 0, -1, 0))
    certified = np.flatnonzero(sign)
    flips = np.flatnonzero(np.diff(sign[certified]))
    if len(flips) == 0:
        return None
    left, right = int(certified[flips[0]]), int(certified[flips[0] + 1])
    value = diff.value * sign[left]
    j = left + int(np.argmax(value[left : right + 1] <= 0))
    x0, x1 = np.log(diff.ks[j - 1]), np.log(diff.ks[j])
    share = value[j - 1] / (value[j - 1] - value[j])
    k = float(np.exp(x0 + share * (x1 - x0)))
    return Crossing(k, diff.ks[left], diff.ks[right], int(sign[left]))
