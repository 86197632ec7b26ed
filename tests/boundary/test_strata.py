"""Strata: exact values, no regression to the mean, intervals that hold together."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from offleash.boundary import Counts, by_difficulty, by_label, difference, pass_at_k
from offleash.core import InputError, rng

P, N, K = 100, 32, 8


def counts(rate: np.ndarray, generator: np.random.Generator, n: int = N) -> Counts:
    return Counts(tuple(f"{i:04d}" for i in range(len(rate))), generator.binomial(n, rate), np.full(len(rate), n))


def test_one_label_is_the_whole() -> None:
    generator = rng.stream("strata whole")
    rate = generator.beta(0.3, 1, P)
    a, b = counts(rate, generator), counts(rate**0.8, generator)
    (only,) = by_label(a, b, dict.fromkeys(a.ids, "all"), K)
    whole = difference(a, b, [K])
    assert only.difference.value == pytest.approx(whole.at(K)[0], abs=1e-12)
    assert (only.difference.low, only.difference.high) == pytest.approx(
        (whole.point_low[0], whole.point_high[0]), abs=0.004
    )
    assert only.problems == P


def test_labels_are_kept_apart() -> None:
    ids = ("a", "b", "c", "d")
    a, b = Counts(ids, np.array([0, 4, 2, 2]), np.full(4, 4)), Counts(ids, np.array([4, 0, 2, 2]), np.full(4, 4))
    left, moved, right = by_label(a, b, {"a": "new", "b": "old", "c": "left", "d": "left"}, 1)
    assert [s.name for s in (left, moved, right)] == ["left", "new", "old"]
    assert [s.difference.value for s in (left, moved, right)] == [0, 1, -1]
    assert (moved.difference.low, moved.difference.high) == (-1, 1)  # one problem says nothing of a population


@pytest.mark.parametrize("c", range(7))
def test_halving_by_hand(c: int) -> None:
    """Every way to choose 3 of 6 samples, in exact fractions; strata 0 and above."""
    samples, k = [1] * c + [0] * (6 - c), 2
    inside, solved = Fraction(0), Fraction(0)
    ways = list(combinations(range(6), 3))
    for chosen in ways:
        rest = [samples[i] for i in range(6) if i not in chosen]
        if not any(samples[i] for i in chosen):
            inside += Fraction(1, len(ways))
            pairs = list(combinations(rest, k))
            solved += Fraction(sum(any(pair) for pair in pairs), len(pairs) * len(ways))
    one = Counts(("x",), np.array([c]), np.array([6]))
    zero, above = by_difficulty(one, one, k, edges=(0.0,))
    assert zero.problems == pytest.approx(float(inside), abs=1e-12)
    assert zero.problems + above.problems == pytest.approx(1)
    if inside:
        assert zero.pass_a == pytest.approx(float(solved / inside), abs=1e-12)
        assert zero.pass_b == pytest.approx(float(pass_at_k(c, 6, k)), abs=1e-12)


def test_no_regression_to_the_mean() -> None:
    """Two runs of one model: sorting and measuring on the same counts finds a gain on the hardest, ours does not."""
    generator = rng.stream("strata regression")
    rate = generator.beta(0.3, 3, 4000)
    a, b = counts(rate, generator), counts(rate, generator)
    hard = a.take(a.c == 0), b.take(a.c == 0)
    naive = float((pass_at_k(hard[1].c, N, K) - pass_at_k(hard[0].c, N, K)).mean())
    found = by_difficulty(a, b, K)
    assert naive > 0.03
    for stratum in found:
        assert abs(stratum.difference.value) < 0.01
        assert stratum.difference.low <= 0 <= stratum.difference.high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "few"),
    [
        ("none", True),
        pytest.param("none", False, marks=pytest.mark.prove),
        pytest.param("hard gain, easy lose", False, marks=pytest.mark.prove),
    ],
)
def test_intervals_hold_together(kind: str, few: bool) -> None:
    """95% for all strata at once: at least 93% of 300 sets (standard error 1.3%), also with 30 problems."""
    generator = rng.stream("strata coverage", kind, few)

    def other(rate: np.ndarray) -> np.ndarray:
        return rate if kind == "none" else np.where(rate < 0.1, rate * 2, rate * 0.7)

    many = generator.beta(0.3, 1.5, 400_000)
    first = generator.binomial(N // 2, many) / (N // 2)
    moved = (1 - many) ** K - (1 - other(many)) ** K
    strata = np.searchsorted([0.0, 0.1, 0.5], first, side="left")
    truth = [float(moved[strata == s].mean()) for s in range(4)]
    size, sets, held = 30 if few else P, 300, 0
    for at in range(sets):
        rate = generator.beta(0.3, 1.5, size)
        found = by_difficulty(counts(rate, generator), counts(other(rate), generator), K, seed=at, replicates=1000)
        held += all(
            s.problems == 0 or s.difference.low <= t <= s.difference.high for s, t in zip(found, truth, strict=True)
        )
    assert held / sets >= 0.93


def test_bad_input() -> None:
    generator = rng.stream("strata bad")
    a = counts(np.full(4, 0.5), generator, 8)
    with pytest.raises(InputError, match=r"labels: problem '0001' has none \(3 in all\)"):
        by_label(a, a, {"0000": "x"}, 1)
    with pytest.raises(InputError, match="k: 5; half of a's samples sort the problems"):
        by_difficulty(a, a, 5)
    with pytest.raises(InputError, match="k: 9; problem '0000' has 8 samples"):
        by_label(a, a, dict.fromkeys(a.ids, "x"), 9)
    with pytest.raises(InputError, match="edges"):
        by_difficulty(a, a, 2, edges=(0.5, 0.1))
