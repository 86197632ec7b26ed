"""Probability of solutions under another model: enumerable worlds where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from offleash.boundary.likelihood import solution_probability
from offleash.core import InputError


def test_by_hand() -> None:
    found = solution_probability(["x", "y", "x"], np.log([0.1, 0.02, 0.1]), np.log([0.5, 0.1, 0.5]), samples=4)
    assert found.bound == pytest.approx(0.12)  # x counts once
    assert found.estimate == pytest.approx((0.2 + 0.2 + 0.2) / 4)
    assert found.effective == pytest.approx(3.0)
    assert (found.distinct, found.samples) == (2, 4)
    assert found.pass_at(10) == pytest.approx(1 - 0.88**10)
    assert solution_probability(["x"], [-3.0], [-1.0], 2, exact=0.5).pass_at(2) == pytest.approx(0.75)


def test_no_success_says_nothing_of_a() -> None:
    found = solution_probability([], [], [], samples=8)
    assert (found.bound, found.estimate, found.effective) == (0.0, 0.0, 0.0)


def test_unbiased_bounded_and_with_an_honest_error() -> None:
    """Twelve texts of which five are right; a and b differ widely."""
    rng = np.random.default_rng(0)
    pi_a, pi_b = rng.dirichlet(np.full(12, 0.5)), rng.dirichlet(np.full(12, 2.0))
    right, truth = np.arange(5), pi_a[:5].sum()
    estimates, errors, bounds = [], [], []
    for _ in range(2000):
        drawn = rng.choice(12, 64, p=pi_b)
        correct = drawn[np.isin(drawn, right)]
        found = solution_probability(correct.tolist(), np.log(pi_a[correct]), np.log(pi_b[correct]), 64)
        estimates.append(found.estimate)
        errors.append(found.standard_error)
        bounds.append(found.bound)
    assert abs(np.mean(estimates) - truth) < 4 * np.std(estimates) / 2000**0.5
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.1)
    assert max(bounds) <= truth + 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["x"], [-1.0], [], 2), "give one of each"),
        ((["x"], [-1.0], [-1.0], 0), "samples: 0, but 1"),
        (([], [], [], 0), "never sampled"),
        ((["x"], [0.5], [-1.0], 2), "logprobs_a: log-probabilities are finite and at most 0"),
        ((["x"], [-1.0], [float("nan")], 2), "logprobs_b"),
    ],
)
def test_bad_input(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solution_probability(*arguments)  # type: ignore[arg-type]
