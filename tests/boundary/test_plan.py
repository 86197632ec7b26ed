"""The planner: its power is that of the package's own test, and its advice is the cheapest."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln

from offleash.boundary import Counts, compare, difference
from offleash.boundary.difference import grid
from offleash.boundary.passk import pass_at_k, pass_matrix
from offleash.boundary.plan import SPREADS, _moved, _pool, band_tail, lower_ends, plan
from offleash.core import InputError


def pilot(problems: int = 100, n: int = 64, seed: int = 0) -> Counts:
    generator = np.random.default_rng(seed)
    c = generator.binomial(n, generator.beta(0.3, 0.7, problems))
    return Counts(tuple(f"p{i:04d}" for i in range(problems)), c, np.full(problems, n))


def test_power_grows_with_problems_and_samples() -> None:
    got = plan((0.3, 0.7), 8, -0.05, studies=400, problems=(50, 100, 200, 400))
    rows = [[got.table[p, n] for n in (8, 16, 32, 64)] for p in (50, 100, 200, 400)]
    # At 50 problems more samples do not help: 50 cannot show so small a shift, and the band holds at more k.
    assert (np.diff(rows, axis=0) >= -0.02).all() and (np.diff(rows[1:], axis=1) >= -0.02).all()
    assert got.reason == "" and got.needed[got.samples] == got.problems and got.draws == 2 * got.problems * got.samples
    assert got.draws == min(2 * count * n for n, count in got.needed.items() if count is not None)
    assert got.error < 0.03 and got.base == pytest.approx(-np.expm1(betaln(0.3, 8.7) - betaln(0.3, 0.7)), abs=1e-3)


def test_larger_shifts_need_fewer_problems() -> None:
    little, much = (plan((0.3, 0.7), 8, shift, samples=(16,), studies=300) for shift in (0.04, 0.08))
    assert little.needed[16] is not None and much.needed[16] is not None
    assert 2.5 < little.needed[16] / much.needed[16] < 6  # about the square of the ratio


def test_the_shift_is_what_was_asked() -> None:
    from offleash.boundary.plan import _difficulty, _solve

    value = pass_at_k(np.arange(17), 16, 8)
    for shift in (-0.1, 0.07):
        for spread in SPREADS:
            difficulty = _difficulty((0.3, 0.7), 8)
            size = _solve(difficulty, 8, shift, spread, 1 - difficulty.miss(8))
            before, after = _pool(difficulty, 16, size, spread, np.sign(shift), 0)
            assert (value[after] - value[before]).mean() == pytest.approx(shift, abs=3e-3)


def saturated(solved: int, unsolved: int = 0) -> Counts:
    """64 of 64, or none."""
    c = np.array([64] * solved + [0] * unsolved)
    return Counts(tuple(f"p{i:04d}" for i in range(len(c))), c, np.full(len(c), 64))


@pytest.mark.parametrize(("pilot", "shift"), [(saturated(100), -0.1), (saturated(90, 10), -0.1), (saturated(90, 10), 0.05),
                                              ((1e-9, 2.0), 0.1)])  # fmt: skip
def test_rates_of_0_and_1_do_not_move_in_log_odds(pilot: Counts | tuple[float, float], shift: float) -> None:
    """Once a silent power of 0.00 at every size."""
    with pytest.raises(InputError, match=rf"are all 0 or 1 as fitted; .* cannot move by {shift}; use --spread few"):
        plan(pilot, 8, shift, studies=100)
    few = plan(pilot, 8, shift, spread="few", samples=(8,), studies=100)
    assert few.needed[8] is not None and 20 < few.needed[8] < 400


def test_a_shift_that_only_a_part_of_the_problems_could_reach_is_refused() -> None:
    """Half of the problems are always solved: the others hold only half of pass@8."""
    c = np.array([64] * 60 + [20, 30, 40] * 20)
    half = Counts(tuple(f"p{i:04d}" for i in range(len(c))), c, np.full(len(c), 64))
    with pytest.raises(InputError, match=r"0 or 1 on 50% of the problems .* moves by -0\.4.. at most, not by -0\.6"):
        plan(half, 8, -0.6)
    assert plan(half, 8, -0.3, studies=100, samples=(8,)).problems > 0


def test_a_thin_pilot_carries_a_caveat() -> None:
    one, many = Counts(("p",), np.array([20]), np.array([64])), pilot(50)
    got = plan(one, 8, -0.1, studies=100, samples=(8,))
    assert got.caveat == (
        "a pilot of 1 problem knows its pass@8 to about +-0.50, and the plan is no better; sample 50 problems or more"
    )
    assert plan(many, 8, -0.05, studies=100, samples=(8,)).caveat == ""
    assert (
        "a pilot of 49 problems knows its pass@8 to about +-0.1"
        in plan(pilot(49), 8, -0.05, studies=100, samples=(8,)).caveat
    )


def test_bad_input_of_the_planner() -> None:
    with pytest.raises(InputError, match=r"shift: 0 cannot be: the base's pass@8 is 0\.5"):
        plan((0.3, 0.7), 8, 0.0)
    with pytest.raises(InputError, match=r"shift: 0\.9 cannot be"):
        plan((0.3, 0.7), 8, 0.9)
    with pytest.raises(InputError, match=r"k: 100 of the pilot's 100 problems have fewer than 128"):
        plan(pilot(), 128, -0.05)
    with pytest.raises(InputError, match=r"pilot: Beta\(0\.0, 1\.0\) is no distribution"):
        plan((0.0, 1.0), 8, -0.05)
    with pytest.raises(InputError, match="unknown spread 'al'; did you mean 'all'"):
        plan((0.3, 0.7), 8, -0.05, spread="al")
    with pytest.raises(InputError, match="samples: 4; give whole numbers of at least 8"):
        plan((0.3, 0.7), 8, -0.05, samples=(4,))
    with pytest.raises(InputError, match="problems: 1; give"):
        plan((0.3, 0.7), 8, -0.05, problems=(1,))
    with pytest.raises(InputError, match=r"power: 80\.0"):
        plan((0.3, 0.7), 8, -0.05, power=80.0)
    for power in (0.03, 0.05):
        with pytest.raises(InputError, match=rf"power: {power} is no more than the chance of a false alarm, 0\.05"):
            plan((0.3, 0.7), 8, -0.05, power=power)
    with pytest.raises(InputError, match="studies: 5"):
        plan((0.3, 0.7), 8, -0.05, studies=5)


def test_what_cannot_be_had_is_said() -> None:
    got = plan((0.3, 0.7), 8, 0.002, samples=(8,), problems=(100,), studies=100)
    assert got.problems == got.draws == 0 and "even 5000 problems" in got.reason and got.needed == {8: None}


@pytest.mark.slow
@pytest.mark.parametrize("spread", sorted(SPREADS))
def test_lower_ends_are_those_of_the_test(spread: str) -> None:
    """Without a bootstrap: within a twelfth of its half-width of the interval that `difference` gives, and an eighth of the band."""
    generator = np.random.default_rng(1)
    n, k, problems = 32, 8, 60
    ks = grid(n)
    at = ks.index(k)
    ids = tuple(f"p{i:04d}" for i in range(problems))

    def change(p: np.ndarray) -> np.ndarray:
        return p**0.8 if spread == "all" else np.where(generator.random(len(p)) < 0.15, 1.0, p)

    value = pass_at_k(np.arange(n + 1)[:, None], n, np.array(ks))
    p = generator.beta(0.3, 0.7, 20_000)
    tail = band_tail(value[generator.binomial(n, change(p))] - value[generator.binomial(n, p)])
    assert 0.002 < tail < 0.02
    for seed in range(20):
        p = generator.beta(0.3, 0.7, problems)
        a, b = (Counts(ids, generator.binomial(n, r), np.full(problems, n)) for r in (p, change(p)))
        got = difference(a, b, ks, replicates=8000, seed=seed)
        values = (pass_matrix(b, [k]) - pass_matrix(a, [k])).T
        for low, high, side, part in ((got.point_low, got.point_high, 0.025, 12), (got.low, got.high, tail, 8)):
            within = (high[at] - low[at]) / 2 / part
            assert lower_ends(values, side)[0] == pytest.approx(low[at], abs=within)
            assert -lower_ends(-values, side)[0] == pytest.approx(high[at], abs=within)


def test_with_a_handful_of_problems_nothing_is_found() -> None:
    """The expansion is not followed to where it turns back up: two problems never decide at 95%."""
    values = np.random.default_rng(0).choice([-1.0, 0.0, 0.5, 1.0], (200, 2), p=[0.05, 0.15, 0.3, 0.5])
    for problems in (2, 3, 4):
        assert not (lower_ends(np.repeat(values, 2, axis=1)[:, :problems], 0.005) > 0).any()


def test_the_tail_of_the_band_is_that_of_a_study() -> None:
    """Against `resample.simultaneous_tail` of one study of 2,000 problems; one k alone leaves half of 5%."""
    from offleash.boundary import resample

    n, generator = 64, np.random.default_rng(5)
    value = pass_at_k(np.arange(n + 1)[:, None], n, np.array(grid(n)))
    p = generator.beta(0.3, 2, 2000)
    curves = value[generator.binomial(n, p**1.2)] - value[generator.binomial(n, p)]
    study = resample.simultaneous_tail(resample.draw(curves), 0.95)
    assert band_tail(curves) == pytest.approx(study, rel=0.12) and study < 0.012
    assert band_tail(curves[:, :1]) == pytest.approx(0.025, rel=0.05) and band_tail(0 * curves) == pytest.approx(0.025)


@pytest.mark.slow
@pytest.mark.parametrize(("shapes", "spread", "shift", "problems", "n"),
                         [((0.3, 0.7), "all", -0.06, 150, 16), ((0.3, 0.7), "few", 0.07, 150, 16),
                          ((0.3, 2.0), "all", -0.05, 187, 32)])  # fmt: skip
def test_planned_power_is_that_of_the_verdict(
    shapes: tuple[float, float], spread: str, shift: float, problems: int, n: int
) -> None:
    """150 studies with the band of `compare`, fresh problems: within 0.05 and two standard errors (8%). The proof has more.

    A plan for the interval at one k promises more than the band gives: a reader found 0.57 to 0.68 for 0.80.
    """
    k = 8
    got = plan(shapes, k, shift, spread=spread, samples=(n,), problems=(problems,))
    generator = np.random.default_rng(2)
    ids = tuple(f"p{i:04d}" for i in range(problems))
    found = 0
    for seed in range(150):
        p = generator.beta(*shapes, problems)
        moved = _moved(p, got.size) if spread == "all" else np.where(generator.random(problems) < got.size, 1.0, p)
        a, b = (Counts(ids, generator.binomial(n, r), np.full(problems, n)) for r in (p, moved))
        band = difference(a, b, sorted({*grid(n), k}), replicates=1000, seed=seed)
        _, low, high = band.at(k)
        found += bool(high < 0 if shift < 0 else low > 0)
        if seed == 0:  # it is the band that the verdict reads
            assert compare(a, b, k=k, replicates=1000, seed=seed).difference.at(k) == pytest.approx(band.at(k))
    assert found / 150 == pytest.approx(got.table[problems, n], abs=0.05 + 2 * np.sqrt(0.25 / 150))


def test_a_pilot_gives_about_the_plan_of_the_truth() -> None:
    true = plan((0.3, 0.7), 8, -0.05, samples=(16,), problems=(100,), studies=400)
    from_pilot = plan(pilot(400), 8, -0.05, samples=(16,), problems=(100,), studies=400)
    assert from_pilot.base == pytest.approx(true.base, abs=0.06)
    assert true.needed[16] is not None and from_pilot.needed[16] is not None
    assert from_pilot.needed[16] == pytest.approx(true.needed[16], rel=0.3)
