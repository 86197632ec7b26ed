"""The curve of blind guessing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from offleash.boundary import chance_curve
from offleash.core import InputError


def test_closed_form() -> None:
    p = np.array([0.0, 1.0, 0.5, 1e-12])
    curve = chance_curve(p, [1, 3, 10**6])
    for k, estimate in curve.items():
        assert estimate.value == pytest.approx(np.mean([0, 1, 1 - 0.5**k, -np.expm1(k * np.log1p(-1e-12))]), rel=1e-12)
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert chance_curve(np.full(10, 0.01), [256])[256].value == pytest.approx(0.9237, abs=1e-4)


def test_unknown_guess_is_nan_with_the_reason() -> None:
    estimate = chance_curve([0.1, math.nan], [1])[1]
    assert math.isnan(estimate.value) and math.isnan(estimate.low)
    assert "unknown for 1 of 2 problems" in estimate.reason


def test_refused() -> None:
    with pytest.raises(InputError, match="problem number 1 has a chance outside"):
        chance_curve([0.1, 1.2], [1])
    with pytest.raises(InputError, match="give one probability for each problem"):
        chance_curve([], [1])
    with pytest.raises(InputError, match="k: 0"):
        chance_curve([0.1], [0])
