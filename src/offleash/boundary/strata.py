"""The paired difference of two models, stratum by stratum: by a label of the problems, or by how hard they are for the base.

Sorting problems by the base's own counts and then comparing on the same counts finds a gain on "hard" problems and a loss on
"easy" ones where nothing changed: the hard ones are those on which the base was unlucky (regression to the mean). Here half of
the base's samples sort and the other half measure, averaged over all ways to halve them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts, join
from offleash.boundary.passk import check_ks, pass_at_k
from offleash.core import Estimate, InputError

Floats = NDArray[np.float64]

EDGES = (0.0, 0.1, 0.5)
"""Upper ends of the strata by the base's success rate, before the last, which ends at 1."""


@dataclass(frozen=True)
class Stratum:
    """What changed on some of the problems.

    Attributes:
        name: the label, or the range of the base's success rate.
        problems: how many; by difficulty an expectation over the halvings, so not a whole number.
        pass_a, pass_b: mean pass@k.
        difference: b minus a; the intervals of all strata hold together (Bonferroni).
        k: draws.
    """

    name: str
    problems: float
    pass_a: float
    pass_b: float
    difference: Estimate
    k: int


def by_label(
    a: Counts,
    b: Counts,
    labels: Mapping[str, str],
    k: int,
    *,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> tuple[Stratum, ...]:
    """The difference of pass@k on the problems of each label, sorted by label.

    Args:
        a, b: counts of the reference and of the other model.
        labels: of every shared problem: its task, its level, trained or held out.
        k: draws, at most every n.
        level: confidence that all intervals hold together.
        seed, replicates: of the bootstrap.

    Raises:
        InputError: a problem without a label, or k beyond some problem's n.
    """
    pair = join(a, b)
    missing = [name for name in pair.a.ids if name not in labels]
    if missing:
        raise InputError(f"labels: problem {missing[0]!r} has none ({len(missing)} in all); give each problem one")
    names = sorted({labels[name] for name in pair.a.ids})
    members_PS = np.array([[labels[name] == s for s in names] for name in pair.a.ids], dtype=np.float64)
    pass_a, pass_b = (_within(side, k)[:, None] * members_PS for side in (pair.a, pair.b))
    return _strata(names, members_PS, pass_a, pass_b, k, level, seed, replicates)


def by_difficulty(
    a: Counts,
    b: Counts,
    k: int,
    *,
    edges: Sequence[float] = EDGES,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> tuple[Stratum, ...]:
    """The difference of pass@k on problems of like difficulty for a, without regression to the mean.

    Of a problem's n samples of a, n // 2 decide its stratum and the others measure a; the mean over all choices of them is
    taken exactly (hypergeometric). The population of a stratum: problems whose rate in n // 2 draws of a falls into it.

    Args:
        a: counts of the reference, n >= 2 k.
        b: counts of the other model, n >= k.
        k: draws.
        edges: increasing rates in [0, 1): (0, 0.1, 0.5) gives 0, (0, 0.1], (0.1, 0.5], (0.5, 1].
        level: confidence that all intervals hold together.
        seed, replicates: of the bootstrap.

    Raises:
        InputError: k beyond the samples, or edges that do not increase within [0, 1).
    """
    pair = join(a, b)
    k = check_ks([k])[0]
    bounds = [float(x) for x in edges]
    if not bounds or any(not 0 <= x < 1 for x in bounds) or sorted(set(bounds)) != bounds:
        raise InputError(f"edges: {tuple(edges)}; give increasing rates from 0 to below 1, such as 0, 0.1, 0.5")
    rest = pair.a.n - pair.a.n // 2
    if (rest < k).any():
        at = int(np.argmin(rest))
        raise InputError(
            f"k: {k}; half of a's samples sort the problems, and problem {pair.a.ids[at]!r} has {rest[at]} left; "
            "give a smaller k, or sample a more"
        )
    solved_b = _within(pair.b, k)
    members_PS = np.zeros((len(pair.a), len(bounds) + 1))
    pass_a = np.zeros_like(members_PS)
    known: dict[tuple[int, int], tuple[Floats, Floats]] = {}
    for i, (c, n) in enumerate(zip(pair.a.c.tolist(), pair.a.n.tolist(), strict=True)):
        if (c, n) not in known:
            known[c, n] = _halved(c, n, k, bounds)
        members_PS[i], pass_a[i] = known[c, n]
    names = ["0" if bounds[0] == 0 else f"up to {bounds[0]:g}"]
    names += [f"{low:g} to {high:g}" for low, high in zip(bounds, [*bounds[1:], 1.0], strict=True)]
    return _strata(names, members_PS, pass_a, members_PS * solved_b[:, None], k, level, seed, replicates)


def _halved(c: int, n: int, k: int, bounds: Sequence[float]) -> tuple[Floats, Floats]:
    """(S,) probability of each stratum, and mean over the halvings of pass@k of the rest where it falls into that stratum."""
    from scipy.special import gammaln

    half = n // 2
    first = np.arange(max(0, c - (n - half)), min(c, half) + 1)

    def ways(total: int, chosen: NDArray[np.int64]) -> Floats:
        return np.asarray(gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1))

    weight = np.exp(ways(half, first) + ways(n - half, c - first) - ways(n, np.array(c)))
    weight /= weight.sum()
    stratum = np.searchsorted(bounds, first / max(half, 1), side="left")
    solved = pass_at_k(c - first, n - half, k)
    size = len(bounds) + 1
    inside, passed = np.zeros(size), np.zeros(size)
    np.add.at(inside, stratum, weight)
    np.add.at(passed, stratum, weight * solved)
    return inside, passed


def _within(counts: Counts, k: int) -> Floats:
    """(P,) pass@k of each problem.

    Raises:
        InputError: a problem with fewer samples.
    """
    short = counts.n < k
    if short.any():
        at = int(np.argmax(short))
        raise InputError(f"k: {k}; problem {counts.ids[at]!r} has {counts.n[at]} samples; give a smaller k")
    return pass_at_k(counts.c, counts.n, k)


def _strata(
    names: Sequence[str],
    members_PS: Floats,
    pass_a: Floats,
    pass_b: Floats,
    k: int,
    level: float,
    seed: int,
    replicates: int,
) -> tuple[Stratum, ...]:
    """Ratios of means over problems, with Dirichlet weights on problems and a pseudo-problem in each stratum."""
    resample.check_level(level)
    drawn = resample.draw(np.hstack([members_PS, pass_b - pass_a]), seed=seed, replicates=replicates)
    size, extra = len(names), drawn.pseudo(resample.SIGNED)
    method = f"mean over problems of a stratum; {level:.0%} together over {size} strata, {resample.METHOD}"
    out = []
    for s, name in enumerate(names):
        total = float(members_PS[:, s].sum())
        if total == 0:
            nothing = Estimate(float("nan"), float("nan"), float("nan"), 0, method, "no problem is in this stratum")
            out.append(Stratum(name, 0.0, float("nan"), float("nan"), nothing, k))
            continue
        weight, change = drawn.sums[:, s], drawn.sums[:, size + s]
        low, high = -1.0, 1.0
        if total >= 2:
            tail = resample.expanded_tail((1 - level) / 2 / size, max(2, round(total)))
            low = float(np.quantile((change - extra) / (weight + extra), tail))
            high = float(np.quantile((change + extra) / (weight + extra), 1 - tail))
        means = [float(x[:, s].sum() / total) for x in (pass_a, pass_b)]
        value = Estimate(means[1] - means[0], low, high, round(total), method)
        out.append(Stratum(name, total, means[0], means[1], value, k))
    return tuple(out)
