"""How many problems and samples a comparison needs to see a given shift of pass@k, before any draw is paid for.

The power is that of `compare`'s verdict: its 95% band, which holds at all k up to n at once, leaves out 0 at one k. Studies are
simulated from the pilot's distribution of difficulties; the bootstrap in each is replaced by its first four moments
(Cornish-Fisher) and the tail of the band by that of a Gaussian with the covariance of the curve, which decides 94 to 100 of
100 studies alike (docs/results/planner_power.json).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts
from offleash.boundary.difference import grid
from offleash.boundary.null import Difficulty, fit_difficulty
from offleash.boundary.passk import check_ks, curve, pass_at_k
from offleash.core import InputError, rng, unknown_name

Floats = NDArray[np.float64]

PROBLEMS = (25, 50, 100, 200, 400, 800, 1600)
STUDIES = 1000
MOST = 5000  # problems; where even these are too few, the plan says so
_POOL = 200_000  # simulated problems behind each number of samples
_BLOCK = 100  # studies at a time
_CURVES = 40_000  # simulated problems behind the covariance of the curve
_REACH = 60.0  # of a change of log odds
THIN = 50  # problems of a pilot; with fewer the plan carries a caveat

SPREADS = {
    "all": "the log odds of every problem move by the same amount; 0 and 1 stay",
    "few": "a few problems, taken at random, move all the way: to never solved, or to always solved",
}


@dataclass(frozen=True, eq=False)
class Plan:
    """What it takes to see a shift.

    Attributes:
        table: {(problems, samples): power}; samples of each problem and model.
        needed: {samples: least number of problems with the wanted power}; None where 5,000 are too few.
        problems, samples: the cheapest of these in draws; 0 where no number of samples suffices, see `reason`.
        draws: of both models together: 2 * problems * samples.
        power: wanted.
        base: pass@k of the pilot, as fitted.
        shift, k, spread, level: as asked.
        size: what the spread takes: the change of log odds ("all") or the share of problems that move ("few").
        error: largest Monte Carlo standard error in the table.
        reason: why there is no plan, else "".
        caveat: what to know of a pilot of fewer than THIN problems, else "".
    """

    table: Mapping[tuple[int, int], float]
    needed: Mapping[int, int | None]
    problems: int
    samples: int
    draws: int
    power: float
    base: float
    shift: float
    k: int
    spread: str
    level: float
    size: float
    error: float
    reason: str = ""
    caveat: str = ""


def plan(
    pilot: Counts | tuple[float, float],
    k: int,
    shift: float,
    *,
    spread: str = "all",
    problems: Iterable[int] = PROBLEMS,
    samples: Iterable[int] | None = None,
    power: float = 0.8,
    level: float = 0.95,
    seed: int = 0,
    studies: int = STUDIES,
) -> Plan:
    """Problems and samples with which `compare` would find a shift of pass@k, paired, with this power.

    Found: the simultaneous band, over the k that `compare` looks at up to n, lies wholly on the side of the shift at k. It is
    wider than an interval for k alone, the more so the more samples there are, for it then holds at more k.

    Args:
        pilot: counts of the base, n >= k: its difficulties are fitted (`null.fit_difficulty`); or a guess (a, b), the
            shapes of a Beta distribution of success rates. The plan is as good as the pilot: 50 problems know their
            pass@k to about +-0.1; fewer than that give a caveat.
        k: draws at which the two are compared.
        shift: pass@k of the trained model minus pass@k of the base that must not be missed.
        spread: how the shift lies over the problems, one of SPREADS. "few" needs more problems than "all".
        problems: rows of the table.
        samples: its columns, each at least k; default k, 2 k, 4 k, 8 k.
        power: wanted; more than 1 - level, the chance of a false alarm.
        level: of the band; 1 - level is the test's nominal size.
        seed: of the simulation; the same input and seed give the same numbers.
        studies: simulated for each cell.

    Raises:
        InputError: an argument out of range, a pilot with n < k somewhere, a shift of 0 or one that the pilot's pass@k leaves
            no room for, or that the spread cannot reach.
    """
    _check(spread, power, level, studies)
    k = check_ks([k])[0]
    rows = _sizes(problems, "problems", 2)
    columns = _sizes((k, 2 * k, 4 * k, 8 * k) if samples is None else samples, "samples", k)
    difficulty = _difficulty(pilot, k)
    base = max(0.0, 1 - difficulty.miss(k))
    size = _solve(difficulty, k, shift, spread, base)
    sign = math.copysign(1.0, shift)
    sizes = np.unique(np.concatenate([np.round(np.geomspace(2, MOST, 300)).astype(np.int64), rows]))
    table: dict[tuple[int, int], float] = {}
    needed: dict[int, int | None] = {}
    for n in columns:
        pool, tail = _changes(_pool(difficulty, n, size, spread, sign, seed), n, k, level, seed)
        chance = detected(sign * pool, sizes, tail=tail, seed=seed, studies=studies)
        table |= {(count, n): float(chance[np.searchsorted(sizes, count)]) for count in rows}
        enough = np.flatnonzero((chance >= power) & (sizes <= MOST))
        needed[n] = int(sizes[enough[0]]) if len(enough) else None
    choices = [(count * n, n, count) for n, count in needed.items() if count is not None]
    reason = (
        "" if choices else f"even {MOST} problems do not give power {power:g}; look for a larger shift, or sample more"
    )
    _, n, count = min(choices) if choices else (0, 0, 0)
    error = max(math.sqrt(p * (1 - p) / studies) for p in table.values())
    return Plan(
        table, needed, count, n, 2 * count * n, power, float(base), float(shift), k, spread, level, size, error, reason,
        _caveat(pilot, k),
    )  # fmt: skip


def _check(spread: str, power: float, level: float, studies: int) -> None:
    resample.check_level(level)
    if spread not in SPREADS:
        raise unknown_name("spread", spread, SPREADS)
    if not 0 < power < 1:
        raise InputError(f"power: {power} is no probability; give a number between 0 and 1, such as 0.8")
    if power <= 1 - level:
        raise InputError(
            f"power: {power:g} is no more than the chance of a false alarm, {1 - level:.2g}; give more, such as 0.8"
        )
    if studies < 100:
        raise InputError(f"studies: {studies}; give at least 100")


def _caveat(pilot: Counts | tuple[float, float], k: int) -> str:
    """What so small a pilot leaves open."""
    if not isinstance(pilot, Counts) or len(pilot) >= THIN:
        return ""
    known = curve(pilot, [k])[k]
    many = f"{len(pilot)} problem" + "s" * (len(pilot) > 1)
    return (
        f"a pilot of {many} knows its pass@{k} to about +-{(known.high - known.low) / 2:.2f}, and the plan is no better; "
        f"sample {THIN} problems or more"
    )


def band_tail(curves_MK: Floats, level: float = 0.95, *, seed: int = 0) -> float:
    """The pointwise tail of a band over K values of k: `resample.simultaneous_tail` of a Gaussian with the same covariance.

    Args:
        curves_MK: (M, K) per-problem differences at each k. A k at which nothing varies is left out, as there.
        level: of the band.
        seed: of the Gaussian.
    """
    from scipy.special import ndtr

    covariance = np.atleast_2d(np.cov(curves_MK, rowvar=False))
    scale = np.sqrt(np.diag(covariance))
    kept = scale > 1e-12
    if not kept.any():
        return (1 - level) / 2
    correlation = covariance[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept])
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0))
    normal = rng.stream("boundary", "plan-band", seed).standard_normal((2 * resample.REPLICATES, len(values)))
    return float(ndtr(-np.quantile(np.abs(normal @ root.T).max(axis=1), level)))


def detected(
    pool: Floats, problems: NDArray[np.int64], *, tail: float = 0.025, seed: int = 0, studies: int = STUDIES
) -> Floats:
    """Share of studies whose interval lies wholly above 0, for several numbers of problems drawn from `pool`.

    A study with fewer problems is the beginning of one with more, so the power is a smooth function of their number.

    Args:
        pool: (M,) simulated per-problem differences, signed so that the shift is positive.
        problems: (Q,) increasing, each at least 2.
        tail: nominal, of one side: half of 1 - level for an interval at one k, `band_tail` for a band.
        seed: of the draws.
        studies: how many.

    Returns:
        (Q,).
    """
    generator = rng.stream("boundary", "plan", seed)
    found = np.zeros(len(problems))
    for start in range(0, studies, _BLOCK):
        shape = (min(_BLOCK, studies - start), int(problems[-1]))
        drawn = pool[generator.integers(0, len(pool), shape)]
        moments, power = [], np.ones_like(drawn)
        for _ in range(4):
            power = power * drawn
            moments.append(np.cumsum(power, axis=1)[:, problems - 1] / problems)
        found += (_lower_ends(moments, problems, tail) > 0).sum(axis=0)
    return np.asarray(found / studies)


def lower_ends(values: Floats, tail: float = 0.025) -> Floats:
    """Lower end of `difference`'s interval or band at one k from moments, without the bootstrap.

    The replicate with the pseudo-problem at -1 is a Dirichlet-weighted mean of the P values and of -1 with weight
    `resample.SIGNED`: its first four moments are known, and Cornish-Fisher gives the quantile. Three would do for the interval
    at one k; in the tail of the band they are too short by up to a ninth of its half-width.

    Args:
        values: (S, P) per-problem differences of S studies, P >= 2.
        tail: as in `detected`.

    Returns:
        (S,).
    """
    moments = [(values**power).mean(axis=1)[:, None] for power in (1, 2, 3, 4)]
    return _lower_ends(moments, np.array([values.shape[1]]), tail)[:, 0]


def _lower_ends(raw: Sequence[Floats], problems: NDArray[np.int64], tail: float) -> Floats:
    """(S, Q) from the first four raw moments, (S, Q) each, of studies with (Q,) problems."""
    from scipy.special import stdtrit

    # as `resample.expanded_tail` widens it
    z = -stdtrit(problems - 1, 1 - tail) * np.sqrt((problems + 1) / (problems - 1))
    one, two, three, four = raw
    extra = resample.SIGNED
    weight = problems + extra
    centre = (problems * one - extra) / weight
    # central moments, around `centre`, of the P values and the pseudo-problem
    apart = 1 + centre
    second = (problems * (two - 2 * centre * one + centre**2) + extra * apart**2) / weight
    cubed = problems * (three - 3 * centre * two + 3 * centre**2 * one - centre**3) - extra * apart**3
    fourth = problems * (four - 4 * centre * three + 6 * centre**2 * two - 4 * centre**3 * one + centre**4)
    second = np.maximum(second, 1e-30)
    # a Dirichlet-weighted mean: its spread, skewness and excess kurtosis
    spread = np.sqrt(second / (weight + 1))
    skew = 2 * cubed / weight / ((weight + 1) * (weight + 2)) / spread**3
    power4 = (6 * (fourth + extra * apart**4) / weight + 3 * weight * second**2) / (
        (weight + 1) * (weight + 2) * (weight + 3)
    )
    excess = power4 / spread**4 - 3

    def quantile(x: Floats) -> Floats:
        return np.asarray(x + (x**2 - 1) * skew / 6 + (x**3 - 3 * x) * excess / 24 - (2 * x**3 - 5 * x) * skew**2 / 36)

    # With a handful of problems z lies so far out that the expansion turns back up; no quantile does.
    lowest = np.minimum.reduce([quantile(np.maximum(z, -x)) for x in (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, np.inf)])
    return np.asarray(centre + spread * lowest)


def _sizes(values: Iterable[int], name: str, least: int) -> tuple[int, ...]:
    out = tuple(sorted({int(v) for v in values}))
    if not out or out[0] < least:
        given = out[0] if out else "none"
        raise InputError(f"{name}: {given}; give whole numbers of at least {least}")
    return out


def _difficulty(pilot: Counts | tuple[float, float], k: int) -> Difficulty:
    from scipy.special import betaincinv

    if isinstance(pilot, Counts):
        short = int((pilot.n < k).sum())
        if short:
            raise InputError(
                f"k: {short} of the pilot's {len(pilot)} problems have fewer than {k} samples, so their pass@{k} is "
                "unknown; lower k, or sample the pilot more"
            )
        return fit_difficulty(pilot)
    a, b = pilot
    if not (a > 0 and b > 0 and math.isfinite(a) and math.isfinite(b)):
        raise InputError(f"pilot: Beta({a}, {b}) is no distribution; give two positive shapes, or counts")
    points = 4000
    rates = betaincinv(a, b, (np.arange(points) + 0.5) / points)
    return Difficulty(np.asarray(rates), np.full(points, 1 / points))


def _moved(rates: Floats, size: float) -> Floats:
    """Rates whose log odds are shifted."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(1 / (1 + np.exp(-(np.log(rates) - np.log1p(-rates) + size))))


def _solve(difficulty: Difficulty, k: int, shift: float, spread: str, base: float) -> float:
    """The change of log odds, or the share of problems, that gives the shift."""
    if shift == 0 or not -base < shift < 1 - base:
        raise InputError(
            f"shift: {shift:g} cannot be: the base's pass@{k} is {base:.3f}, so it can move by {-base:.3f} to "
            f"{1 - base:+.3f} (and 0 needs no test); give a number between"
        )
    if spread == "few":
        return shift / (1 - base) if shift > 0 else -shift / base

    def reached(size: float) -> float:
        return 1 - Difficulty(_moved(difficulty.rates, size), difficulty.weights).miss(k) - base

    low, high = -_REACH, _REACH
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < shift else (low, middle)
    size = (low + high) / 2
    if abs(reached(size) - shift) > 1e-3 * abs(shift):
        far = reached(math.copysign(_REACH, shift))
        fixed = float(difficulty.weights[(difficulty.rates <= 1e-12) | (difficulty.rates >= 1 - 1e-12)].sum())
        if fixed > 0.9995:
            raise InputError(
                f"shift: the rates of the pilot are all 0 or 1 as fitted; spread 'all' moves log odds, which leaves them there, so "
                f"pass@{k} cannot move by {shift:g}; use --spread few"
            )
        raise InputError(
            f"shift: the rates of the pilot are 0 or 1 on {fixed:.0%} of the problems as fitted; spread 'all' leaves them there, so "
            f"pass@{k} moves by {far:+.3f} at most, not by {shift:g}; use --spread few, or give a smaller shift"
        )
    return size


def _pool(
    difficulty: Difficulty, n: int, size: float, spread: str, sign: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(M,) each: correct samples of n before and after, of simulated problems."""
    generator = rng.stream("boundary", "plan-pool", seed, n)
    weights = difficulty.weights / difficulty.weights.sum()
    before = difficulty.rates[np.searchsorted(np.cumsum(weights)[:-1], generator.random(_POOL))]
    if spread == "all":
        after = _moved(before, size)
    else:
        after = np.where(generator.random(_POOL) < size, 1.0 if sign > 0 else 0.0, before)
    return generator.binomial(n, before), generator.binomial(n, after)


def _changes(
    pool: tuple[NDArray[np.int64], NDArray[np.int64]], n: int, k: int, level: float, seed: int
) -> tuple[Floats, float]:
    """(M,) differences of the estimated pass@k of a problem, and the tail of the band over the k that `compare` looks at."""
    before, after = pool
    ks = sorted({*grid(n), k})
    value = pass_at_k(np.arange(n + 1)[:, None], n, np.array(ks))
    tail = band_tail(value[after[:_CURVES]] - value[before[:_CURVES]], level, seed=seed)
    at = value[:, ks.index(k)]
    return np.asarray(at[after] - at[before]), tail
