"""Entropies and distinct answers: closed forms, bias, enumeration, intervals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offleash.boundary import answer_entropy, distinct_answers, entropy_of_counts, token_entropy
from offleash.core import InputError


def test_plug_in_closed_form() -> None:
    assert entropy_of_counts([5, 5, 5, 5], "plugin") == pytest.approx(math.log(4))
    assert entropy_of_counts([7, 0], "plugin") == 0
    assert entropy_of_counts([5, 5], "miller_madow") == pytest.approx(math.log(2) + 1 / 20)
    assert math.isnan(entropy_of_counts([]))


def test_chao_shen_by_hand() -> None:
    # counts 3, 1: coverage 1 - 1/4; adjusted frequencies 9/16 and 3/16
    f = np.array([9 / 16, 3 / 16])
    expected = -(f * np.log(f) / (1 - (1 - f) ** 4)).sum()
    assert entropy_of_counts([3, 1], "chao_shen") == pytest.approx(expected)
    assert np.isfinite(entropy_of_counts([1, 1, 1], "chao_shen"))
    assert entropy_of_counts([1], "chao_shen") == 0 and entropy_of_counts([9], "chao_shen") == 0


@pytest.mark.parametrize(("outcomes", "n", "best"), [(4, 32, "miller_madow"), (40, 32, "chao_shen")])
def test_corrections_reduce_the_bias(outcomes: int, n: int, best: str) -> None:
    generator = np.random.default_rng(0)
    p = np.arange(1, outcomes + 1) / np.arange(1, outcomes + 1).sum()
    truth = -(p * np.log(p)).sum()
    drawn = generator.multinomial(n, p, size=1500)
    bias = {
        m: np.mean([entropy_of_counts(x, m) for x in drawn]) - truth for m in ("plugin", "miller_madow", "chao_shen")
    }
    assert bias["plugin"] < 0 and abs(bias[best]) < 0.4 * abs(bias["plugin"])
    assert abs(bias["miller_madow"]) < abs(bias["plugin"])


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8).filter(any))
def test_entropy_is_bounded(counts: list[int]) -> None:
    plugin = entropy_of_counts(counts, "plugin")
    assert -1e-12 <= plugin <= math.log(sum(c > 0 for c in counts)) + 1e-9
    assert entropy_of_counts(counts, "miller_madow") >= plugin
    assert entropy_of_counts(counts, "chao_shen") >= -1e-12


def test_distinct_answers_by_enumeration() -> None:
    labels = ["a", "a", "a", "b", "c", None]
    for k in range(1, 7):
        expected = np.mean([len(set(s)) for s in itertools.combinations(labels, k)])
        assert distinct_answers({"p": labels}, k).value == pytest.approx(expected)
    assert distinct_answers({"p": labels}, 1).value == pytest.approx(1)
    assert distinct_answers({"p": labels}, 6).value == pytest.approx(4)


def test_distinct_answers_needs_k_samples_everywhere() -> None:
    short = distinct_answers({"p": ["a"] * 8, "q": ["a"] * 4}, 8)
    assert math.isnan(short.value) and "1 of 2 have fewer" in short.reason
    with pytest.raises(InputError, match="k: 0"):
        distinct_answers({"p": ["a"]}, 0)


def test_answer_entropy_averages_problems() -> None:
    answers = {"p": ["1", "2"] * 8, "q": ["3"] * 16, "r": [None] * 8 + ["4"] * 8}
    got = answer_entropy(answers, correction="plugin")
    assert got.value == pytest.approx(2 * math.log(2) / 3) and got.n == 3 and 0 <= got.low < got.value < got.high
    assert answer_entropy(answers).value > got.value
    with pytest.raises(InputError, match="problem 'q' has no sample"):
        answer_entropy({"q": []})
    with pytest.raises(InputError, match="unknown correction 'chao_shem'; did you mean 'chao_shen'"):
        entropy_of_counts([1, 2], "chao_shem")


def test_token_entropy_counts_every_problem_once() -> None:
    got = token_entropy({"p": [1.0, 3.0], "q": [4.0], "r": [math.nan], "s": [0.0, math.nan]})
    assert got.value == pytest.approx(2.0) and got.n == 3 and "1 problems without tokens left out" in got.method
    assert got.low <= 2 <= got.high
    one = token_entropy({"p": [1.0]})
    assert one.value == 1 and math.isnan(one.low) and one.reason
    nothing = token_entropy({"p": []})
    assert math.isnan(nothing.value) and nothing.reason
    with pytest.raises(InputError, match="problem 'p' has a negative"):
        token_entropy({"p": [-0.1]})
    alike = token_entropy(
        {"p": [1.0], "q": [1.0]}
    )  # no spread: nothing is known of other problems but that entropies are >= 0
    assert (alike.value, alike.low, alike.high) == (1, 0, math.inf)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["lognormal", "gamma", "mixed"])
def test_token_entropy_interval_covers(shape: str) -> None:
    generator = np.random.default_rng(1)
    draw, truth = {
        "lognormal": (lambda: generator.lognormal(-1, 0.8, 60), math.exp(-1 + 0.32)),
        "gamma": (lambda: generator.gamma(2, 0.2, 60), 0.4),
        "mixed": (lambda: np.where(generator.random(60) < 0.8, 0.1, 1.0), 0.28),
    }[shape]
    sets = 300
    hits = 0
    for _ in range(sets):
        got = token_entropy({str(i): [x] for i, x in enumerate(draw())}, replicates=600)
        hits += got.low <= truth <= got.high
    error = np.sqrt(0.95 * 0.05 / sets)  # 1.3%
    assert 0.92 - error <= hits / sets <= 0.98 + error
