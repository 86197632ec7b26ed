"""Stopping one problem: the rule, always-valid intervals and evidence, and exact unbiasedness by enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from offleash.boundary import Counts
from offleash.boundary.stopping import (
    Design,
    _log_paths,
    certified,
    confidence_sequence,
    design,
    finished,
    log_e_values,
    states,
    stopped_pass_at_k,
    unseen_bound,
)
from offleash.core import InputError


def counts(c: list[int], n: list[int]) -> Counts:
    return Counts(tuple(f"p{i:04d}" for i in range(len(c))), np.array(c), np.array(n))


def test_golden_bound_of_the_unseen() -> None:
    assert unseen_bound(1024) == pytest.approx(2.93e-3, rel=3e-3)
    assert unseen_bound(1024) == pytest.approx(-math.log(0.05) / 1024, rel=2e-3)
    assert (1 - unseen_bound(77, 0.9)) ** 77 == pytest.approx(0.1)


def test_design_by_hand() -> None:
    plan = design(unseen_bound(64), first=8)
    assert plan.k == 64 and plan.rounds == (8, 16, 32, 64, 128) and plan.cap == 128
    assert design(unseen_bound(512)).rounds == (16, 32, 64, 128, 256, 512, 1024)
    assert design(unseen_bound(100)).rounds == (16, 32, 64, 100, 200)
    assert design(unseen_bound(100), beyond=1).cap == 100 and design(unseen_bound(100), beyond=4).cap == 400
    assert design(0.3).k == 9 and design(0.3).rounds == (9, 18)
    # a problem is only called in the support where a fixed-n test at the same confidence would also say so
    for n, m in zip(plan.rounds, plan.enough, strict=True):
        assert stats.binom.sf(m - 1, n, plan.epsilon) < 0.05


def test_bad_input_of_the_rule() -> None:
    with pytest.raises(InputError, match=r"epsilon: 0\.0 is no rate"):
        design(0.0)
    with pytest.raises(InputError, match=r"level: 1\.0 is not a coverage"):
        design(0.01, 1.0)
    with pytest.raises(InputError, match="first: 0"):
        design(0.01, first=0)
    with pytest.raises(InputError, match="beyond: 3; give a power of two"):
        design(0.01, beyond=3)
    with pytest.raises(InputError, match="draws: 0"):
        unseen_bound(0)
    with pytest.raises(InputError, match="c: must lie between 0 and n"):
        confidence_sequence(3, 2)
    with pytest.raises(InputError, match=r"k: 65 exceeds the 64 draws of the rule"):
        stopped_pass_at_k(np.array([1]), np.array([64]), [65], design(unseen_bound(64)))


def test_states() -> None:
    plan = design(unseen_bound(64), first=8)
    assert states(counts([8, 0, 0, 1, 0], [8, 64, 63, 64, 128]), plan).tolist() == ["in", "out", "open", "open", "out"]


def test_finished_looks_at_the_other_only_at_k() -> None:
    plan = design(unseen_bound(64), first=8)
    m = plan.enough[3]
    c = np.array([[8, 7, 0, 0, 1, 1, 0, 1], [0, 0, 0, m, 1, 0, 9, 1]])
    n = np.array([[8, 7, 64, 64, 64, 64, 64, 64], [8, 8, 64, 64, 64, 64, 32, 128]])
    # first round won; not at a round's end; both unsolved; other solved; both a little; a solved, b not; b stopped early
    # (9 of 32); b went on alone, so a had stopped
    assert finished(c, n, plan)[0].tolist() == [True, False, True, False, False, True, False, True]
    assert finished(c, n, plan)[1].tolist() == [False, False, True, True, False, False, True, True]


def expectation(plan: Design, p: float, k: int, last: int) -> tuple[float, float]:
    """E of the estimate, and the total probability, over all ends of a problem that may go on to rounds[last]."""
    total = mean = 0.0
    paths = _log_paths(plan, 0)
    for r, (at, least) in enumerate(zip(plan.rounds[: last + 1], plan.enough[: last + 1], strict=True)):
        c = np.arange(at + 1)
        keep = (c >= least) | (r == last)
        with np.errstate(divide="ignore"):
            chance = np.exp(paths[r] + c * np.log(p) + (at - c) * np.log1p(-p))[keep]
        value = stopped_pass_at_k(c[keep], np.full(keep.sum(), at), [k], plan)[:, 0]
        live = chance > 0
        total, mean = total + chance.sum(), mean + float(chance[live] @ value[live])
    return float(mean), float(total)


@pytest.mark.parametrize("p", [0.001, 0.02, 0.1, 0.6])
@pytest.mark.parametrize("k", [1, 7, 16, 33, 64])
def test_estimates_are_exactly_unbiased(p: float, k: int) -> None:
    """Over every way to stop, whether the other model lets the problem go on past k or not."""
    plan = design(unseen_bound(64), first=8, beyond=4)
    for last in (3, 5):
        mean, total = expectation(plan, p, k, last)
        assert total == pytest.approx(1, abs=1e-9)
        assert mean == pytest.approx(1 - (1 - p) ** k, rel=1e-7)


@pytest.mark.parametrize(("p_a", "p_b"), [(0.02, 0.02), (0.05, 0.01), (0.3, 0.0), (0.001, 0.02)])
def test_pairs_are_unbiased_too(p_a: float, p_b: float) -> None:
    """The rule in full, the other model included: 40,000 pairs, means within 4 standard errors at every k."""
    plan, size = design(unseen_bound(64), first=8, beyond=4), 40_000
    generator = np.random.default_rng(3)
    rates = np.repeat([[p_a], [p_b]], size, axis=1)
    c = n = np.zeros((2, size), dtype=np.int64)
    while not (stop := finished(c, n, plan)).all():
        ends = np.array((*plan.rounds, plan.cap))[np.searchsorted(plan.rounds, n, side="right")]
        more = np.where(stop, 0, ends - n)
        c, n = c + generator.binomial(more, rates), n + more
    ks = np.array([1, 4, 16, 64])
    for side, p in enumerate((p_a, p_b)):
        values = stopped_pass_at_k(c[side], n[side], ks.tolist(), plan)
        error = values.std(axis=0) / np.sqrt(size)
        assert (np.abs(values.mean(axis=0) - (1 - (1 - p) ** ks)) <= 4 * error + 1e-6).all()
    assert n.max() == plan.cap or p_b == 0


def test_inverse_binomial_sampling_is_a_special_case() -> None:
    plan = Design(0.01, 0.95, 30, tuple(range(1, 31)), (3,) * 30)  # stop at the third success
    n = np.arange(4, 30)
    got = stopped_pass_at_k(np.full(len(n), 3), n, [1], plan)[:, 0]
    assert got == pytest.approx((3 - 1) / (n - 1))  # Haldane
    assert np.isnan(stopped_pass_at_k(np.array([2]), np.array([10]), [1], plan)).all()  # not a place to stop


def test_without_early_stops_it_is_the_plain_estimator() -> None:
    from offleash.boundary import pass_at_k

    plan = Design(0.01, 0.95, 32, (16, 32, 64), (17, 33, 65))
    c = np.arange(33)
    assert stopped_pass_at_k(c, np.full(33, 32), [5], plan)[:, 0] == pytest.approx(pass_at_k(c, 32, 5), abs=1e-12)


def test_trap_the_plain_share_is_biased_after_stopping() -> None:
    generator = np.random.default_rng(0)
    plan = design(unseen_bound(64), first=8)
    p, size = 0.2, 20_000
    c, n, live = np.zeros(size, int), np.zeros(size, int), np.ones(size, bool)
    for at, least in zip(plan.rounds[:4], plan.enough[:4], strict=True):
        c[live] += generator.binomial(at - n[live], p)
        n[live] = at
        live &= c < least
    assert (c / n).mean() > 1.07 * p
    fair = stopped_pass_at_k(c, n, [1], plan)[:, 0]
    assert fair.mean() == pytest.approx(p, abs=4 * fair.std() / np.sqrt(size))


def test_confidence_sequence_by_hand() -> None:
    low, high = confidence_sequence(np.array([0, 50, 100, 0]), np.array([100, 100, 100, 0]))
    assert low[0] == 0 and high[2] == 1 and (low[3], high[3]) == (0, 1)
    assert low[1] == pytest.approx(1 - high[1], abs=1e-9) and low[2] == pytest.approx(1 - high[0], abs=1e-9)
    # never solved in n draws: refuted where (1 - p)^n is below alpha / 2 times 3/8 and what the Beta parts add
    assert 1 - (0.025 / 2) ** (1 / 100) < high[0] < 1 - (0.025 * 3 / 8) ** (1 / 100)
    assert low[1] < 0.5 < high[1]


@pytest.mark.parametrize("p", [0.001, 0.01, 0.2, 0.5, 0.97])
def test_confidence_sequence_holds_at_all_n_at_once(p: float) -> None:
    """1,000 sequences watched at every one of 600 draws: the worst moment counts (standard error 0.7%)."""
    generator = np.random.default_rng(1)
    sets, length = 1000, 600
    c = np.cumsum(generator.random((sets, length)) < p, axis=1)
    n = np.arange(1, length + 1)
    # the truth is inside iff neither mixture martingale at p has passed 2 / alpha
    from offleash.boundary.stopping import _log_likelihood, _log_mixture

    at = _log_likelihood(c, n, p)
    out = (np.maximum(_log_mixture(c, n), _log_mixture(n - c, n)) - at >= np.log(2 / 0.05)).any(axis=1)
    assert 1 - out.mean() >= 0.95
    low, high = confidence_sequence(c[:50, ::97], np.broadcast_to(n[::97], (50, len(n[::97]))))
    inside = (low <= p) & (p <= high)
    assert inside.all(axis=1).mean() >= 0.9


def test_width_against_a_fixed_number_of_draws() -> None:
    """What always-valid costs: 1.2 to 2.1 times the width of Clopper-Pearson at an n known in advance."""
    for c, n in ((0, 64), (5, 64), (32, 64), (0, 1024), (5, 1024), (100, 1024), (512, 1024)):
        low, high = confidence_sequence(c, n)
        fixed = stats.binomtest(c, n).proportion_ci(method="exact")
        assert 1.2 < float(high - low) / (fixed.high - fixed.low) < 2.1


@pytest.mark.parametrize(("p_a", "p_b"), [(0.01, 0.01), (0.2, 0.2), (0.05, 0.1)])
def test_e_values_stay_small_where_nothing_is_better(p_a: float, p_b: float) -> None:
    """Watched after every round, e of "a better" passes 20 in at most 5% of studies where a is not better."""
    generator = np.random.default_rng(2)
    size = 4000
    c_a = c_b = np.zeros(size, int)
    n, worst = 0, np.zeros(size)
    for at in (8, 16, 32, 64, 128, 256):
        c_a, c_b = c_a + generator.binomial(at - n, p_a, size), c_b + generator.binomial(at - n, p_b, size)
        n = at
        worst = np.maximum(worst, log_e_values(c_a, n, c_b, n))
    assert (worst >= math.log(20)).mean() <= 0.05


def test_e_values_find_a_lost_problem() -> None:
    log_e = log_e_values([16, 1, 8, 0], [16, 16, 16, 64], [0, 0, 8, 0], [512, 512, 16, 64])
    assert log_e[0] > math.log(1e6) and log_e[1] < math.log(50) and log_e[2] == log_e[3] == 0
    assert certified(np.array([20.0, 0.0, 0.0]), 0.95).tolist() == [True, False, False]
    assert certified(np.log([60.0, 30.0, 1.0]), 0.95).tolist() == [True, True, False]  # needs 60, then 30
    assert not certified(np.log([59.0, 29.0, 1.0]), 0.95).any()
