"""The planner: its power is that of the package's own test, and its advice is the cheapest."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln

from offleash.boundary import Counts, difference
from offleash.boundary.plan import SPREADS, lower_ends, plan
from offleash.core import InputError


def pilot(problems: int = 100, n: int = 64, seed: int = 0) -> Counts:
    generator = np.random.default_rng(seed)
    c = generator.binomial(n, generator.beta(0.3, 0.7, problems))
    return Counts(tuple(f"p{i:04d}" for i in range(problems)), c, np.full(problems, n))


def test_power_grows_with_problems_and_samples() -> None:
    got = plan((0.3, 0.7), 8, -0.05, studies=400, problems=(50, 100, 200, 400))
    rows = [[got.table[p, n] for n in (8, 16, 32, 64)] for p in (50, 100, 200, 400)]
    assert (np.diff(rows, axis=0) >= -0.02).all() and (np.diff(rows, axis=1) >= -0.02).all()
    assert got.reason == "" and got.needed[got.samples] == got.problems and got.draws == 2 * got.problems * got.samples
    assert got.draws == min(2 * count * n for n, count in got.needed.items() if count is not None)
    assert got.error < 0.03 and got.base == pytest.approx(-np.expm1(betaln(0.3, 8.7) - betaln(0.3, 0.7)), abs=1e-3)


def test_larger_shifts_need_fewer_problems() -> None:
    little, much = (plan((0.3, 0.7), 8, shift, samples=(16,), studies=300) for shift in (0.04, 0.08))
    assert little.needed[16] is not None and much.needed[16] is not None
    assert 2.5 < little.needed[16] / much.needed[16] < 6  # about the square of the ratio


def test_the_shift_is_what_was_asked() -> None:
    from offleash.boundary.plan import _changes, _difficulty, _solve

    for shift in (-0.1, 0.07):
        for spread in SPREADS:
            difficulty = _difficulty((0.3, 0.7), 8)
            size = _solve(difficulty, 8, shift, spread, 1 - difficulty.miss(8))
            assert _changes(difficulty, 16, 8, size, spread, np.sign(shift), 0).mean() == pytest.approx(shift, abs=3e-3)


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
    with pytest.raises(InputError, match="studies: 5"):
        plan((0.3, 0.7), 8, -0.05, studies=5)


def test_what_cannot_be_had_is_said() -> None:
    got = plan((0.3, 0.7), 8, 0.002, samples=(8,), problems=(100,), studies=100)
    assert got.problems == got.draws == 0 and "even 5000 problems" in got.reason and got.needed == {8: None}


@pytest.mark.parametrize("spread", sorted(SPREADS))
def test_lower_ends_are_those_of_the_test(spread: str) -> None:
    """The interval without a bootstrap: within a twelfth of its half-width of the one `difference` gives."""
    generator = np.random.default_rng(1)
    n, k, problems = 32, 8, 60
    ids = tuple(f"p{i:04d}" for i in range(problems))
    for seed in range(20):
        p = generator.beta(0.3, 0.7, problems)
        q = p**0.8 if spread == "all" else np.where(generator.random(problems) < 0.15, 1.0, p)
        a, b = (Counts(ids, generator.binomial(n, r), np.full(problems, n)) for r in (p, q))
        got = difference(a, b, [k], replicates=8000, seed=seed)
        from offleash.boundary.passk import pass_matrix

        values = (pass_matrix(b, [k]) - pass_matrix(a, [k])).T
        half = (got.point_high[0] - got.point_low[0]) / 2
        assert lower_ends(values)[0] == pytest.approx(got.point_low[0], abs=half / 12)
        assert -lower_ends(-values)[0] == pytest.approx(got.point_high[0], abs=half / 12)


@pytest.mark.parametrize(("spread", "shift"), [("all", -0.06), ("few", 0.07)])
def test_planned_power_is_real(spread: str, shift: float) -> None:
    """150 studies with the actual test, fresh problems: within 0.05 and two standard errors (6.5%). The proof has 1,000."""
    from offleash.boundary.plan import _moved

    n, k, problems = 16, 8, 150
    got = plan((0.3, 0.7), k, shift, spread=spread, samples=(n,), problems=(problems,))
    generator = np.random.default_rng(2)
    ids = tuple(f"p{i:04d}" for i in range(problems))
    found = 0
    for seed in range(150):
        p = generator.beta(0.3, 0.7, problems)
        moved = _moved(p, got.size) if spread == "all" else np.where(generator.random(problems) < got.size, 1.0, p)
        a, b = (Counts(ids, generator.binomial(n, r), np.full(problems, n)) for r in (p, moved))
        band = difference(a, b, [k], replicates=1000, seed=seed)
        found += bool(band.high[0] < 0 if shift < 0 else band.low[0] > 0)
    assert found / 150 == pytest.approx(got.table[problems, n], abs=0.05 + 2 * np.sqrt(0.25 / 150))


def test_a_pilot_gives_about_the_plan_of_the_truth() -> None:
    true = plan((0.3, 0.7), 8, -0.05, samples=(16,), problems=(100,), studies=400)
    from_pilot = plan(pilot(400), 8, -0.05, samples=(16,), problems=(100,), studies=400)
    assert from_pilot.base == pytest.approx(true.base, abs=0.06)
    assert true.needed[16] is not None and from_pilot.needed[16] is not None
    assert from_pilot.needed[16] == pytest.approx(true.needed[16], rel=0.3)
