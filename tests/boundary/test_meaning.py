"""Sequence and semantic entropy, and the pattern of two entropies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from offleash.boundary import token_entropy
from offleash.boundary.meaning import semantic_entropy, sequence_entropy, tokens_up_answers_down
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
    low, high = (token_entropy({i: rng.normal(m, 0.02, 8).tolist() for i in ids}) for m in (0.4, 0.6))
    many = {i: rng.integers(0, 8, 32).tolist() for i in ids}
    few = {i: rng.integers(0, 2, 32).tolist() for i in ids}
    assert tokens_up_answers_down((low, high), (many, few))[0] == "tokens up, answers down"
    assert tokens_up_answers_down((high, low), (many, few))[0] == "both down"
    assert tokens_up_answers_down((low, high), (many, many))[0] == "undecided"


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
