"""NDR of one model against itself: published values, the exact split, the fitted mixture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betaln

from offleash.boundary import Counts, null_ndr
from offleash.boundary.null import fit_difficulty, split_shares
from offleash.boundary.support import ratios
from offleash.core import InputError


def counts(c: object, n: int) -> Counts:
    c = np.asarray(c)
    return Counts(tuple(map(str, range(len(c)))), c, np.full(len(c), n))


def beta_null(a: float, b: float, k: int) -> float:
    """NDR of two runs of k samples when the success rate is Beta(a, b)."""
    one, both = (math.exp(betaln(a, b + m) - betaln(a, b)) for m in (k, 2 * k))
    return (one - both) / (1 - one)


def test_known_values_of_one_difficulty() -> None:
    # success rate ~ Beta(.15, .35): resampling the same model gives these NDR (reference sheet, sec. 4).
    for k, ndr in ((256, 0.043), (1024, 0.032), (2048, 0.028), (8192, 0.022)):
        assert beta_null(0.15, 0.35, k) == pytest.approx(ndr, abs=5e-4)


def test_split_agrees_with_splitting() -> None:
    generator = np.random.default_rng(0)
    data = counts(generator.binomial(16, generator.beta(0.3, 2, 200)), 16)
    seen = np.zeros(4)
    rounds = 400
    for _ in range(rounds):
        half = generator.hypergeometric(data.c, data.n - data.c, 8)
        one, two = half > 0, data.c - half > 0
        seen += [(one & two).sum(), (~one & two).sum(), (one & ~two).sum(), (~one & ~two).sum()]
    assert split_shares(data, 8) == pytest.approx(seen / rounds, abs=1.0)
    srr, ndr, _, nscr = ratios(split_shares(data, 8))
    assert srr == pytest.approx(1 - ndr) and nscr == pytest.approx(0)
    assert null_ndr(data, 8).value == pytest.approx(ndr) and "split" in null_ndr(data, 8).method


@pytest.mark.parametrize("shape", ["beta", "spikes", "zero-inflated"])
def test_mixture_finds_the_null_at_the_full_budget(shape: str) -> None:
    generator = np.random.default_rng(1)
    draw = {
        "beta": lambda size: generator.beta(0.15, 0.35, size),
        "spikes": lambda size: generator.choice([0, 0.01, 0.5], size, p=[0.3, 0.3, 0.4]),
        "zero-inflated": lambda size: np.where(generator.random(size) < 0.5, 0, generator.beta(1, 3, size)),
    }[shape]
    many = draw(400_000)
    one, both = ((1 - many) ** 64).mean(), ((1 - many) ** 128).mean()
    truth = (one - both) / (1 - one)
    estimates = [null_ndr(counts(generator.binomial(64, draw(300)), 64)).value for _ in range(12)]
    assert np.mean(estimates) == pytest.approx(truth, abs=0.02)  # one estimate has a standard deviation of 0.02 to 0.03


def test_mixture_agrees_with_the_split_where_both_exist() -> None:
    generator = np.random.default_rng(2)
    data = counts(generator.binomial(128, generator.beta(0.2, 1, 500)), 128)
    assert null_ndr(data, 64, method="mixture").value == pytest.approx(
        null_ndr(data, 64, method="split").value, abs=0.003
    )


def test_range_of_chance_holds_what_a_second_run_shows() -> None:
    generator = np.random.default_rng(3)
    p = generator.beta(0.15, 0.35, 1000)
    first = counts(generator.binomial(64, p), 64)
    expected = null_ndr(first)
    seen = []
    for _ in range(100):
        b, fresh = generator.binomial(64, p), generator.binomial(64, p)
        seen.append(((fresh == 0) & (b > 0)).sum() / (b > 0).sum())
    assert np.mean([(expected.low <= x <= expected.high) for x in seen]) > 0.85


def test_fit_is_a_distribution_and_finds_a_point() -> None:
    fitted = fit_difficulty(counts(np.random.default_rng(4).binomial(64, 0.5, 300), 64))
    assert fitted.weights.sum() == pytest.approx(1) and (fitted.weights >= 0).all()
    assert fitted.weights @ fitted.rates == pytest.approx(0.5, abs=0.02)
    assert np.sqrt(fitted.weights @ (fitted.rates - 0.5) ** 2) < 0.05


def test_undefined_and_refused() -> None:
    nothing = null_ndr(counts([0, 0, 0], 8), 4)
    assert math.isnan(nothing.value) and "solves no problem" in nothing.reason
    assert math.isnan(null_ndr(counts([0, 0, 0], 8)).value)
    with pytest.raises(InputError, match="two disjoint halves of 5 need n >= 10"):
        null_ndr(counts([1], 8), 5, method="split")
    with pytest.raises(InputError, match="unknown method 'spilt'"):
        null_ndr(counts([1], 8), method="spilt")
    with pytest.raises(InputError, match="budget: 0"):
        null_ndr(counts([1], 8), 0)
    with pytest.raises(InputError, match="no decided sample"):
        fit_difficulty(counts([0], 0))
    everything = null_ndr(counts([8, 8], 8))
    assert everything.value == pytest.approx(0, abs=1e-6)
