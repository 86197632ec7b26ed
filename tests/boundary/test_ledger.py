"""The support ledger: exact bounds, known numbers, and how often they hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from offleash.boundary import Counts
from offleash.boundary.ledger import bounds, ledger, samples_for
from offleash.core import InputError


def counts(*pairs: tuple[int, int]) -> Counts:
    return Counts(
        tuple(f"p{i}" for i in range(len(pairs))), np.array([c for c, _ in pairs]), np.array([n for _, n in pairs])
    )


def test_bounds_are_clopper_pearson() -> None:
    cases = [(0, 10), (1, 10), (5, 10), (10, 10), (3, 1024), (0, 0)]
    low, high = bounds(counts(*cases), 0.95)
    for i, (c, n) in enumerate(cases[:-1]):
        exact = stats.binomtest(c, n).proportion_ci(0.90, "exact") if n else None
        assert exact is not None
        assert low[i] == pytest.approx(exact.low if c else 0.0, abs=1e-12)
        assert high[i] == pytest.approx(exact.high if c < n else 1.0, abs=1e-12)
    assert (low[-1], high[-1]) == (0.0, 1.0)


def test_what_no_success_says() -> None:
    # arXiv 2507.14843, C.4: -ln(.05) / k is 2.93e-3 at k = 1024 and 3.66e-4 at 8192; the exact bound is a little less.
    for k, paper in ((1024, 2.93e-3), (8192, 3.66e-4)):
        high = bounds(counts((0, k)), 0.95)[1][0]
        assert high == pytest.approx(1 - 0.05 ** (1 / k)) and high < paper
    assert samples_for(0.01) == 299
    assert bounds(counts((0, samples_for(0.01))), 0.95)[1][0] <= 0.01 < bounds(counts((0, 298)), 0.95)[1][0]


def test_the_four_kinds_and_open() -> None:
    a = counts((50, 400), (0, 400), (50, 400), (0, 400), (1, 400))
    b = counts((60, 400), (40, 400), (0, 400), (0, 400), (50, 400))
    found = ledger(a, b, epsilon=0.01)
    assert [e.name for e in found.entries] == ["preserved", "expanded", "shrunk", "out_of_support", "open"]
    assert sum(found.counts.values()) == 5
    swapped = ledger(b, a, epsilon=0.01).counts
    assert (swapped["expanded"], swapped["shrunk"]) == (found.counts["shrunk"], found.counts["expanded"])


def test_too_few_samples_leave_everything_open() -> None:
    found = ledger(counts((0, 64)), counts((0, 64)), epsilon=0.01)
    assert found.counts["open"] == 1


@pytest.mark.parametrize("p", [0.001, 0.01, 0.05, 0.5])
def test_each_bound_holds_at_least_as_often_as_it_says(p: float) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.binomial(256, p, 4000)
    low, high = bounds(counts(*((int(c), 256) for c in drawn)), 0.95)
    assert (low <= p).mean() >= 0.945 and (high >= p).mean() >= 0.945


@pytest.mark.parametrize(
    ("epsilon", "confidence", "message"), [(0.0, 0.95, "epsilon"), (1.0, 0.95, "epsilon"), (0.1, 0.4, "confidence")]
)
def test_bad_input(epsilon: float, confidence: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ledger(counts((1, 2)), counts((1, 2)), epsilon=epsilon, confidence=confidence)
