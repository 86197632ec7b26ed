"""Sequential studies: what is drawn next, when a study stops, and what it then says."""

from __future__ import annotations

import numpy as np
import pytest

from offleash.boundary import Counts
from offleash.boundary.sequential import Draws, SequentialVerdict, next_draws, verdict_when_stopped
from offleash.boundary.stopping import FIRST, design, unseen_bound
from offleash.core import InputError

EPSILON = unseen_bound(64)


def counts(c: object, n: object) -> Counts:
    c = np.asarray(c, dtype=np.int64)
    return Counts(tuple(f"p{i:04d}" for i in range(len(c))), c, np.broadcast_to(np.asarray(n), c.shape).copy())


def study(
    p: object, q: object, epsilon: float = EPSILON, *, budget: int = 10**9, seed: int = 0, **options: object
) -> tuple[SequentialVerdict, Counts, Counts]:
    """Draw as told until it says final."""
    generator = np.random.default_rng(seed)
    rates = np.stack([np.asarray(p), np.asarray(q)])
    c = n = np.zeros(rates.shape, dtype=np.int64)
    for _ in range(100):
        a, b = counts(c[0], n[0]), counts(c[1], n[1])
        if n.min() > 0:
            verdict = verdict_when_stopped(a, b, epsilon, **options)  # type: ignore[arg-type]
            if verdict.final:
                return verdict, a, b
        draws = next_draws(a, b, budget, epsilon)
        more = np.stack([draws.a, draws.b])
        assert 0 < more.sum() <= budget
        c, n = c + generator.binomial(more, rates), n + more
    raise AssertionError("the study never ended")


def test_the_first_round_is_for_all() -> None:
    none = counts([0, 0, 0], 0)
    draws = next_draws(none, none, 10**6, EPSILON)
    assert isinstance(draws, Draws) and draws.a.tolist() == draws.b.tolist() == [FIRST] * 3
    assert draws.total == draws.wanted == 6 * FIRST


def test_decided_problems_are_left_alone() -> None:
    a, b = counts([16, 0, 3, 0], 16), counts([16, 0, 16, 0], 16)
    draws = next_draws(a, b, 10**6, EPSILON)
    assert draws.a.tolist() == [0, 16, 16, 16] and draws.b.tolist() == [0, 16, 0, 16]
    done = next_draws(counts([16, 0], [16, 64]), counts([16, 0], [16, 64]), 10**6, EPSILON)
    assert done.total == done.wanted == 0


def test_undecided_samples_are_asked_for_again() -> None:
    draws = next_draws(counts([0, 0], [13, 16]), counts([0, 0], [16, 16]), 10**6, EPSILON)
    assert draws.a.tolist() == [3, 16]  # three of the round's samples could not be judged


def test_a_short_budget_goes_to_the_open_questions() -> None:
    a, b = counts([0, 1, 0, 0], [16, 16, 16, 32]), counts([0, 0, 0, 0], [16, 16, 16, 32])
    draws = next_draws(a, b, 32, EPSILON)
    assert draws.total == 32 and draws.wanted > 32
    assert draws.a.tolist() == [0, 16, 0, 0] and draws.b.tolist() == [0, 16, 0, 0]  # solved by one alone comes first
    assert next_draws(a, b, 0, EPSILON).total == 0
    later = next_draws(a, b, 96, EPSILON)
    assert later.a[3] == 0 and later.a[:3].tolist() == [16] * 3  # who is behind comes before who is ahead


def test_bad_input() -> None:
    good = counts([1, 0], 16)
    with pytest.raises(InputError, match="budget: -1"):
        next_draws(good, good, -1, EPSILON)
    with pytest.raises(InputError, match=r"epsilon: 0\.7 is no rate"):
        next_draws(good, good, 10, 0.7)
    with pytest.raises(InputError, match="id: the two sides hold different problems"):
        next_draws(good, counts([1, 0, 0], 16), 10, EPSILON)
    with pytest.raises(InputError, match=r"n: problem 'p0001' of b has no sample"):
        verdict_when_stopped(good, counts([1, 0], [16, 0]), EPSILON)
    with pytest.raises(InputError, match=r"n: problem 'p0000' of a has 500 samples and the rule stops at 128"):
        verdict_when_stopped(counts([1, 0], [500, 16]), good, EPSILON)
    with pytest.raises(InputError, match=r"c: problem 'p0000' of a was solved in 32 of 32 .* give first = the samples"):
        next_draws(counts([32, 0], 32), counts([0, 0], 32), 10, EPSILON)
    with pytest.raises(InputError, match=r"settled: 0\.2"):
        verdict_when_stopped(good, good, EPSILON, settled=0.2)
    with pytest.raises(InputError, match="margin: 2"):
        verdict_when_stopped(good, good, EPSILON, margin=2.0)


def test_a_study_that_lost_a_third() -> None:
    generator = np.random.default_rng(4)
    p = generator.beta(1, 2, 90)
    q = np.where(np.arange(90) % 3 == 0, 0.0, p)
    verdict, a, b = study(p, q)
    assert verdict.verdict == "shrunk" and verdict.final and verdict.high < 0
    assert len(verdict.lost) >= 10 and verdict.gained == ()
    assert set(verdict.lost) <= {f"p{i:04d}" for i in range(0, 90, 3)}
    assert verdict.draws == a.n.sum() + b.n.sum() < 0.5 * 2 * 90 * 128
    assert "shrunk" not in verdict.because or verdict.open
    assert sum(verdict.states["a"].values()) == 90
    other, _, _ = study(q, p)
    assert other.verdict == "expanded" and len(other.gained) >= 10


def test_it_stops_early_only_where_the_forecast_is_near() -> None:
    """With settled = 0.51 any study would stop at once, were the reach not bounded to twice the draws made."""
    p = np.random.default_rng(5).beta(0.3, 1, 60)
    verdict, a, b = study(p, p, settled=0.51)
    at_least = np.minimum(a.n, b.n)[(a.c == 0) & (b.c == 0)]
    assert at_least.min() >= design(EPSILON).k // 2
    assert verdict.open > 0 and "not worth its cost" in verdict.because


def test_every_problem_decided_is_certain() -> None:
    p = np.random.default_rng(6).beta(0.3, 1, 40)
    verdict, _, _ = study(p, p, settled=2.0)
    assert verdict.open == 0 and verdict.agreement == 1 and verdict.low <= verdict.value <= verdict.high


def test_the_same_counts_give_the_same_verdict() -> None:
    generator = np.random.default_rng(7)
    p = generator.beta(0.3, 1, 50)
    a, b = counts(generator.binomial(16, p), 16), counts(generator.binomial(16, p), 16)
    one, two = verdict_when_stopped(a, b, EPSILON), verdict_when_stopped(a.sorted(), b, EPSILON)
    assert one == two or (one.because, one.low, one.high) == (two.because, two.low, two.high)
    assert not one.final


def test_a_small_budget_reaches_the_same_end() -> None:
    p = np.random.default_rng(8).beta(0.5, 1, 12)
    verdict, a, _ = study(p, p, budget=200, settled=2.0)
    assert verdict.open == 0 and a.n.min() >= 16
