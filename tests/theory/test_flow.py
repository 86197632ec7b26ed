"""The closed form of gradient flow on one softmax, against the differential equation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from offleash.theory.flow import flow, overtaking, time

START = np.array([0.30, 0.02, 0.68])


@pytest.mark.slow
@pytest.mark.parametrize("rewards", [(0.8, 1.0, 0.0), (1.0, 1.0, 0.0), (0.0, 1.0, 0.3), (0.5, 0.5, 0.5)])
@pytest.mark.parametrize("s", [0.5, 20.0, 200.0])
def test_against_the_equation(rewards, s):
    r = np.array(rewards)

    def rises(_, z):
        p = np.exp(z) / np.exp(z).sum()
        return p * (r - p @ r)

    t = time(START, r, s)
    z = solve_ivp(rises, (0, t), np.log(START), rtol=1e-10, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(flow(START, r, s), np.exp(z) / np.exp(z).sum(), atol=2e-7)
    assert z.sum() == pytest.approx(np.log(START).sum(), abs=1e-8)  # conserved


def test_overtaking_is_where_the_two_are_equal():
    r = np.array([0.8, 1.0, 0.0])
    s = overtaking(START, r, 1, 0)
    assert s == pytest.approx((1 / 0.02 - 1 / 0.30) / 0.2)
    p = flow(START, r, s)
    assert p[1] == pytest.approx(p[0], rel=1e-9)
    assert overtaking(START, np.array([1.0, 1.0, 0.0]), 1, 0) == float("inf")
    assert overtaking(np.array([0.1, 0.3, 0.6]), r, 1, 0) == 0.0


def test_the_rarer_right_answer_falls_like_one_over_the_root_of_time():
    r = np.array([1.0, 1.0, 0.0])
    constants = []
    for s in (1e3, 1e4, 1e5):
        p = flow(START, r, s)
        constants.append(p[1] / p[0] * np.sqrt(time(START, r, s)))
    np.testing.assert_allclose(constants, constants[-1], rtol=1e-3)
