"""How many problems and samples a comparison needs to see a given shift of pass@k, before any draw is paid for.

The power is that of this package's own test: the 95% interval of `difference` at one k, which holds 0 or does not. Studies
are simulated from the pilot's distribution of difficulties; the bootstrap in each is replaced by its first three moments
(Cornish-Fisher), which decides 97 to 99 of 100 studies alike (docs/results/planner_power.json).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts
from offleash.boundary.null import Difficulty, fit_difficulty
from offleash.boundary.passk import check_ks, pass_at_k
from offleash.core import InputError, rng, unknown_name

Floats = NDArray[np.float64]

PROBLEMS = (25, 50, 100, 200, 400, 800, 1600)
STUDIES = 1000
MOST = 5000  # problems; where even these are too few, the plan says so
_POOL = 200_000  # simulated problems behind each number of samples
_BLOCK = 100  # studies at a time

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
    """Problems and samples with which `difference` would find a shift of pass@k, paired, with this power.

    Args:
        pilot: counts of the base, n >= k: its difficulties are fitted (`null.fit_difficulty`); or a guess (a, b), the
            shapes of a Beta distribution of success rates. The plan is as good as the pilot: 50 problems know their
            pass@k to about +-0.1.
        k: draws at which the two are compared.
        shift: pass@k of the trained model minus pass@k of the base that must not be missed.
        spread: how the shift lies over the problems, one of SPREADS. "few" needs more problems than "all".
        problems: rows of the table.
        samples: its columns, each at least k; default k, 2 k, 4 k, 8 k.
        power: wanted.
        level: of the interval; 1 - level is the test's nominal size.
        seed: of the simulation; the same input and seed give the same numbers.
        studies: simulated for each cell.

    Raises:
        InputError: an argument out of range, a pilot with n < k somewhere, a shift of 0 or one the pilot's pass@k leaves no
            room for.
    """
    resample.check_level(level)
    if spread not in SPREADS:
        raise unknown_name("spread", spread, SPREADS)
    if not 0 < power < 1:
        raise InputError(f"power: {power} is no probability; give a number between 0 and 1, such as 0.8")
    if studies < 100:
        raise InputError(f"studies: {studies}; give at least 100")
    k = check_ks([k])[0]
    rows = _sizes(problems, "problems", 2)
    columns = _sizes((k, 2 * k, 4 * k, 8 * k) if samples is None else samples, "samples", k)
    difficulty = _difficulty(pilot, k)
    base = 1 - difficulty.miss(k)
    size = _solve(difficulty, k, shift, spread, base)
    sign = math.copysign(1.0, shift)
    sizes = np.unique(np.concatenate([np.round(np.geomspace(2, MOST, 300)).astype(np.int64), rows]))
    table: dict[tuple[int, int], float] = {}
    needed: dict[int, int | None] = {}
    for n in columns:
        pool = sign * _changes(difficulty, n, k, size, spread, sign, seed)
        chance = detected(pool, sizes, level=level, seed=seed, studies=studies)
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
        table, needed, count, n, 2 * count * n, power, float(base), float(shift), k, spread, level, size, error, reason
    )


def detected(
    pool: Floats, problems: NDArray[np.int64], *, level: float = 0.95, seed: int = 0, studies: int = STUDIES
) -> Floats:
    """Share of studies whose interval lies wholly above 0, for several numbers of problems drawn from `pool`.

    A study with fewer problems is the beginning of one with more, so the power is a smooth function of their number.

    Args:
        pool: (M,) simulated per-problem differences, signed so that the shift is positive.
        problems: (Q,) increasing, each at least 2.
        level: of the interval.
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
        moments = [np.cumsum(drawn**power, axis=1)[:, problems - 1] / problems for power in (1, 2, 3)]
        found += (_lower_ends(moments[0], moments[1], moments[2], problems, level) > 0).sum(axis=0)
    return np.asarray(found / studies)


def lower_ends(values: Floats, level: float = 0.95) -> Floats:
    """Lower end of `difference`'s pointwise interval from moments, without the bootstrap.

    The replicate with the pseudo-problem at -1 is a Dirichlet-weighted mean of the P values and of -1 with weight
    `resample.SIGNED`: its mean, variance and skewness are known, and Cornish-Fisher gives the quantile.

    Args:
        values: (S, P) per-problem differences of S studies, P >= 2.
        level: of the interval.

    Returns:
        (S,).
    """
    one, two, three = ((values**power).mean(axis=1)[:, None] for power in (1, 2, 3))
    return _lower_ends(one, two, three, np.array([values.shape[1]]), level)[:, 0]


def _lower_ends(one: Floats, two: Floats, three: Floats, problems: NDArray[np.int64], level: float) -> Floats:
    """(S, Q) from raw moments (S, Q) of studies with (Q,) problems."""
    from scipy.special import ndtri

    z = np.array([float(ndtri(resample.expanded_tail((1 - level) / 2, int(p)))) for p in problems])
    extra = resample.SIGNED
    weight = problems + extra
    centre = (problems * one - extra) / weight
    # second and third central moments, around `centre`, of the P values and the pseudo-problem
    second = (problems * (two - 2 * centre * one + centre**2) + extra * (1 + centre) ** 2) / weight
    cubed = problems * (three - 3 * centre * two + 3 * centre**2 * one - centre**3) - extra * (1 + centre) ** 3
    spread = np.sqrt(np.maximum(second, 1e-30) / (weight + 1))
    skew = 2 * cubed / weight / ((weight + 1) * (weight + 2)) / spread**3
    return np.asarray(centre + spread * (z + (z**2 - 1) * skew / 6))


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
    top = 1 - float(difficulty.weights[difficulty.rates == 0].sum()) if spread == "all" else 1.0
    if shift == 0 or not -base < shift < top - base:
        raise InputError(
            f"shift: {shift:g} cannot be: the base's pass@{k} is {base:.3f}, so it can move by {-base:.3f} to "
            f"{top - base:+.3f} (and 0 needs no test); give a number between"
        )
    if spread == "few":
        return shift / (1 - base) if shift > 0 else -shift / base
    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        new = 1 - Difficulty(_moved(difficulty.rates, middle), difficulty.weights).miss(k)
        low, high = (middle, high) if new - base < shift else (low, middle)
    return (low + high) / 2


def _changes(difficulty: Difficulty, n: int, k: int, size: float, spread: str, sign: float, seed: int) -> Floats:
    """(M,) simulated differences of the estimated pass@k of a problem."""
    generator = rng.stream("boundary", "plan-pool", seed, n)
    weights = difficulty.weights / difficulty.weights.sum()
    before = difficulty.rates[np.searchsorted(np.cumsum(weights)[:-1], generator.random(_POOL))]
    if spread == "all":
        after = _moved(before, size)
    else:
        after = np.where(generator.random(_POOL) < size, 1.0 if sign > 0 else 0.0, before)
    value = pass_at_k(np.arange(n + 1), np.full(n + 1, n), k)
    return np.asarray(value[generator.binomial(n, after)] - value[generator.binomial(n, before)])
