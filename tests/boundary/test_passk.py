"""The pass@k estimator: closed forms, enumeration, precision, properties, and the traps of the field."""

from __future__ import annotations

import itertools
import time
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offleash.boundary import Counts, curve, pass_at_k, powers
from offleash.core import InputError


def exact(c: int, n: int, k: int) -> float:
    """In rational arithmetic, rounded once."""
    return (comb(n, k) - comb(n - c, k)) / comb(n, k)


def counts(c: list[int], n: list[int]) -> Counts:
    return Counts.from_rows([(f"p{i:04d}", ci, ni) for i, (ci, ni) in enumerate(zip(c, n, strict=True))])


def test_every_subset_of_small_n() -> None:
    for n in range(1, 9):
        for c in range(n + 1):
            outcome = [1] * c + [0] * (n - c)
            for k in range(1, n + 1):
                share = np.mean([any(s) for s in itertools.combinations(outcome, k)])
                assert pass_at_k(c, n, k) == pytest.approx(share, abs=1e-15)


def test_product_form_and_binomial_form_to_64() -> None:
    c, n, k = np.array([(c, n, k) for n in range(1, 65) for c in range(n + 1) for k in range(1, n + 1)]).T
    truth = np.array([exact(*row) for row in zip(c.tolist(), n.tolist(), k.tolist(), strict=True)])
    assert np.abs(pass_at_k(c, n, k) - truth).max() < 1e-14


@pytest.mark.parametrize("n", [1000, 10_000, 1_000_000])
def test_relative_precision_up_to_a_million(n: int) -> None:
    cases = [(c, k) for c in (1, 2, 31, 33, 100, 1000) for k in (1, 2, 32, 33, 64, 500, 1000) if c <= n]
    for c, k in cases:
        assert pass_at_k(c, n, k) == pytest.approx(exact(c, n, k), rel=1e-10), (c, n, k)
        assert np.exp(np.log1p(-min(pass_at_k(c, n, k), 1 - 1e-16))) == pytest.approx(1 - exact(c, n, k), abs=1e-12)


def test_closed_forms() -> None:
    n = 50
    c = np.arange(n + 1)
    assert np.allclose(pass_at_k(c, n, 1), c / n, atol=1e-15)
    assert (pass_at_k(c, n, n) == (c > 0)).all()
    assert (pass_at_k(n, n, c[1:]) == 1).all() and (pass_at_k(0, n, c[1:]) == 0).all()
    assert pass_at_k(0, 0, 1) != pass_at_k(0, 0, 1)  # NaN: no sample, nothing known


def test_unbiased_over_the_binomial() -> None:
    for p, n, k in ((0.03, 64, 64), (0.3, 20, 7), (0.001, 200, 100)):
        c = np.arange(n + 1)
        weight = np.array([comb(n, i) * p**i * (1 - p) ** (n - i) for i in c])
        assert weight @ pass_at_k(c, n, k) == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_trap_plug_in_is_biased_low() -> None:
    p, n = 0.03, 64
    weight = np.array([comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)])
    plug_in = weight @ (1 - (1 - np.arange(n + 1) / n) ** n)
    assert plug_in == pytest.approx(0.709, abs=5e-4) and 1 - (1 - p) ** n == pytest.approx(0.858, abs=5e-4)


def test_trap_with_replacement_best_at_n_is_biased() -> None:
    # Best of n drawn with replacement from n samples, 1 correct: 1 - (1 - 1/n)^n = 0.684 (n=4), 0.632 (n=1024).
    generator = np.random.default_rng(0)
    for n, biased in ((4, 0.684), (1024, 0.632)):
        drawn = (generator.integers(0, n, (4000, n)) == 0).any(axis=1).mean()
        assert drawn == pytest.approx(biased, abs=0.03)  # 4 standard errors of 4,000 draws
        assert pass_at_k(1, n, n) == 1.0


def test_trap_averaging_c_before_the_estimator_is_wrong() -> None:
    each = pass_at_k(np.array([0, 32]), 32, 8).mean()
    assert each == 0.5 and pass_at_k(16, 32, 8) > 0.99


def test_short_samples_are_nan_with_the_reason_for_the_whole_population() -> None:
    estimates = curve(counts([4, 0, 2], [8, 8, 4]), [1, 4, 8])
    assert np.isfinite(estimates[4].value) and estimates[4].n == 3 and estimates[4].reason == ""
    late = estimates[8]
    assert np.isnan([late.value, late.low, late.high]).all()
    assert "1 of 3 have fewer (least 4)" in late.reason and "--n 8" in late.reason
    assert np.isnan(pass_at_k(2, 4, 5))


def test_default_ks_keep_the_population() -> None:
    assert tuple(curve(counts([4, 0, 2], [8, 70, 13]))) == (1, 2, 4, 8)
    assert powers(64)[-1] == 64 and powers(63)[-1] == 32 and powers(1) == (1,) and powers(0) == ()
    only = curve(counts([0], [0]))
    assert np.isnan(only[1].value) and only[1].reason


@pytest.mark.parametrize(
    ("c", "n", "k", "message"), [(1, 2, 0, "k: 0 is below 1"), (3, 2, 1, "c: must"), (-1, 2, 1, "c")]
)
def test_refused(c: int, n: int, k: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pass_at_k(c, n, k)
    with pytest.raises(InputError, match="k: True"):
        curve(counts([1], [2]), [True])
    with pytest.raises(InputError, match="level: 95"):
        curve(counts([1], [2]), level=95.0)


triples = st.integers(1, 5000).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n), st.integers(1, n))
)


@given(triples)
def test_monotone_and_bounded(case: tuple[int, int, int, int]) -> None:
    c, n, k, other = case
    value = float(pass_at_k(c, n, k))
    assert 0 <= value <= 1
    assert value >= c / n - 1e-12  # one draw is the least
    slack = 1e-11
    assert pass_at_k(c, n, max(k, other)) >= pass_at_k(c, n, min(k, other)) - slack
    assert pass_at_k(min(c + 1, n), n, k) >= value - slack
    assert pass_at_k(c, n + 1, k) <= value + slack
    if c:
        assert pass_at_k(k, n, c) == pytest.approx(value, abs=1e-11)  # C(n-c,k)/C(n,k) is symmetric in c and k


@given(st.lists(st.tuples(st.integers(0, 16), st.integers(16, 40)), min_size=1, max_size=12), st.integers(0, 5))
def test_curve_is_monotone_and_inside_its_interval(rows: list[tuple[int, int]], seed: int) -> None:
    estimates = curve(counts([c for c, _ in rows], [n for _, n in rows]), seed=seed, replicates=200)
    values = [e.value for e in estimates.values()]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(values))
    for e in estimates.values():
        assert 0 <= e.low <= e.high <= 1 and e.n == len(rows)
        assert e.low < e.high  # never collapsed


def test_order_of_the_file_and_seed() -> None:
    generator = np.random.default_rng(0)
    c = generator.integers(0, 9, 40).tolist()
    ordered = counts(c, [8] * 40)
    shuffled = ordered.take(generator.permutation(40))
    assert curve(ordered) == curve(shuffled)
    assert curve(ordered, seed=1)[1].low != curve(ordered)[1].low
    assert curve(ordered, seed=1)[1].low == pytest.approx(curve(ordered)[1].low, abs=0.01)


def test_an_interval_does_not_depend_on_which_other_ks_are_asked() -> None:
    c = np.random.default_rng(0).integers(0, 9, 40).tolist()
    every, one = curve(counts(c, [8] * 40)), curve(counts(c, [8] * 40), [4])
    assert one[4].low == pytest.approx(every[4].low, abs=1e-12)


def test_speed() -> None:
    generator = np.random.default_rng(0)
    c = generator.binomial(1024, generator.beta(0.15, 0.35, 1000)).tolist()
    data = counts(c, [1024] * 1000)
    start = time.process_time()
    assert len(curve(data)) == 11
    assert time.process_time() - start < 2  # 10,000 replicates; about 0.1 s on one core
