"""What support accounting gives when nothing changed: the same model sampled twice.

Two runs of one model disagree on the problems it solves rarely, so NDR > 0 and SRR < 1 by chance alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.boundary.counts import Counts
from offleash.boundary.passk import log_miss
from offleash.core import Estimate, InputError, rng, unknown_name

Floats = NDArray[np.float64]

METHODS = ("auto", "split", "mixture")


@dataclass(frozen=True, eq=False)
class Difficulty:
    """A fitted distribution of success rates over problems: `weights` (G,) on `rates` (G,), summing to 1."""

    rates: Floats
    weights: Floats

    def miss(self, draws: int) -> float:
        """E[(1 - p)^draws]: the expected share of problems never solved in so many draws."""
        with np.errstate(divide="ignore"):
            return float(self.weights @ np.exp(draws * np.log1p(-self.rates)))


def fit_difficulty(counts: Counts, *, points: int = 200, iterations: int = 500) -> Difficulty:
    """Nonparametric maximum likelihood of the distribution of success rates (Laird 1978), by EM on a fixed grid.

    Likelihood: c_p ~ Binomial(n_p, rate), rate ~ weights. The grid holds 0, 1 and points evenly spaced in log odds down
    to 1 / (20 n), below which n samples cannot tell a rate from 0.

    Args:
        counts: P problems with n >= 1.
        points: size of the grid.
        iterations: EM steps.
    """
    if counts.n.min() < 1:
        raise InputError(f"n: problem {counts.ids[int(np.argmin(counts.n))]!r} has no decided sample (n=0)")
    edge = 1 / (20 * float(counts.n.max()))
    log_odds = np.linspace(np.log(edge / (1 - edge)), -np.log(edge / (1 - edge)), points - 2)
    rates = np.concatenate([[0.0], 1 / (1 + np.exp(-log_odds)), [1.0]])
    pairs, repeats = np.unique(np.stack([counts.c, counts.n]), axis=1, return_counts=True)
    c, n = pairs[0][:, None].astype(float), pairs[1][:, None].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(c > 0, c * np.log(rates), 0.0)
        miss = np.where(n - c > 0, (n - c) * np.log1p(-rates), 0.0)
    log_likelihood = hit + miss
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    weights = np.full(points, 1 / points)
    share = repeats / repeats.sum()
    for _ in range(iterations):
        weights = weights * (likelihood.T @ (share / (likelihood @ weights)))
    return Difficulty(rates, weights / weights.sum())


def split_shares(counts: Counts, budget: int) -> Floats:
    """(4,) expected class counts of one model against itself: two disjoint random sets of `budget` of its n samples.

    Exact, no fit: P(a set misses) = C(n-c, m)/C(n, m) and P(both miss) = the same at 2m. Needs 2m <= n.
    """
    if 2 * budget > counts.n.min():
        raise InputError(f"budget: two disjoint halves of {budget} need n >= {2 * budget}; least n is {counts.n.min()}")
    one, both = np.exp(log_miss(counts.c, counts.n, budget)), np.exp(log_miss(counts.c, counts.n, 2 * budget))
    return np.array([(1 - 2 * one + both).sum(), (one - both).sum(), (one - both).sum(), both.sum()])


def null_ndr(
    counts: Counts,
    budget: int | None = None,
    *,
    method: str = "auto",
    level: float = 0.95,
    seed: int = 0,
    replicates: int = 10_000,
) -> Estimate:
    """NDR of a model against a second run of itself at the same budget: the number an observed NDR must beat.

    split: exact expectation over disjoint halves of the n samples (budget <= n/2). mixture: a fitted distribution of
    success rates (`fit_difficulty`) gives E = E[q^m] - E[q^2m], P = 1 - 2 E[q^m] + E[q^2m] with q = 1 - rate; NDR =
    E / (P + E). auto: split where it can, else mixture.

    Args:
        counts: P problems of one model.
        budget: samples per run, default the smallest n.
        method: auto, split or mixture.
        level: probability of the range below.
        seed: of the range.
        replicates: simulated sets of problems behind the range.

    Returns:
        Estimate whose low and high are the range in which the NDR of P problems falls by chance with this probability
        (a range for the observation, not a confidence interval of the value). NaN with reason where nothing is solved.
    """
    budget = int(counts.n.min()) if budget is None else budget
    if budget < 1:
        raise InputError(f"budget: {budget}; give at least one sample")
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    if method == "auto":
        method = "split" if 2 * budget <= counts.n.min() else "mixture"
    if method == "split":
        shares = split_shares(counts, budget) / len(counts)
    else:
        fitted = fit_difficulty(counts)
        one, both = fitted.miss(budget), fitted.miss(2 * budget)
        shares = np.array([1 - 2 * one + both, one - both, one - both, both])
    shares = np.clip(shares, 0, None) / np.clip(shares, 0, None).sum()
    note = f"one model twice at {budget} samples ({method}); range of chance for {len(counts)} problems, {level:.0%}"
    solved = shares[0] + shares[1]
    if solved <= 1e-12:
        nan = float("nan")
        return Estimate(nan, nan, nan, len(counts), note, "the model solves no problem, so it has no solves to renew")
    draws = rng.stream("boundary", "null", seed).multinomial(len(counts), shares, size=replicates)
    with np.errstate(invalid="ignore"):
        seen = draws[:, 1] / (draws[:, 0] + draws[:, 1])
    low, high = np.nanquantile(seen, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(shares[1] / solved), float(low), float(high), len(counts), note)
