"""The entropy law and the compute law: golden curves, closed forms, identifiability, coverage, bad input.

Coverage is proven at length in test_laws_proof.py (docs/results/laws_coverage.json).
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from offleash.boundary import (
    Parameter,
    compare_compute_laws,
    compare_entropy_laws,
    compute_law,
    entropy_law,
    sigmoid,
)
from offleash.boundary.autocorrelation import spread
from offleash.boundary.laws import difference_of
from offleash.core import InputError

Floats = NDArray[np.float64]

# ScaleRL (arXiv 2510.13786), its 8B run: eq. 1 with the fitted A .610, B 1.92, C_mid 2542; R0 .35. Values by hand from eq. 1.
GOLDEN = {500: 0.3610, 1500: 0.4193, 2542: 0.4800, 8000: 0.5841, 16000: 0.6026, 50000: 0.6091}
SCALERL = (0.35, 0.61, 1.92, 2542.0)
BATCH_2048 = (0.35, 0.645, 1.70, 10909.0)  # the same paper's run with batches of 2048


def noisy(generator: np.random.Generator, n: int, rho: float = 0.0) -> Floats:
    """(n,) stationary AR(1) of variance 1."""
    e = generator.normal(size=n)
    for i in range(1, n):
        e[i] = rho * e[i - 1] + math.sqrt(1 - rho**2) * e[i]
    return e


def falling_entropy(n: int) -> Floats:
    return 0.1 + 0.9 * np.exp(-np.arange(n) / (n / 3))


# ---------------------------------------------------------------------------------------------- the compute law


def test_golden_curve() -> None:
    assert sigmoid(list(GOLDEN), *SCALERL) == pytest.approx(list(GOLDEN.values()), abs=5e-5)
    assert sigmoid([0.0], *SCALERL)[0] == 0.35


def test_exact_data_give_the_parameters_back() -> None:
    c = np.geomspace(300, 60_000, 40)
    law = compute_law(c, sigmoid(c, *SCALERL), r0=0.35)
    assert (law.A.value, law.B.value, law.C_mid.value) == pytest.approx((0.61, 1.92, 2542), rel=1e-6)
    assert law.identifiable and law.A.low == law.A.value == law.A.high and law.holdout.rmse < 1e-6
    assert law.compute_at(0.9) == pytest.approx(2542 * 9 ** (1 / 1.92), rel=1e-6) == pytest.approx(7983, abs=1)
    assert law.predict([8000.0])[0] == pytest.approx(0.5841, abs=5e-5)
    # tail: R ~ A - D / C^B with D = (A - R0) C_mid^B; .60977 at C = 1e5 both ways
    tail = law.D / 1e5**1.92
    assert tail == pytest.approx(0.26 * (2542 / 1e5) ** 1.92, rel=1e-5)
    assert law.A.value - tail == pytest.approx(0.60977, abs=5e-6)
    assert law.predict([1e5])[0] == pytest.approx(0.60977, abs=5e-6)


def test_r0_is_fitted_from_the_first_row() -> None:
    c = np.concatenate([[0.0], np.geomspace(300, 60_000, 40)])
    law = compute_law(c, sigmoid(c, *SCALERL))
    assert (law.R0, law.A.value) == pytest.approx((0.35, 0.61), abs=1e-6) and law.rows == 41
    late = compute_law(c, sigmoid(c, *SCALERL), start=1500.0)
    assert late.compute[0] >= 1500 and late.rows < 41
    assert (late.R0, late.A.value) == pytest.approx((0.35, 0.61), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_trap_the_ceiling_is_open_before_the_midpoint(seed: int) -> None:
    """C_mid 10.9k, noise .004: to 8k nothing can be said of A, to 50k much (a grid's point estimate: sd .08 and .004)."""
    generator = np.random.default_rng(seed)
    early, late = np.linspace(1500, 8000, 30), np.linspace(1500, 50_000, 30)
    law = compute_law(early, sigmoid(early, *BATCH_2048) + generator.normal(0, 0.004, 30), r0=0.35)
    assert law.A.low <= 0.645 <= law.A.high
    if not law.identifiable:
        assert law.A.high == 1 and "to 1 fits: the data end at C = 8000" in law.A.reason
    law = compute_law(late, sigmoid(late, *BATCH_2048) + generator.normal(0, 0.004, 30), r0=0.35)
    assert law.identifiable and law.A.reason == "" and law.A.high - law.A.low < 0.03
    assert law.B.identifiable and law.C_mid.identifiable


def test_a_flat_curve_determines_nothing() -> None:
    generator = np.random.default_rng(1)
    law = compute_law(np.arange(1.0, 41), 0.3 + generator.normal(0, 0.02, 40))
    assert not law.identifiable and not law.B.identifiable and not law.C_mid.identifiable
    assert law.A.high == 1 and law.A.reason and law.B.high == math.inf
    assert json.loads(json.dumps(law.to_json(), allow_nan=False))["B"]["high"] is None


def test_a_run_that_never_solves_anything() -> None:
    for law in (compute_law(np.arange(20.0), np.zeros(20)), compute_law(np.arange(20.0), np.full(20, 0.3), r0=0.3)):
        assert not law.identifiable and (law.A.low, law.A.high) == (0, 1) and "any A fits" in law.A.reason
    nothing = entropy_law(falling_entropy(20), np.zeros(20))
    assert not nothing.a.identifiable and not nothing.ceiling.identifiable


def test_many_rows_are_thinned_for_the_start_only() -> None:
    c = np.geomspace(100, 60_000, 3000)
    y = sigmoid(c, *SCALERL) + np.random.default_rng(0).normal(0, 0.01, 3000)
    law = compute_law(c, np.clip(y, 0, 1), r0=0.35)
    assert law.rows == 3000 and law.identifiable and law.A.low < 0.61 < law.A.high and law.A.high - law.A.low < 0.01


def test_a_ceiling_at_its_bound_is_accepted_where_it_is_narrow() -> None:
    c = np.geomspace(10, 1e5, 60)
    y = np.clip(sigmoid(c, 0.2, 0.998, 2.0, 500.0) + np.random.default_rng(0).normal(0, 0.003, 60), 0, 1)
    law = compute_law(c, y, r0=0.2)
    assert law.identifiable and law.A.high - law.A.low < 0.01


@pytest.mark.slow
def test_comparison_of_two_runs() -> None:
    generator = np.random.default_rng(2)
    c = np.geomspace(200, 60_000, 60)

    def run(a: float, b: float) -> Floats:
        return np.asarray(sigmoid(c, 0.35, a, b, 2542.0) + generator.normal(0, 0.003, 60))

    one, faster, higher = (compute_law(c, run(*p), r0=0.35) for p in ((0.61, 1.7), (0.61, 2.1), (0.66, 1.7)))
    same_top = compare_compute_laws(one, faster)
    assert same_top["A"].low <= 0 <= same_top["A"].high and abs(same_top["A"].value) < 0.02
    assert same_top["B"].low > 0 and same_top["B"].low < 0.4 < same_top["B"].high
    other_top = compare_compute_laws(one, higher)
    assert other_top["A"].low > 0 and other_top["A"].low < 0.05 < other_top["A"].high
    assert math.isnan(other_top["B"].value) and "more than 0.02" in other_top["B"].reason
    early = compute_law(c[:25], run(0.61, 1.7)[:25], r0=0.35)
    undetermined = compare_compute_laws(one, early)
    assert not undetermined["A"].identifiable and math.isnan(undetermined["B"].value)


@pytest.mark.parametrize(
    ("compute", "reward", "kwargs", "message"),
    [
        ([], [], {}, "reward: 0 steps, and the law needs at least 6; train longer"),
        ([1.0], [0.5], {}, "reward: 1 steps"),
        (list(range(8)), [0.1] * 7, {}, "reward: 7 values for 8 of compute; give both"),
        (list(range(8)), [0.1] * 7 + [math.nan], {}, "reward: nan at position 7; leave out"),
        ([3, 2, 4, 5, 6, 7, 8, 9], [0.1] * 8, {}, "compute: 2 at position 1; give compute spent so far"),
        ([-1, 2, 4, 5, 6, 7, 8, 9], [0.1] * 8, {}, "compute: -1 at position 0"),
        (list(range(8)), [0.1] * 7 + [35.0], {}, "reward: 35 at position 7 is no share; rescale"),
        (list(range(8)), [0.1] * 8, {"r0": 2.0}, "r0: 2.0 is no share"),
        (list(range(8)), [0.1] * 8, {"start": 5.0}, "start: 3 rows are left from C = 5 on"),
        (list(range(20)), [0.1] * 20, {"holdout": 1.5}, "holdout: 1.5 is no share"),
        (list(range(20)), [0.1] * 20, {"level": 95.0}, "level: 95"),
    ],
)
def test_compute_law_refuses(compute: list[float], reward: list[float], kwargs: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        compute_law(compute, reward, **kwargs)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------------------------------- the entropy law


def test_entropy_law_of_exact_data() -> None:
    h = falling_entropy(40)
    law = entropy_law(h, 0.69 - 0.24 * np.exp(h))
    assert (law.a.value, law.b.value, law.ceiling.value) == pytest.approx((0.24, 0.69, 0.45))
    assert law.predict([0.0])[0] == pytest.approx(0.45) and law.holdout.rmse < 1e-9 and law.holdout.final_error < 1e-9
    assert law.ceiling.identifiable and math.isnan(law.autocorrelation) and law.holdout.naive_rmse > 0.01


def test_least_squares_agree_with_the_textbook() -> None:
    generator = np.random.default_rng(0)
    h = generator.uniform(0.2, 1.0, 50)
    y = 0.7 - 0.2 * np.exp(h) + generator.normal(0, 0.05, 50)
    law = entropy_law(h, y)
    x = np.exp(h)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    assert law.a.value == pytest.approx(-slope) and law.b.value == pytest.approx(y.mean() - slope * x.mean())
    assert law.ceiling.value == pytest.approx(law.b.value - law.a.value)


def test_white_and_plain_standard_errors_agree() -> None:
    """Without the average over rho the spread is the textbook's: at rho = 0 the scale is s sqrt(c (X'X)^-1 c')."""
    generator = np.random.default_rng(3)
    x = np.stack([np.ones(80), np.exp(falling_entropy(80))], axis=1)
    y = x @ [0.7, -0.2] + generator.normal(0, 0.02, 80)
    e = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    got = spread(x, e, np.array([[1.0, 1.0]]))
    plain = math.sqrt(e @ e / 78 * np.ones(2) @ np.linalg.inv(x.T @ x) @ np.ones(2))
    at_zero = int(np.argmin(np.abs(np.linspace(-0.9, 0.98, 95))))
    assert got.scales[at_zero, 0] == pytest.approx(plain) and got.degrees == 78
    assert got.half_width(0, 0.95) == pytest.approx(1.99 * plain, rel=0.3)


def entropy_coverage(n: int, rho: float, sets: int) -> tuple[float, float]:
    """Coverage of the ceiling by the interval, and by the plain least-squares interval."""
    from scipy.special import stdtrit

    generator = np.random.default_rng(8)
    h = falling_entropy(n)
    x = np.stack([np.ones(n), np.exp(h)], axis=1)
    middle = np.linalg.inv(x.T @ x)
    held = plain = 0
    for _ in range(sets):
        y = x @ [0.7, -0.2] + 0.02 * noisy(generator, n, rho)
        law = entropy_law(h, y)
        held += law.ceiling.low <= 0.5 <= law.ceiling.high
        width = stdtrit(n - 2, 0.975) * law.residual * math.sqrt(n / (n - 2) * np.ones(2) @ middle @ np.ones(2))
        plain += abs(law.ceiling.value - 0.5) <= width
    return held / sets, plain / sets


@pytest.mark.slow
def test_interval_of_the_ceiling_at_no_entropy_covers() -> None:
    """Correlated steps; standard error of 80 sets: 2.4%. Taken as independent they give about 75%."""
    held, plain = entropy_coverage(30, 0.5, 80)
    assert held >= 0.95 - 3 * 0.024 and plain < 0.87


def test_too_little_range_is_said() -> None:
    generator = np.random.default_rng(1)
    h = np.linspace(0.55, 0.54, 30)
    law = entropy_law(h, 0.7 - 0.2 * np.exp(h) + generator.normal(0, 0.02, 30))
    assert not law.a.identifiable and "the interval of a holds 0" in law.a.reason and "1.716 to 1.733" in law.a.reason
    h = np.linspace(0.60, 0.50, 60)
    law = entropy_law(h, 0.7 - 0.2 * np.exp(h) + generator.normal(0, 0.007, 60))
    assert law.a.identifiable and not law.ceiling.identifiable and "the fitted rise so far only" in law.ceiling.reason
    law = entropy_law(falling_entropy(60), 0.7 - 0.2 * np.exp(falling_entropy(60)) + generator.normal(0, 0.01, 60))
    assert law.a.identifiable and law.ceiling.identifiable and law.ceiling.reason == ""


def test_reward_that_rises_with_entropy_has_no_ceiling() -> None:
    h = falling_entropy(40)
    law = entropy_law(h, 0.1 + 0.1 * np.exp(h) + np.random.default_rng(0).normal(0, 0.005, 40))
    assert law.a.value < 0 and law.a.identifiable and "no ceiling" in law.ceiling.reason


def test_attenuation_is_the_share_that_noise_in_the_abscissa_costs() -> None:
    generator = np.random.default_rng(4)
    true = np.log(np.linspace(2.0, 1.7, 400))
    measured = np.log(np.exp(true) + generator.normal(0, 0.05, 400))
    law = entropy_law(measured, 0.7 - 0.2 * np.exp(true))
    assert law.a.value == pytest.approx(0.2 * (1 - law.attenuation), rel=0.05) and 0.15 < law.attenuation < 0.35
    assert entropy_law(true, 0.7 - 0.2 * np.exp(true)).attenuation < 1e-6


def test_holdout_predicts_from_the_first_share() -> None:
    """arXiv 2505.22617 fits the first 36 of 200 and more steps (15%) and predicts the rest with an RMSE of about 1%."""
    generator = np.random.default_rng(6)
    h = falling_entropy(240)
    y = 0.7 - 0.2 * np.exp(h) + generator.normal(0, 0.005, 240)
    out = entropy_law(h, y, holdout=0.15).holdout
    assert (out.fitted, out.predicted) == (36, 204) and out.rmse < 0.02 and out.rmse < out.naive_rmse / 3
    slope, b = np.polyfit(np.exp(h[:36]), y[:36], 1)
    assert out.final_error == pytest.approx(b + slope * math.exp(h[-1]) - y[-1])
    none = entropy_law(h[:10], y[:10], holdout=0.3).holdout
    assert math.isnan(none.rmse) and "are 3, and a fit needs 4" in none.reason


def test_entropy_laws_of_two_runs() -> None:
    generator = np.random.default_rng(7)
    h = falling_entropy(100)
    one, two = (entropy_law(h, b - 0.2 * np.exp(h) + generator.normal(0, 0.01, 100)) for b in (0.7, 0.8))
    got = compare_entropy_laws(one, two)
    assert got["ceiling"].low < 0.1 < got["ceiling"].high and got["ceiling"].low > 0
    assert got["a"].low <= 0 <= got["a"].high


def test_difference_keeps_skew_and_open_ends() -> None:
    """Zou & Donner 2008: for symmetric intervals the widths add in squares."""
    got = difference_of(Parameter(1.0, 0.7, 1.3, True), Parameter(3.0, 2.6, 3.4, True))
    assert (got.value, got.low, got.high) == pytest.approx((2, 1.5, 2.5))
    got = difference_of(Parameter(1.0, 0.7, math.inf, False, "open"), Parameter(3.0, 2.6, 3.4, True))
    assert got.low == -math.inf and got.high == pytest.approx(2.5) and got.reason == "the first: open"


def test_documents_are_json() -> None:
    h = falling_entropy(30)
    y = 0.7 - 0.2 * np.exp(h) + np.random.default_rng(0).normal(0, 0.01, 30)
    document = json.loads(json.dumps(entropy_law(h, y, holdout=0.1).to_json(), allow_nan=False))
    assert set(document["a"]) == {"value", "low", "high", "identifiable"}
    assert document["holdout"]["rmse"] is None and document["holdout"]["reason"]


@pytest.mark.parametrize(
    ("entropy", "reward", "kwargs", "message"),
    [
        ([], [], {}, "reward: 0 steps, and the law needs at least 4; train longer"),
        ([0.5], [0.1], {}, "reward: 1 steps"),
        ([0.5, 0.4, 0.3, 0.2], [0.1, 0.2, 0.3], {}, "reward: 3 values for 4 of entropy"),
        ([0.5, 0.4, math.nan, 0.2], [0.1, 0.2, 0.3, 0.4], {}, "entropy: nan at position 2; leave out"),
        ([0.5, 0.4, -0.3, 0.2], [0.1, 0.2, 0.3, 0.4], {}, "entropy: -0.3 at position 2; entropies are >= 0"),
        ([0.5] * 5, [0.1] * 5, {}, "entropy: 0.5 in every step; the law needs entropies that differ"),
        ([0.5, 0.4, 0.3, 0.2], [0.1] * 4, {"holdout": 0.0}, "holdout: 0.0 is no share"),
    ],
)
def test_entropy_law_refuses(entropy: list[float], reward: list[float], kwargs: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        entropy_law(entropy, reward, **kwargs)
    assert "\n" not in str(error.value)
