"""pass@k beyond n: the model's guess, the bounds that do without it, and the refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from offleash.boundary import Counts, curve
from offleash.boundary.extrapolate import BetaZero, extrapolate
from offleash.core import InputError


def counts(c: object, n: object) -> Counts:
    c = np.asarray(c, dtype=np.int64)
    return Counts(tuple(f"p{i:04d}" for i in range(len(c))), c, np.broadcast_to(np.asarray(n), c.shape).copy())


def drawn(p: object, n: int, seed: int = 0) -> Counts:
    return counts(np.random.default_rng(seed).binomial(n, p), n)


def test_model_by_hand() -> None:
    # Beta(1, 1): E[(1 - p)^k] = 1 / (k + 1)
    assert BetaZero(0.0, 1.0, 1.0).pass_at(3) == pytest.approx(0.75)
    assert BetaZero(0.2, 1.0, 1.0).pass_at(3) == pytest.approx(0.6)


def test_a_right_model_foresees() -> None:
    generator = np.random.default_rng(1)
    p = np.where(generator.random(600) < 0.15, 0.0, generator.beta(0.3, 0.7, 600))
    got = extrapolate(drawn(p, 64), [128, 512])
    assert all(e.reason == "" for e in got.curve.values())
    truth = {k: float(np.mean(1 - (1 - p) ** k)) for k in (128, 512)}
    for k, e in got.curve.items():
        assert e.low < truth[k] < e.high and e.value == pytest.approx(truth[k], abs=0.03)
        assert got.bounds[k][0] >= e.low and got.bounds[k][1] <= e.high
    assert got.curve[128].high - got.curve[128].low < got.curve[512].high - got.curve[512].low  # doubt grows with k / n
    assert [h.factor for h in got.hold_out] == [2, 4, 8] and all(abs(h.error) < 0.03 for h in got.hold_out)
    assert 0.01 < got.fit_p <= 1 and got.model.zeros == pytest.approx(0.15, abs=0.1)


def test_the_bounds_meet_the_estimate_at_n() -> None:
    """Just beyond n nothing is extrapolated yet: the bounds are about the interval of `curve`."""
    p = np.random.default_rng(2).beta(0.3, 1.0, 200)
    seen = drawn(p, 32)
    got, at_n = extrapolate(seen, [33]).bounds[33], curve(seen, [32], replicates=2000)[32]
    assert got[0] == pytest.approx(at_n.low, abs=0.03) and got[1] == pytest.approx(at_n.high, abs=0.05)


def test_trap_a_rare_class_fools_the_model_but_not_the_bounds() -> None:
    """One problem in five is solved at 0.3 / n: after 8 n draws nearly all are solved, and the model foresees none of it."""
    n, problems = 64, 400
    p = np.where(np.arange(problems) % 5 == 0, 0.3 / n, 0.5)
    truth = float(np.mean(1 - (1 - p) ** (8 * n)))
    got = extrapolate(drawn(p, n, seed=3), [8 * n])
    assert got.model_interval[8 * n][1] < truth - 0.05
    assert got.bounds[8 * n][0] < truth < got.bounds[8 * n][1] + 1e-9
    e = got.curve[8 * n]
    assert math.isnan(e.value) and math.isnan(e.low) and e.reason


def test_what_is_refused() -> None:
    p = np.random.default_rng(4).beta(0.3, 0.7, 200)
    far = extrapolate(drawn(p, 16), [32, 129])
    assert "beyond 8 times the least n (16)" in far.curve[129].reason and 129 not in far.bounds
    assert far.curve[32].reason == ""
    sharp = extrapolate(counts([0] * 50 + [20] * 50, 32), [64])
    assert "50 problems are unsolved and only 0 were solved 1 to 4 times" in sharp.curve[64].reason
    assert sharp.bounds[64][0] == pytest.approx(0.5, abs=0.12) and sharp.bounds[64][1] > 0.55


def test_all_or_none_solved() -> None:
    every = extrapolate(counts([16] * 40, 16), [32])
    assert every.curve[32].reason == "" and every.curve[32].value == pytest.approx(1, abs=1e-3)
    assert every.curve[32].high == 1 and every.curve[32].low > 0.9
    none = extrapolate(counts([0] * 40, 16), [32])
    assert "40 problems are unsolved" in none.curve[32].reason and none.bounds[32][0] == pytest.approx(0, abs=1e-3)
    # two solves in 640 draws would have been likely at a rate above the bound
    assert 0.04 < none.bounds[32][1] < 0.25


def test_unequal_samples() -> None:
    generator = np.random.default_rng(5)
    p, n = generator.beta(0.4, 0.8, 150), np.where(np.arange(150) % 2 == 0, 32, 48)
    got = extrapolate(counts(generator.binomial(n, p), n), [64, 256])
    truth = float(np.mean(1 - (1 - p) ** 64))
    assert got.curve[64].low < truth < got.curve[64].high
    assert got.hold_out[0].observed == pytest.approx(np.mean(1 - (1 - p) ** n), abs=0.06)


def test_a_wider_level_is_wider() -> None:
    seen = drawn(np.random.default_rng(6).beta(0.3, 1.0, 80), 32)
    narrow, wide = (extrapolate(seen, [64], level=level).bounds[64] for level in (0.8, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_bounds_are_the_likelihood_set_of_a_coin() -> None:
    """One draw more than two: where every problem is p = 1/2 or so, the binomial likelihood interval lies inside."""
    seen = drawn(np.full(60, 0.5), 2, seed=7)
    low, high = extrapolate(seen, [3]).bounds[3]
    share = float((seen.c > 0).mean())
    assert low < share and high <= 1 and low < 1 - 0.5**3 < high


@pytest.mark.slow
def test_the_expected_split_is_the_mean_over_splits() -> None:
    from offleash.boundary.extrapolate import _hold_out

    seen = drawn(np.random.default_rng(8).beta(0.3, 0.7, 300), 32)
    exact = _hold_out(seen, 2)
    generator = np.random.default_rng(9)
    errors = []
    for _ in range(6):
        half = counts(generator.hypergeometric(seen.c, seen.n - seen.c, 16), 16)
        errors.append(float(extrapolate(half, [32]).model.pass_at(32)) - float((seen.c > 0).mean()))
    assert exact.error == pytest.approx(np.mean(errors), abs=0.01)
    assert exact.observed == pytest.approx(float((seen.c > 0).mean()))
    assert stats.hypergeom(32, 5, 16).mean() == pytest.approx(2.5)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"n: problem 'p0001' has 1 decided samples; give at least 2"):
        extrapolate(counts([1, 0], [4, 1]))
    with pytest.raises(InputError, match=r"k: 16 is within the samples \(least n is 16\)"):
        extrapolate(counts([1, 0], 16), [16])
    with pytest.raises(InputError, match="level: 2"):
        extrapolate(counts([1, 0], 16), level=2.0)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [False, True])
def test_the_bounds_cover(wrong: bool) -> None:
    """10 sets of 100 problems at 4 n: at most one misses, model right or wrong. The proof has 200 sets of more cases."""
    generator = np.random.default_rng(10)
    n, problems, inside = 32, 100, 0
    rare = lambda size: np.where(generator.random(size) < 0.3, 0.3 / n, generator.beta(2, 3, size))  # noqa: E731
    smooth = lambda size: generator.beta(0.3, 3, size)  # noqa: E731
    draw = rare if wrong else smooth
    truth = float(np.mean(1 - (1 - draw(1_000_000)) ** (4 * n)))
    for seed in range(10):
        low, high = extrapolate(drawn(draw(problems), n, seed=seed), [4 * n]).bounds[4 * n]
        inside += low <= truth <= high
    assert inside >= 9
