"""The paired difference: pairing, bands, crossing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offleash.boundary import Counts, Difference, crossing, curve, difference, pass_at_k, resample
from offleash.boundary.difference import grid
from offleash.core import InputError, rng


def counts(c: object, n: int | list[int]) -> Counts:
    c = np.asarray(c)
    return Counts(tuple(f"p{i:04d}" for i in range(len(c))), c, np.broadcast_to(np.asarray(n), c.shape).copy())


def test_value_is_the_difference_of_the_curves() -> None:
    generator = np.random.default_rng(0)
    a, b = counts(generator.integers(0, 33, 50), 32), counts(generator.integers(0, 65, 50), 64)
    diff = difference(a, b, [1, 8, 32])
    for k in diff.ks:
        expected = curve(b, [k])[k].value - curve(a, [k])[k].value
        assert diff.at(k)[0] == pytest.approx(expected, abs=1e-12)
    assert (diff.low <= diff.point_low).all() and (diff.point_high <= diff.high).all()


def test_grid_holds_every_power_of_two_and_n() -> None:
    assert grid(1) == (1,)
    assert {1, 2, 4, 8, 16, 32, 48} <= set(grid(48)) and max(grid(48)) == 48 and list(grid(48)) == sorted(set(grid(48)))
    assert len(grid(1024)) < 50


rows = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=2, max_size=10)


@given(rows)
def test_swapping_sides_negates(pairs: list[tuple[int, int]]) -> None:
    a, b = counts([x for x, _ in pairs], 8), counts([y for _, y in pairs], 8)
    one, other = difference(a, b, replicates=400), difference(b, a, replicates=400)
    assert np.allclose(one.value, -other.value)
    assert np.allclose(one.low, -other.high) and np.allclose(one.point_high, -other.point_low)
    assert (one.low >= -1).all() and (one.high <= 1).all() and (one.low <= one.value + 1e-9).all()


def test_pairing_narrows_the_interval() -> None:
    generator = np.random.default_rng(1)
    p = generator.beta(0.3, 0.5, 200)
    a, b = generator.binomial(64, p), generator.binomial(64, p)
    paired = difference(counts(a, 64), counts(b, 64), [8])
    unpaired = difference(counts(a, 64), counts(generator.permutation(b), 64), [8])
    assert paired.point_high[0] - paired.point_low[0] < 0.4 * (unpaired.point_high[0] - unpaired.point_low[0])


def test_identical_sides_keep_a_width() -> None:
    same = counts([64] * 100, 64)
    diff = difference(same, same)
    assert (diff.value == 0).all()
    assert (diff.low < -0.01).all() and (diff.high > 0.01).all()  # 100 agreeing problems cannot exclude 1%
    assert (diff.low > -0.06).all()
    assert np.allclose(diff.low, diff.low[0])


def test_trap_changing_populations_are_refused() -> None:
    with pytest.raises(InputError, match=r"k: 32 exceeds the samples of 1 of 2 problems \(least n is 16\)"):
        difference(counts([1, 2], [64, 16]), counts([1, 2], 64), [1, 32])
    with pytest.raises(InputError, match="hold different problems"):
        difference(counts([1, 2], 8), counts([1, 2, 3], 8))
    with pytest.raises(InputError, match="problem 'p0001' has no decided sample"):
        difference(counts([1, 0], [8, 0]), counts([1, 2], 8))


def by_whole_matrices(values: np.ndarray, level: float, replicates: int) -> list[np.ndarray]:
    """The band from its definition, with (R, K) matrices: low, high, pointwise low and high. Seed 0."""
    weights = rng.stream("boundary", "weights", 0).standard_exponential((replicates, len(values)))
    extra = rng.stream("boundary", "pseudo", 0).standard_gamma(resample.SIGNED, replicates)[:, None]
    means = weights @ values / weights.sum(axis=1)[:, None]
    spread = means[:, means.std(axis=0) > 1e-12]
    ranks = (spread.argsort(axis=0).argsort(axis=0) + 0.5) / replicates
    joint = float(np.quantile(np.minimum(ranks, 1 - ranks).min(axis=1), 1 - level)) if ranks.size else (1 - level) / 2
    ends = []
    for tail in (joint, (1 - level) / 2):
        tail = resample.expanded_tail(tail, len(values))
        for bound, q in ((-1, tail), (1, 1 - tail)):
            tilted = (weights @ values + bound * extra) / (weights.sum(axis=1)[:, None] + extra)
            ends.append(np.quantile(tilted, q, axis=0))
    return ends


@pytest.mark.parametrize("difficulty", [(0.15, 0.35), (0.05, 2), (3, 0.3), (2, 2), 0.3, 0.0])
def test_bands_over_every_k_are_those_of_the_definition(difficulty: tuple[float, float] | float) -> None:
    """Column by column or all at once: the same order statistics of the same sums, equal to rounding (1e-12)."""
    generator = np.random.default_rng(4)
    p = generator.beta(*difficulty, 150) if isinstance(difficulty, tuple) else np.full(150, difficulty)
    a, b = generator.binomial(128, p), generator.binomial(128, np.where(generator.random(150) < 0.1, 0, p**0.7))
    diff = difference(counts(a, 128), counts(b, 128), range(1, 129), replicates=1500)
    ks = np.arange(1, 129)
    values = pass_at_k(b[:, None], 128, ks) - pass_at_k(a[:, None], 128, ks)
    for got, wanted in zip(
        (diff.low, diff.high, diff.point_low, diff.point_high), by_whole_matrices(values, 0.95, 1500), strict=True
    ):
        assert np.abs(got - wanted).max() < 1e-12


def test_every_k_costs_little_more_width_than_a_grid() -> None:
    """Neighbouring k say nearly the same: the band over all 1,024 is at most 3% wider than over the 36 of the grid."""
    generator = np.random.default_rng(5)
    p = generator.beta(0.15, 0.35, 200)
    a, b = counts(generator.binomial(1024, p), 1024), counts(generator.binomial(1024, p**0.7), 1024)
    few, every = (difference(a, b, ks, replicates=2000) for ks in (None, range(1, 1025)))
    at = [k - 1 for k in few.ks]
    ratio = (every.high - every.low)[at] / (few.high - few.low)
    assert len(few.ks) == 36 and ratio.min() > 0.999 and ratio.max() < 1.03


def banded(value: list[float], half: float) -> Difference:
    v = np.array(value)
    ks = tuple(2**i for i in range(len(v)))
    return Difference(ks, v, v - half, v + half, v - half, v + half, 100, 0.95, "by hand")


def test_crossing_by_hand() -> None:
    found = crossing(banded([0.3, 0.2, 0.05, -0.05, -0.2, -0.3], 0.1))
    assert found is not None and (found.low, found.high, found.sign) == (2, 16, 1)
    assert found.k == pytest.approx(4 * 2**0.5)  # halfway between 4 and 8 in log k
    back = crossing(banded([-0.3, -0.2, 0.2, 0.3], 0.1))
    assert back is not None and (back.low, back.high, back.sign) == (2, 4, -1)


def test_no_crossing_without_two_certified_signs() -> None:
    assert crossing(banded([0.3, 0.1, -0.05, -0.09], 0.1)) is None
    assert crossing(banded([0.3, 0.2, 0.3], 0.1)) is None
    assert crossing(banded([0.01, -0.01], 0.1)) is None


def test_crossing_of_two_known_models() -> None:
    # a: half the problems at p = 0.5, half at 0.02. b: half at 0.9, half at 0. The truth crosses at k = 36.3.
    half = np.repeat([True, False], 300)
    generator = np.random.default_rng(3)
    a = generator.binomial(256, np.where(half, 0.5, 0.02))
    b = generator.binomial(256, np.where(half, 0.9, 0.0))
    truth = np.array([0.5 * (0.5**k - 0.1**k) - 0.5 * (1 - 0.98**k) for k in range(1, 257)])
    k_true = int(np.argmax(truth < 0)) + 1
    found = crossing(difference(counts(a, 256), counts(b, 256)))
    assert found is not None and found.sign == 1
    assert found.low <= k_true <= found.high
    assert found.low <= found.k <= found.high
