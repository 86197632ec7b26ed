"""pass@k: the probability that at least one of k samples is correct, averaged over problems, with its interval."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts, Numbers
from offleash.core import Estimate, InputError

Floats = NDArray[np.float64]

_PRODUCT_TERMS = 32  # up to here the product is exact and cheap; beyond, Stirling's second difference is accurate


def pass_at_k(c: Numbers, n: Numbers, k: Numbers) -> Floats:
    """Unbiased estimate of 1 - (1 - p)^k from c correct of n samples: 1 - C(n-c, k) / C(n, k).

    Chen et al. 2021 (arXiv:2107.03374, eq. 1). Arguments broadcast. Relative error below 1e-9 up to n = 1e6 (tested
    against exact rational arithmetic). The plug-in 1 - (1 - c/n)^k is biased low and is not offered.

    Args:
        c: correct samples, 0 <= c <= n.
        n: samples.
        k: draws, at least 1.

    Returns:
        float64 of the broadcast shape; NaN where n < k (it has no unbiased estimate there).

    Raises:
        InputError: k < 1, c < 0 or c > n.
    """
    return np.asarray(-np.expm1(log_miss(c, n, k)))


def log_miss(c: Numbers, n: Numbers, k: Numbers) -> Floats:
    """Logarithm of C(n-c, k) / C(n, k), the chance that k of n samples drawn without replacement miss all c correct ones.

    Args and errors as `pass_at_k`. -inf where n - c < k, NaN where n < k.
    """
    try:
        c_, n_, k_ = (x.astype(np.float64) for x in np.broadcast_arrays(c, n, k))
    except ValueError as error:
        raise InputError(f"c, n, k: {error}; give whole numbers of samples") from error
    for name, values in (("c", c_), ("n", n_), ("k", k_)):
        if not (values == np.floor(values)).all():
            odd = values[~(values == np.floor(values))].flat[0]
            raise InputError(f"{name}: {odd:g} is no whole number of samples")
    if (k_ < 1).any():
        raise InputError(f"k: {k_.min():g} is below 1; pass@k needs at least one draw")
    if (c_ < 0).any() or (c_ > n_).any():
        raise InputError("c: must lie between 0 and n")
    few, many = np.minimum(c_, k_), np.maximum(c_, k_)
    rest = n_ - few - many
    out = np.full(c_.shape, -np.inf)
    possible = rest >= 0
    product = possible & (few <= _PRODUCT_TERMS)
    stirling = possible & (few > _PRODUCT_TERMS)
    if product.any():
        # C(n-c,k)/C(n,k) is symmetric in c and k, so the product over the smaller of the two is the same number.
        f, m, x = few[product], many[product], n_[product]
        total = np.zeros(len(f))
        for j in range(int(f.max(initial=0))):
            live = f > j
            total[live] += np.log1p(-m[live] / (x[live] - j))
        out[product] = total
    if stirling.any():
        out[stirling] = _stirling(few[stirling], many[stirling], n_[stirling])
    out[n_ < k_] = np.nan
    return out


def _stirling(few: Floats, many: Floats, n: Floats) -> Floats:
    """The same by Stirling's series with the large terms cancelled on paper (plain gammaln loses 9 digits at n = 1e6)."""
    from scipy.special import gammaln

    rest = n - few - many
    tiny = rest < 16  # then the ratio is below 1e-19 and any precision will do
    safe = np.where(tiny, n, rest)

    def entropy_term(x: Floats) -> Floats:
        return np.asarray((x + 0.5) * np.log1p(-(n - x) / n))

    def tail(x: Floats) -> Floats:
        return np.asarray(1 / (12 * x) - 1 / (360 * x**3) + 1 / (1260 * x**5))

    a, b = np.maximum(n - few, 1), np.maximum(n - many, 1)
    series = entropy_term(a) + entropy_term(b) - entropy_term(safe) + tail(a) + tail(b) - tail(n) - tail(safe)
    direct = gammaln(n - few + 1) + gammaln(n - many + 1) - gammaln(n + 1) - gammaln(rest + 1)
    return np.asarray(np.where(tiny, direct, series))


def powers(n: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to n."""
    return tuple(2**i for i in range(max(int(n), 0).bit_length()))


def pass_matrix(counts: Counts, ks: Iterable[int]) -> Floats:
    """(P, K) unbiased pass@k of every problem; a column with n < k anywhere is NaN throughout (one population)."""
    ks = list(ks)
    values = pass_at_k(counts.c[:, None], counts.n[:, None], np.array(ks)[None, :])
    values[:, np.isnan(values).any(axis=0)] = np.nan
    return values


def check_ks(ks: Iterable[int]) -> tuple[int, ...]:
    """Sorted distinct ks; InputError unless each is a whole number of at least 1."""
    out = set()
    for k in ks:
        if isinstance(k, bool) or int(k) != k or k < 1:
            raise InputError(f"k: {k!r} is not a whole number of at least 1")
        out.add(int(k))
    if not out:
        raise InputError("k: none given; give at least one")
    return tuple(sorted(out))


def curve(
    counts: Counts,
    ks: Iterable[int] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> dict[int, Estimate]:
    """pass@k over ks with pointwise intervals; every k averages over the same problems.

    Value: the mean over problems of `pass_at_k`. Interval: `resample.interval`, for the mean over the population of
    problems that these P were drawn from. Each problem is resampled together with its own c, so the interval covers
    both sources: which problems, and which samples.

    Args:
        counts: P problems.
        ks: draws; default 1, 2, 4, ... up to the smallest n.
        level: nominal coverage of each interval.
        seed: of the bootstrap.
        replicates: of the bootstrap.

    Returns:
        {k: Estimate}, n = number of problems. NaN with the reason where any problem has n < k.
    """
    counts = counts.sorted()
    if ks is None:
        ks = powers(int(counts.n.min())) or (1,)
    ks = check_ks(ks)
    values = pass_matrix(counts, ks)
    low, high = resample.interval(values, level=level, seed=seed, replicates=replicates)
    return estimates(counts, ks, values, low, high, level)


def estimates(
    counts: Counts, ks: tuple[int, ...], values: Floats, low: Floats, high: Floats, level: float
) -> dict[int, Estimate]:
    """Wrap a pass matrix (P, K) and interval ends (K,) as Estimates, with the reason where undefined."""
    method = f"unbiased pass@k; {level:.0%} {resample.METHOD}"
    out = {}
    for j, k in enumerate(ks):
        short = int((counts.n < k).sum())
        reason = ""
        if short:
            reason = (
                f"pass@{k} needs n >= {k} samples of every problem; {short} of {len(counts)} have fewer "
                f"(least {counts.n.min()}); sample more, or leave those problems out by `offleash compare --n {k}`"
            )
        out[k] = Estimate(float(values[:, j].mean()), float(low[j]), float(high[j]), len(counts), method, reason)
    return out
