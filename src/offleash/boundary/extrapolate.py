"""pass@k beyond the samples that were drawn: a model's guess, the bounds that hold without the model, and refusals.

No unbiased estimate of pass@k exists for k > n. The point here is a zero-inflated beta-binomial (Kazdan et al.,
arXiv:2510.05197; the zero class: Verine et al., CTB at ICML 2026). It is wrong where a class of problems is solved once in
several n draws: no smooth curve through the counts shows it. So the interval does not trust the model: it holds every
distribution of success rates that explains the counts nearly as well as the best one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts, Numbers
from offleash.boundary.passk import check_ks
from offleash.core import Estimate, InputError

Floats = NDArray[np.float64]

FACTOR = 8  # the furthest k, in multiples of the least n
SMALL, NEEDED = 4, 5  # at least NEEDED problems with 1 <= c <= SMALL: they tell a rare solve from none
MISS = {2: 0.04, 4: 0.06, 8: 0.08}  # largest error of the hold-out by its factor
FIT = 0.01  # smallest p of the goodness of fit
_POINTS = 60  # rates of the grid behind the bounds
_GAP = 0.004  # precision of the bounds, outwards
_STARTS = ((-3.0, -1.0, -1.0), (-0.5, -1.0, 0.0), (-1.0, 0.5, 0.5), (-1.0, -1.5, 1.5))
_BOX = (-12.0, 9.0)  # of logit zeros, log a, log b


@dataclass(frozen=True)
class BetaZero:
    """Success rates: 0 with probability `zeros`, else Beta(a, b)."""

    zeros: float
    a: float
    b: float

    def pass_at(self, k: Numbers) -> Floats:
        """Expected pass@k of a problem: (1 - zeros) (1 - B(a, b + k) / B(a, b))."""
        from scipy.special import betaln

        return np.asarray(-(1 - self.zeros) * np.expm1(betaln(self.a, self.b + np.asarray(k)) - betaln(self.a, self.b)))


@dataclass(frozen=True)
class Foreseen:
    """How well the model, shown fewer draws, foresees what was seen.

    Attributes:
        factor: the model saw n // factor draws of every problem (in expectation over all choices of them).
        predicted: share of problems solved within all n draws, as foreseen.
        observed: the share that was.
        error: predicted - observed.
    """

    factor: int
    predicted: float
    observed: float
    error: float


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """pass@k beyond n.

    Attributes:
        curve: {k: Estimate}. Value: the model's; interval: `bounds`, widened to hold `model_interval`. NaN with the reason
            where refused.
        bounds: {k: (low, high)} over all distributions of success rates that the counts do not refute; also where the
            value is refused.
        model_interval: {k: (low, high)} if the model were right; profile likelihood.
        model: the fitted distribution.
        hold_out: by factor.
        fit_p: probability of counts that fit worse if the model were right (Pearson on pooled c).
        level: nominal coverage of each interval, by itself.
    """

    curve: Mapping[int, Estimate]
    bounds: Mapping[int, tuple[float, float]]
    model_interval: Mapping[int, tuple[float, float]]
    model: BetaZero
    hold_out: tuple[Foreseen, ...]
    fit_p: float
    level: float


@dataclass(frozen=True, eq=False)
class _Table:
    """Distinct (c, n) and how often each occurs (not always a whole number: expected counts of a split)."""

    c: Floats
    n: Floats
    times: Floats


def extrapolate(counts: Counts, ks: Iterable[int] | None = None, *, level: float = 0.95) -> Extrapolation:
    """pass@k for k above n, over the population that the P problems were drawn from.

    Interval: the least and greatest pass@k over all distributions G of success rates (on a grid) whose log-likelihood is
    within half a chi-square quantile of the greatest, a convex program solved by cutting planes, outwards. It widens by
    itself with k / n, and covers whatever the shape of G: the quantile is that of a regular problem, which this is not, so
    coverage is measured (docs/results/extrapolation.json), at 95% between 92% and 100%.

    Refused, with the reason: k beyond 8 times the least n; unsolved problems but fewer than 5 with 1 <= c <= 4; a hold-out
    at factor 2, or at the factor asked for (fit on n // factor draws, predict the share solved in n), off by more than 0.04,
    0.06 or 0.08 at factors 2, 4, 8; a misfit at p < 0.01; a value outside the bounds.

    Args:
        counts: P problems, n >= 2 each; the n may differ.
        ks: draws above the least n; default 2, 4 and 8 times the least n.
        level: nominal coverage.

    Raises:
        InputError: a problem with fewer than 2 samples, or a k that the samples cover (use `curve`).
    """
    resample.check_level(level)
    least = int(counts.n.min())
    if least < 2:
        name = counts.ids[int(np.argmin(counts.n))]
        raise InputError(f"n: problem {name!r} has {least} decided samples; give at least 2, or leave the problem out")
    chosen = check_ks((2 * least, 4 * least, 8 * least) if ks is None else ks)
    if chosen[0] <= least:
        raise InputError(f"k: {chosen[0]} is within the samples (least n is {least}); use curve, which needs no model")
    table = _table(counts)
    model, log_likelihood = _fit(table)
    hold_out = tuple(_hold_out(counts, f) for f in MISS if least // f >= 2)
    fit_p = _fit_p(table, model)
    from scipy.special import chdtri

    drop = float(chdtri(1, 1 - level)) / 2
    within = [k for k in chosen if k <= FACTOR * least]
    bounds = dict(zip(within, _bounds(table, within, drop), strict=True))
    inner = {k: _model_interval(table, model, log_likelihood, k, drop) for k in within}
    curve = {}
    for k in chosen:
        value = float(model.pass_at(k))
        reason = _refusal(counts, k, value, bounds.get(k), hold_out, fit_p)
        low, high = (0.0, 1.0) if k not in bounds else (min(bounds[k][0], inner[k][0]), max(bounds[k][1], inner[k][1]))
        if reason:
            value = low = high = float("nan")
        method = f"zero-inflated beta-binomial; {level:.0%} bounds over all distributions within the likelihood"
        curve[k] = Estimate(value, low, high, len(counts), method, reason)
    return Extrapolation(curve, bounds, inner, model, hold_out, fit_p, level)


def _fit(table: _Table) -> tuple[BetaZero, float]:
    """Maximum likelihood of the zero-inflated beta-binomial, and its log-likelihood (without the binomial factors)."""
    from scipy.optimize import minimize

    best = None
    for start in _STARTS:
        found = minimize(
            lambda x: -_log_likelihood(table, x), start, method="Nelder-Mead",
            options={"xatol": 1e-3, "fatol": 1e-4, "maxiter": 400},
        )  # fmt: skip
        if best is None or found.fun < best.fun:
            best = found
    assert best is not None
    return _model(best.x), -float(best.fun)


def _fit_p(table: _Table, model: BetaZero) -> float:
    """p of Pearson's chi-square over neighbouring c, pooled to at least 5 expected problems; NaN under 5 classes."""
    from scipy.special import betaln, chdtrc, gammaln

    size = int(table.n.max()) + 1
    expected = np.zeros(size)
    for n, times in zip(*_totals(table), strict=True):
        c = np.arange(int(n) + 1)
        ways = gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1)
        mass = (1 - model.zeros) * np.exp(ways + betaln(c + model.a, n - c + model.b) - betaln(model.a, model.b))
        mass[0] += model.zeros
        expected[: len(c)] += times * mass
    observed = np.bincount(table.c.astype(np.int64), weights=table.times, minlength=size).astype(np.float64)
    pooled = _pool(expected, observed)
    freedom = len(pooled) - 4  # classes less one, less three parameters
    if freedom < 1:
        return float("nan")
    return float(chdtrc(freedom, sum((o - e) ** 2 / e for e, o in pooled)))


def _pool(expected: Floats, observed: Floats) -> list[tuple[float, float]]:
    """Neighbouring classes joined until each expects at least 5; the remainder goes to the last."""
    out, e_sum, o_sum = [], 0.0, 0.0
    for e, o in zip(expected, observed, strict=True):
        e_sum, o_sum = e_sum + float(e), o_sum + float(o)
        if e_sum >= 5:
            out.append((e_sum, o_sum))
            e_sum = o_sum = 0.0
    if out and (e_sum or o_sum):
        out[-1] = (out[-1][0] + e_sum, out[-1][1] + o_sum)
    return out


def _refusal(
    counts: Counts,
    k: int,
    value: float,
    bounds: tuple[float, float] | None,
    hold_out: tuple[Foreseen, ...],
    fit_p: float,
) -> str:
    """Why there is no trustworthy value at k, or ""."""
    least = int(counts.n.min())
    if bounds is None:
        return f"k = {k} is beyond {FACTOR} times the least n ({least}); sample more"
    few = int(((counts.c >= 1) & (counts.c <= SMALL)).sum())
    unsolved = int((counts.c == 0).sum())
    if unsolved and few < NEEDED:
        return (
            f"{unsolved} problems are unsolved and only {few} were solved 1 to {SMALL} times (at least {NEEDED} are "
            "needed to tell rarely from never); sample more, or read the bounds"
        )
    reached = [h for h in hold_out if h.factor * least >= k] or list(hold_out[-1:])
    for h in (*hold_out[:1], *reached[:1]):
        if abs(h.error) > MISS[h.factor]:
            return (
                f"fitted on 1/{h.factor} of the draws the model foresees {h.predicted:.3f} where {h.observed:.3f} was seen "
                f"(more than {MISS[h.factor]} off); sample more, or read the bounds"
            )
    if fit_p < FIT:
        return f"the model does not fit the counts (p = {fit_p:.2g}); sample more, or read the bounds"
    if not bounds[0] - _GAP <= value <= bounds[1] + _GAP:
        return f"the model's {value:.3f} is outside the bounds [{bounds[0]:.3f}, {bounds[1]:.3f}] of the counts"
    return ""


def _table(counts: Counts) -> _Table:
    pairs, times = np.unique(np.stack([counts.c, counts.n]).astype(np.float64), axis=1, return_counts=True)
    return _Table(pairs[0], pairs[1], times.astype(np.float64))


def _totals(table: _Table) -> tuple[Floats, Floats]:
    """Distinct n and the number of problems with it."""
    n, at = np.unique(table.n, return_inverse=True)
    return n, np.bincount(at, weights=table.times).astype(np.float64)


def _model(x: Floats) -> BetaZero:
    x = np.clip(x, *_BOX)
    return BetaZero(float(1 / (1 + np.exp(-x[0]))), float(np.exp(x[1])), float(np.exp(x[2])))


def _log_likelihood(table: _Table, x: Floats) -> float:
    from scipy.special import betaln

    inside = np.clip(x, *_BOX)
    a, b = np.exp(inside[1]), np.exp(inside[2])
    some = -np.logaddexp(0.0, inside[0]) + betaln(table.c + a, table.n - table.c + b) - betaln(a, b)
    none = np.where(table.c == 0, -np.logaddexp(0.0, -inside[0]), -np.inf)
    return float(table.times @ np.logaddexp(some, none) - ((x - inside) ** 2).sum())


def _hold_out(counts: Counts, factor: int) -> Foreseen:
    """Fit on n // factor draws of each problem, the log-likelihood averaged over all choices of them; predict n draws."""
    from scipy.special import gammaln

    full = _table(counts)
    c, n, times = full.c[:, None], full.n[:, None], full.times[:, None]
    m = n // factor
    j = np.arange(int(m.max()) + 1)[None, :]
    possible = (j <= c) & (j <= m) & (m - j <= n - c)

    def choose(x: Floats, y: Floats) -> Floats:
        y = np.where(possible, y, 0)
        x = np.where(possible, x, 0)
        return np.asarray(gammaln(x + 1) - gammaln(y + 1) - gammaln(x - y + 1))

    chance = np.where(possible, np.exp(choose(c + 0 * j, j + 0 * c) + choose(n - c + 0 * j, m - j) - choose(n + 0 * j, m + 0 * j)), 0.0)  # fmt: skip
    pairs, at = np.unique(np.stack([(j + 0 * m).ravel(), (m + 0 * j).ravel()]), axis=1, return_inverse=True)
    weight = np.bincount(np.asarray(at).ravel(), weights=(times * chance).ravel()).astype(np.float64)
    keep = weight > 1e-12
    model, _ = _fit(_Table(pairs[0][keep], pairs[1][keep], weight[keep]))
    predicted = float(full.times @ model.pass_at(full.n) / full.times.sum())
    observed = float((counts.c > 0).mean())
    return Foreseen(factor, predicted, observed, predicted - observed)


def _model_interval(table: _Table, model: BetaZero, best: float, k: int, drop: float) -> tuple[float, float]:
    """Least and greatest pass@k of the models whose log-likelihood is within `drop` of the best."""
    from scipy.optimize import minimize

    zeros = min(max(model.zeros, 1e-5), 1 - 1e-5)
    start = np.clip(np.array([np.log(zeros / (1 - zeros)), np.log(model.a), np.log(model.b)]), -10.0, 8.5)
    ends = []
    for sign in (1.0, -1.0):
        found = minimize(
            lambda x, sign=sign: sign * float(_model(x).pass_at(k)), start, method="SLSQP",
            bounds=[_BOX] * 3, options={"maxiter": 100, "ftol": 1e-7},
            constraints={"type": "ineq", "fun": lambda x: _log_likelihood(table, x) - best + drop},
        )  # fmt: skip
        ends.append(float(_model(found.x).pass_at(k)))
    value = float(model.pass_at(k))
    return min(ends[0], value), max(ends[1], value)


def _bounds(table: _Table, ks: list[int], drop: float) -> list[tuple[float, float]]:
    """Least and greatest pass@k over distributions on a grid of rates, by cutting planes; errors go outwards.

    The set {weights: log-likelihood >= greatest - drop} is convex; every tangent of the log-likelihood encloses it, so the
    optimum of the linear program over the tangents so far lies outside, and one more tangent where it leaves the set
    draws the program in (Kelley 1960). Tangents serve every k.
    """
    from scipy.special import xlog1py, xlogy

    log_odds = np.linspace(-np.log(50.0 * max(ks, default=1)), 3.0, _POINTS)
    rates = np.concatenate([[0.0], 1 / (1 + np.exp(-log_odds)), [1.0]])
    table_UJ = xlogy(table.c[:, None], rates) + xlog1py((table.n - table.c)[:, None], -rates)
    table_UJ = np.exp(table_UJ - table_UJ.max(axis=1, keepdims=True))
    top = _best_weights(table_UJ, table.times)

    def height(weights: Floats) -> float:
        with np.errstate(divide="ignore"):
            return float(table.times @ np.log(table_UJ @ weights))

    least = height(top) - drop
    tangents: list[tuple[Floats, float]] = []

    def touch(weights: Floats) -> None:
        slope = table_UJ.T @ (table.times / (table_UJ @ weights))
        tangents.append((slope, least - height(weights) + float(slope @ weights)))

    touch(top)
    out = []
    for k in ks:
        with np.errstate(divide="ignore"):
            goal = -np.expm1(k * np.log1p(-rates))
        ends = []
        for sign in (1.0, -1.0):
            for _ in range(40):
                weights = _linear_program(sign * goal, tangents)
                share = _leaves(top, weights, height, least)
                gap = (1 - share) * abs(float(goal @ (weights - top)))
                if gap <= _GAP:
                    break
                touch(top + min(1.0, share + 1e-3) * (weights - top))
            ends.append(float(goal @ weights))
        out.append((max(0.0, ends[0]), min(1.0, ends[1])))
    return out


def _best_weights(likelihood: Floats, times: Floats) -> Floats:
    """Nonparametric maximum likelihood of the weights by EM with squared extrapolation (Varadhan & Roland 2008)."""

    def step(w: Floats) -> Floats:
        return np.asarray(w * (likelihood.T @ (times / (likelihood @ w))) / times.sum())

    w = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(150):
        one = step(w)
        two = step(one)
        r, v = one - w, two - 2 * one + w
        size = float(np.sqrt((v**2).sum()))
        if size < 1e-13:
            break
        length = max(1.0, float(np.sqrt((r**2).sum())) / size)
        leap = w + 2 * length * r + length**2 * v
        safe = leap.min() >= 0 and (likelihood @ leap).min() > 0
        safe = safe and times @ np.log(likelihood @ leap) >= times @ np.log(likelihood @ two)
        w = step(leap / leap.sum() if safe else two)
    return np.asarray(w / w.sum())


def _linear_program(cost: Floats, tangents: list[tuple[Floats, float]]) -> Floats:
    from scipy.optimize import linprog

    slopes, levels = np.array([t[0] for t in tangents]), np.array([t[1] for t in tangents])
    scale = slopes.max(axis=1)
    found = linprog(
        cost,
        A_ub=-slopes / scale[:, None],
        b_ub=-levels / scale,
        A_eq=np.ones((1, len(cost))),
        b_eq=[1.0],
        method="highs",
    )
    if found.x is None:
        raise InputError(f"counts: the bounds could not be computed ({found.message}); give problems with more samples")
    weights = np.maximum(found.x, 0)
    return np.asarray(weights / weights.sum())


def _leaves(top: Floats, weights: Floats, height: Callable[[Floats], float], least: float) -> float:
    """The share of the way from `top` to `weights` that stays in the set."""
    inside, outside = 0.0, 1.0
    if height(weights) >= least:
        return 1.0
    for _ in range(30):
        middle = (inside + outside) / 2
        if height(top + middle * (weights - top)) >= least:
            inside = middle
        else:
            outside = middle
    return inside
