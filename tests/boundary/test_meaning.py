"""Sequence and semantic entropy, and the pattern of two entropies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from offleash.boundary import answer_entropy, resample, token_entropy
from offleash.boundary.meaning import _direction, semantic_entropy, sequence_entropy, tokens_up_answers_down
from offleash.core import InputError


def test_sequence_entropy_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(20))
    truth = float(-(p * np.log(p)).sum())
    found = [sequence_entropy({"x": np.log(p)[rng.choice(20, 50, p=p)].tolist()}).value for _ in range(400)]
    assert abs(np.mean(found) - truth) < 4 * np.std(found) / 20


def test_semantic_entropy_by_hand() -> None:
    # Clusters of 5, 2 and 1 of 8: .9003 nats, whatever the labels.
    assert semantic_entropy({"x": list("aaaaabbc")}).value == pytest.approx(0.9003, abs=1e-4)
    assert semantic_entropy({"x": list("cbabaaaa")}).value == pytest.approx(0.9003, abs=1e-4)
    assert semantic_entropy({"x": ["same"] * 9}).value == 0.0
    weighted = semantic_entropy({"x": ["a", "b"]}, {"x": [math.log(0.3), math.log(0.1)]}).value
    assert weighted == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    per_token = semantic_entropy({"x": ["a", "b"]}, {"x": [-4.0, -2.0]}, lengths={"x": [2, 1]}).value
    assert per_token == pytest.approx(math.log(2))


def test_the_pattern() -> None:
    rng = np.random.default_rng(1)
    ids = [f"p{i}" for i in range(60)]
    low, high = ({i: rng.normal(m, 0.02, 8).tolist() for i in ids} for m in (0.4, 0.6))
    many = {i: rng.integers(0, 8, 32).tolist() for i in ids}
    few = {i: rng.integers(0, 2, 32).tolist() for i in ids}
    assert tokens_up_answers_down((low, high), (many, few))[0] == "tokens up, answers down"
    assert tokens_up_answers_down((high, low), (many, few))[0] == "both down"
    assert tokens_up_answers_down((low, high), (many, many))[0] == "undecided"
    found = tokens_up_answers_down((low, high), (many, few))
    assert found[1:] == (answer_entropy(many), answer_entropy(few))
    strangers = {f"q{i}": [0.6] for i in range(60)}  # of another set of problems: nothing to compare
    assert tokens_up_answers_down((low, strangers), (many, few))[0] == "undecided"


def test_a_direction_takes_six_problems() -> None:
    """Every problem the same: .50 against .51 on two problems is no pattern; six can be told from chance (2 / 64), five cannot."""
    for problems, pattern in ((2, "undecided"), (5, "undecided"), (6, "tokens up, answers down")):
        ids = [str(i) for i in range(problems)]
        tokens = {i: [0.50] * 4 for i in ids}, {i: [0.51] * 4 for i in ids}
        answers = {i: list(range(64)) for i in ids}, {i: [7] * 64 for i in ids}
        assert tokens_up_answers_down(tokens, answers)[0] == pattern
    slight = {i: [1] * 32 + [2] * 32 for i in ids}, {i: [1] * 31 + [2] * 33 for i in ids}
    assert tokens_up_answers_down(tokens, slight)[0] == "undecided"  # one unseen problem could turn such a mean


def test_constant_values_have_no_interval() -> None:
    assert resample.mean_interval(np.full(20, 0.5)) == (-math.inf, math.inf)
    got = token_entropy({str(i): [0.5] for i in range(20)})
    assert (got.value, got.low, got.high) == (0.5, 0.0, math.inf)


def test_rare_problems_do_not_make_a_direction() -> None:
    """Exactly: answer entropies fall a little in nearly all problems and rise in a share of them, so that the mean stays.

    The verdict depends on how many rare problems a set holds, so its chance is a sum over the binomial.
    """
    bound, worst = math.log(64) + 63 / 128, 0.0
    for problems in (6, 20, 60):
        for rare in (0.01, 0.03, 0.06, 0.12, 0.2, 0.4):
            for up in (bound, bound / 2):
                alarm = 0.0
                for count in range(problems + 1):
                    moves = np.where(np.arange(problems) < count, up, -rare * up / (1 - rare))
                    if _direction(moves, bound, 0.95, 0) == 0:
                        break  # with more of them the mean seen only rises
                    alarm += float(stats.binom.pmf(count, problems, rare))
                worst = max(worst, alarm)
    assert 0.005 < worst <= 0.05


@pytest.mark.parametrize("bound", [None, math.log(64) + 63 / 128])
def test_false_directions(bound: float | None) -> None:
    """At most 5%, and 2 standard errors of 150 sets (1.8%), where as many go up as down: most unchanged, or all alike, or skewed."""
    generator = np.random.default_rng(0)
    kinds = {
        "mostly constant": lambda n: np.where(generator.random(n) < 0.8, 0.0, generator.choice([-0.5, 0.5], n)),
        "two values": lambda n: generator.choice([-0.01, 0.01], n),
        "normal": lambda n: generator.normal(0, 0.3, n),
        "skewed": lambda n: np.where(generator.random(n) < 0.5, -0.01, generator.exponential(0.5, n)),
    }
    for name, draw in kinds.items():
        for problems in (6, 30):
            if bound is not None and name == "skewed":
                continue  # its mean is above 0, and so it is there
            alarms = sum(_direction(draw(problems), bound, 0.95, seed) != 0 for seed in range(150))
            assert alarms / 150 <= 0.05 + 2 * 0.018, (name, problems)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sequence_entropy({"x": [0.5]}), "problem 'x' has one that is not finite or above 0"),
        (lambda: semantic_entropy({"x": []}), "no sample"),
        (lambda: semantic_entropy({"x": ["a"]}, {"x": []}), "needs 1 finite ones"),
        (lambda: semantic_entropy({"x": ["a"]}, {"x": [-1.0]}, lengths={"x": [0]}), "of at least 1"),
    ],
)
def test_bad_input(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        call()
