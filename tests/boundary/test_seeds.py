"""Several training seeds: what varies, how far the mean may be off, and when nothing can be said."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from offleash.boundary import Counts, difference
from offleash.boundary.passk import pass_at_k
from offleash.boundary.seeds import SHARES, sampling_covariance, seed_difference
from offleash.core import InputError


def counts(c: object, n: object = 32) -> Counts:
    c = np.asarray(c, dtype=np.int64)
    return Counts(tuple(f"p{i:04d}" for i in range(len(c))), c, np.broadcast_to(np.asarray(n), c.shape).copy())


def logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def runs(
    generator: np.random.Generator, seeds: int, *, by_seed: float, problems: int = 80, rest: float = 0.3, n: int = 32
) -> tuple[list[Counts], Counts]:
    """`seeds` trained models and their base: the log odds move by 0.3 + seed + problem + rest."""
    x = generator.normal(-1, 2, problems)
    moved = (
        x
        + 0.3
        + by_seed * generator.standard_normal((seeds, 1))
        + 0.5 * generator.standard_normal(problems)
        + rest * generator.standard_normal((seeds, problems))
    )
    return [counts(generator.binomial(n, logistic(row)), n) for row in moved], counts(
        generator.binomial(n, logistic(x)), n
    )


def test_the_value_is_the_mean_of_the_seeds() -> None:
    methods, base = runs(np.random.default_rng(0), 4, by_seed=0.3)
    got = seed_difference(methods, base, [1, 8, 32], replicates=1000)
    alone = np.stack([difference(base, one, [1, 8, 32], replicates=500).value for one in methods])
    assert np.allclose(got.per_seed, alone) and np.allclose(got.difference.value, alone.mean(axis=0))
    diff = got.difference
    assert (diff.low <= diff.point_low).all() and (diff.point_high <= diff.high).all()
    assert (diff.low >= -1).all() and (diff.high <= 1).all()
    assert got.seeds == 4 and "3 degrees" in got.caveat and got.reason == ""
    assert "new training seeds on new problems" in got.population == got.population and "t of 3" in diff.method
    shares = np.stack([got.shares[name] for name in SHARES])
    assert np.allclose(shares.sum(axis=0), 1) and (shares >= 0).all()


def test_one_seed_is_refused_and_two_are_loud() -> None:
    methods, base = runs(np.random.default_rng(1), 2, by_seed=0.3)
    one = seed_difference(methods[:1], base, [1, 8])
    assert np.isnan(one.difference.value).all() and np.isnan(one.difference.low).all()
    assert "one training seed" in one.reason and np.isnan(one.shares["seed"]).all()
    assert np.isfinite(one.per_seed).all()  # the checkpoint itself has a value
    two = seed_difference(methods, base, [1, 8], replicates=1000)
    assert "ONLY TWO" in two.caveat and "Bonferroni" in two.difference.method
    assert (
        two.difference.high - two.difference.low > 1.5 * (two.difference.point_high - two.difference.point_low)
    ).all()
    assert seed_difference([*methods, *methods, methods[0]], base, [1], replicates=1000).caveat == ""


def test_a_pure_seed_effect_gets_student_t() -> None:
    """All problems alike and many samples: mean +- t(S - 1) s / sqrt(S), here 4.30 for three seeds."""
    base = counts([5000] * 1000, 10_000)
    methods = [counts([5000 + shift] * 1000, 10_000) for shift in (200, 600, 1300)]
    got = seed_difference(methods, base, [1], replicates=20_000).difference
    means = np.array([0.02, 0.06, 0.13])
    half = 4.3027 * means.std(ddof=1) / np.sqrt(3)
    assert got.value[0] == pytest.approx(means.mean())
    # the pseudo-problem adds 1 / 3000; the rest is Monte Carlo
    assert (got.point_high[0] - got.point_low[0]) / 2 == pytest.approx(half, rel=0.05)


def test_more_seed_variation_widens_the_interval() -> None:
    little, base = runs(np.random.default_rng(2), 3, by_seed=0.0)
    much, other = runs(np.random.default_rng(2), 3, by_seed=1.0)
    narrow, wide = (seed_difference(m, b, [1], replicates=2000) for m, b in ((little, base), (much, other)))
    assert np.ptp(wide.per_seed) > 3 * np.ptp(narrow.per_seed)
    assert wide.difference.point_high[0] - wide.difference.point_low[0] > 2 * (
        narrow.difference.point_high[0] - narrow.difference.point_low[0]
    )
    assert wide.shares["seed"][0] > 0.7 > 0.4 > narrow.shares["seed"][0]


def test_these_problems_is_another_population() -> None:
    generator = np.random.default_rng(3)
    methods, base = runs(generator, 8, by_seed=0.02, rest=0.1, n=64)
    new, these = (seed_difference(methods, base, [1, 8], problems=p, replicates=2000) for p in ("new", "these"))
    width = [x.difference.point_high - x.difference.point_low for x in (new, these)]
    assert (width[1] < width[0]).all() and "exactly these problems" in these.population
    assert np.allclose(new.difference.value, these.difference.value)


def test_a_base_for_each_seed() -> None:
    generator = np.random.default_rng(4)
    methods, base = runs(generator, 3, by_seed=0.2)
    paired = seed_difference(methods, [base, base, base], [1, 8], replicates=1000)
    shared = seed_difference(methods, base, [1, 8], replicates=1000)
    assert np.allclose(paired.difference.value, shared.difference.value)
    assert (
        paired.shares["problem"] >= shared.shares["problem"]
    ).all()  # a shared base's noise is a sample's, not a problem's


def test_sampling_covariance_is_that_of_the_samples() -> None:
    generator = np.random.default_rng(5)
    p, n, ks = generator.beta(0.5, 1.5, 300), 32, [1, 8, 32]
    got = sampling_covariance(counts(generator.binomial(n, p), n), ks)
    values = pass_at_k(generator.binomial(n, p, (1000, 300))[:, :, None], n, np.array(ks))
    true = np.mean([np.cov(values[:, i].T) for i in range(300)], axis=0)
    assert np.sqrt(np.diag(got)) == pytest.approx(np.sqrt(np.diag(true)), rel=0.15)
    assert got[0, 1] == pytest.approx(true[0, 1], rel=0.3)


def test_the_order_of_seeds_and_problems_does_not_matter() -> None:
    methods, base = runs(np.random.default_rng(6), 3, by_seed=0.3)
    back = [one.take(np.arange(len(one))[::-1]) for one in methods]
    one, two = (seed_difference(m, base, [4], replicates=1000) for m in (methods, back))
    assert np.array_equal(one.difference.low, two.difference.low)


def test_bad_input() -> None:
    methods, base = runs(np.random.default_rng(7), 3, by_seed=0.3)
    with pytest.raises(InputError, match="methods: no training seed"):
        seed_difference([], base)
    with pytest.raises(InputError, match="base: 2 counts for 3 training seeds"):
        seed_difference(methods, [base, base])
    with pytest.raises(InputError, match="id: the two sides share no problem"):
        seed_difference([Counts(("x",), np.array([1]), np.array([2]))], base)
    with pytest.raises(InputError, match=r"id: methods number 2 differs from the first base in problem 'p0000'"):
        seed_difference([methods[0], methods[1].take(np.arange(1, 80))], base)
    with pytest.raises(InputError, match=r"n: the least samples per problem differ .*32 to 64.*give ks up to 32"):
        seed_difference([*methods[:2], counts(methods[2].c, 64)], base)
    with pytest.raises(InputError, match=r"k: 33 exceeds the samples of some problem \(least n is 32\)"):
        seed_difference(methods, base, [33])
    with pytest.raises(InputError, match="has no decided sample"):
        seed_difference([counts([0] * 80, 0)], base)
    with pytest.raises(InputError, match=r"level: 95\.0"):
        seed_difference(methods, base, level=95.0)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "by_seed"), [(3, 0.0), (3, 0.8), (5, 0.3)])
def test_the_band_covers(seeds: int, by_seed: float) -> None:
    """40 sets of 80 problems: at least 95% less two standard errors (3.4%), at all k at once. The proof has 300 sets."""
    generator = np.random.default_rng(8)
    x = generator.normal(-1, 2, 400_000)
    spread = np.sqrt(by_seed**2 + 0.5**2 + 0.3**2)
    q = logistic(x + 0.3 + spread * generator.standard_normal(len(x)))
    ks = (1, 4, 16, 32)
    truth = np.array([((1 - logistic(x)) ** k - (1 - q) ** k).mean() for k in ks])
    inside = 0
    for number in range(40):
        methods, base = runs(generator, seeds, by_seed=by_seed)
        band = seed_difference(methods, base, ks, seed=number, replicates=1000).difference
        inside += bool(((band.low <= truth) & (truth <= band.high)).all())
    assert inside / 40 >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 40)
