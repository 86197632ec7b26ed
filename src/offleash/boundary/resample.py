"""Intervals for means over problems: a bootstrap that does not collapse when every problem agrees.

The percentile bootstrap fails exactly where a boundary is measured: at pass@k near 0 or 1 nearly all problems agree, the
replicates agree too, and the interval loses its width (its 95% interval then covers anything from 0% to 90%; see
tests/boundary/test_coverage.py). Here replicates are Dirichlet weights over problems (Rubin 1981, the smooth multinomial
bootstrap), the lower end sees a fraction of one more problem at the worst value, the upper end one at the best.

One whole extra problem is Gaffke's bound (2005; see Phan et al., ICML 2021), which for 0/1 data is Clopper-Pearson. Less
is its mid-P form. The fraction is one pseudo-problem shared among the extreme outcomes, as in Perks' prior (1947): 1/2
where a problem lies in [0, 1] (Jeffreys for 0/1 data), 1/3 where it lies in [-1, 1] with no change between, 1/4 for four
classes. Tails are widened for small P as in Hesterberg (2015): normal -> Student t, variance 1/P -> 1/(P-1).

Population: problems drawn independently from one distribution of problems. Problems that depend on each other
(paraphrases of one another) make every interval here too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.core import InputError, rng

Floats = NDArray[np.float64]

REPLICATES = 10_000
METHOD = "Dirichlet bootstrap over problems with a fractional pseudo-problem at each bound"
UNIT, SIGNED, CLASSES = (
    1 / 2,
    1 / 3,
    1 / 4,
)  # weight of the pseudo-problem: outcomes in [0, 1], in [-1, 1], four classes
_BLOCK = 2_000_000  # weights drawn at a time, to keep memory flat


@dataclass(frozen=True)
class Replicates:
    """R bootstrap replicates of K weighted means over P problems: the parts, to which a pseudo-problem can be added."""

    sums: Floats  # (R, K) sum of weight * value; a column lies together in memory, since every use orders columns
    total: Floats  # (R,) sum of weights
    problems: int
    seed: int

    def pseudo(self, fraction: float) -> Floats:
        """(R,) weight of a pseudo-problem that counts as this fraction of a problem."""
        return rng.stream("boundary", "pseudo", self.seed).standard_gamma(fraction, len(self.total))

    def columns(self, part: slice) -> Replicates:
        """The same replicates of some of the K columns."""
        return Replicates(self.sums[:, part], self.total, self.problems, self.seed)


def draw(values: Floats, *, seed: int = 0, replicates: int = REPLICATES) -> Replicates:
    """Weight the problems at random, R times; the weights depend on (seed, R, P) only, never on the columns.

    Args:
        values: (P, K), finite.
        seed: of the stream.
        replicates: R.
    """
    problems = len(values)
    if problems < 1 or replicates < 100:
        raise InputError(f"replicates: {replicates} over {problems} problems; give at least 100 over at least 1")
    generator = rng.stream("boundary", "weights", seed)
    sums = np.empty((replicates, values.shape[1]), order="F")
    total = np.empty(replicates)
    block = max(1, _BLOCK // problems)
    for start in range(0, replicates, block):
        stop = min(start + block, replicates)
        weights = generator.standard_exponential((stop - start, problems))
        sums.T[:, start:stop] = values.T @ weights.T
        total[start:stop] = weights.sum(axis=1)
    return Replicates(sums, total, problems, seed)


def interval(
    values: Floats, *, level: float = 0.95, seed: int = 0, replicates: int = REPLICATES
) -> tuple[Floats, Floats]:
    """Pointwise intervals for the K column means over the population of problems.

    Args:
        values: (P, K), each in [0, 1]; a column with a NaN gives NaN ends.
        level: nominal coverage.
        seed: of the weights.
        replicates: number of bootstrap replicates.

    Returns:
        low, high: (K,) each.
    """
    check_level(level)
    low, high = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    known = ~np.isnan(values).any(axis=0)
    if known.any():
        drawn = draw(np.ascontiguousarray(values[:, known]), seed=seed, replicates=replicates)
        low[known], high[known] = ends(drawn, (0.0, 1.0), (1 - level) / 2, UNIT)
    return low, high


def ends(drawn: Replicates, bounds: tuple[float, float], tail: float, fraction: float) -> tuple[Floats, Floats]:
    """Interval ends (K,) that leave `tail` on each side; with one problem the whole range.

    Args:
        drawn: replicates of K means.
        bounds: least and greatest value of one problem; the pseudo-problem sits there.
        tail: nominal probability on each side.
        fraction: weight of the pseudo-problem (UNIT, SIGNED).
    """
    low, high = ends_at(drawn, bounds, (tail,), fraction)
    return low[0], high[0]


def ends_at(
    drawn: Replicates, bounds: tuple[float, float], tails: tuple[float, ...], fraction: float
) -> tuple[Floats, Floats]:
    """`ends` at several tails, in one pass over the replicates: low, high, (T, K) each."""
    if drawn.problems < 2:
        shape = len(tails), drawn.sums.shape[1]
        return np.full(shape, bounds[0]), np.full(shape, bounds[1])
    below = [expanded_tail(tail, drawn.problems) for tail in tails]
    above = [1 - tail for tail in below]
    extra = drawn.pseudo(fraction)
    total = drawn.total + extra
    # Column by column: it stays in the cache, where the whole (R, K) at once goes through memory for every operation.
    low = [np.quantile((sums + bounds[0] * extra) / total, below) for sums in drawn.sums.T]
    high = [np.quantile((sums + bounds[1] * extra) / total, above) for sums in drawn.sums.T]
    return np.reshape(low, (-1, len(tails))).T, np.reshape(high, (-1, len(tails))).T


def expanded_tail(tail: float, problems: int) -> float:
    """The normal tail that matches a Student t of P-1 degrees and the 1/(P-1) variance (Hesterberg 2015, sec. 4.3)."""
    from scipy.special import ndtr, stdtrit

    quantile = float(stdtrit(problems - 1, 1 - tail))
    return float(ndtr(-quantile * np.sqrt((problems + 1) / (problems - 1))))


def simultaneous_tail(drawn: Replicates, level: float) -> float:
    """The pointwise tail at which all K intervals hold together with probability `level`: a balanced sup-t.

    Each replicate is scored by its most extreme rank over the columns, and the quantile of these scores is the tail
    (Beran 1988). For Gaussian replicates this is the sup-t band; ranks keep a skewed column from widening the others.
    Columns without spread carry no rank and are left out.
    """
    check_level(level)
    count = len(drawn.total)
    rank = (np.arange(count) + 0.5) / count
    outer = np.minimum(rank, 1 - rank)
    extreme = np.ones(count)
    for sums in drawn.sums.T:
        means = sums / drawn.total
        if means.std() > 1e-12:  # not 0: the means of a constant 0.1 differ in their last bits, and would be ranked
            order = np.argsort(means)
            extreme[order] = np.minimum(extreme[order], outer)
    if extreme[0] == 1:  # not one column has a spread
        return (1 - level) / 2
    return float(np.quantile(extreme, 1 - level))


def check_level(level: float) -> None:
    """InputError unless 0 < level < 1."""
    if not 0 < level < 1:
        raise InputError(f"level: {level} is not a coverage; give a number between 0 and 1, such as 0.95")


def mean_interval(
    values: Floats, *, level: float = 0.95, seed: int = 0, replicates: int = REPLICATES
) -> tuple[float, float]:
    """Bootstrap-t interval for the mean of P >= 2 unbounded values (Efron & Tibshirani 1993, ch. 12).

    Multinomial weights; each replicate is studentised with its own standard error, which corrects for skew. Constant
    values give (-inf, inf): they show no spread to scale a step by, and without bounds nothing can be said about values never
    seen. Where a rarer value is wanted in the interval, bounds are needed (`ends`): 20 problems all miss one in twenty of a
    population in 36% of sets.
    """
    check_level(level)
    problems = len(values)
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(problems))
    if error <= 1e-15 * max(1.0, abs(mean)):
        return -np.inf, np.inf
    generator = rng.stream("boundary", "multinomial", seed)
    centred = values - mean
    columns = np.stack([centred, centred**2], axis=1)
    t = np.empty(replicates)
    block = max(1, _BLOCK // problems)
    for start in range(0, replicates, block):
        size = min(block, replicates - start)
        picked = generator.integers(0, problems, (size, problems)) + problems * np.arange(size)[:, None]
        weights = np.bincount(picked.ravel(), minlength=size * problems).reshape(size, problems)
        first, second = (weights @ columns / problems).T
        spread = np.sqrt(np.maximum(second - first**2, 0) / (problems - 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            t[start : start + size] = np.where(spread > 1e-12 * error, first / spread, np.inf * np.sign(first))
    t = np.where(np.isnan(t), 0.0, t)
    finite = np.clip(t, -1e3, 1e3)  # a replicate of one repeated value has no spread: an extreme t, not a missing one
    upper, lower = np.quantile(finite, [(1 + level) / 2, (1 - level) / 2])
    return mean - float(upper) * error, mean - float(lower) * error
