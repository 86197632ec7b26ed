"""Exact measures of enumerable policies: by hand, and their gradients by finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from offleash.core import InputError
from offleash.theory import measures
from offleash.theory.worlds import bandit, bandits, logits_of, lottery, sequences

REFERENCE = torch.tensor([[0.1, -0.4, 0.7, 0.0]], dtype=torch.float64)
TREE = sequences(3, 3, lambda y: y in {(0, 2), (1, 0, 0), (1, 1, 2)}, end=2)
WORLDS = {
    "bandit": bandit([0.0, 1.0, 0.5, 1.0]),
    "two prompts": bandits([[0.0, 1.0], [1.0, 0.2]]),
    "lottery": lottery([[1.0, 0.3, 0.0]], honest=[True, False, False]),
    "sequences": TREE,
}
MEASURES = {
    "J": measures.expected_reward,
    "success": measures.success,
    "pass@8": lambda w, z: measures.pass_at_k(w, z, 8),
    "entropy": measures.entropy,
}


def logits_for(world, seed=0):
    return torch.randn(world.contexts, world.vocab, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def finite_differences(function, logits, step=1e-6):
    grad = torch.zeros_like(logits)
    for place in range(logits.numel()):
        moved = []
        for sign in (1, -1):
            other = logits.clone()
            other.view(-1)[place] += sign * step
            moved.append(float(function(other)))
        grad.view(-1)[place] = (moved[0] - moved[1]) / (2 * step)
    return grad


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("world", WORLDS)
def test_gradients_against_finite_differences(world, measure):
    w, function = WORLDS[world], MEASURES[measure]
    logits = logits_for(w)
    exact = measures.gradient(function, w, logits)
    assert torch.allclose(exact, finite_differences(lambda z: function(w, z).sum(), logits), atol=1e-8)
    assert float(exact.sum(-1).abs().max()) < 1e-12  # a softmax does not see a shift of its logits


def test_kl_against_finite_differences_and_zero_at_the_reference():
    w = WORLDS["bandit"]
    logits = logits_for(w)
    exact = measures.gradient(lambda world, z: measures.kl(world, z, REFERENCE), w, logits)
    assert torch.allclose(exact, finite_differences(lambda z: measures.kl(w, z, REFERENCE).sum(), logits), atol=1e-8)
    assert float(measures.kl(w, REFERENCE, REFERENCE).abs().max()) < 1e-15


@pytest.mark.parametrize("world", WORLDS)
def test_probabilities_sum_to_one(world):
    w = WORLDS[world]
    p = measures.probabilities(w, logits_for(w))
    assert torch.allclose(p.sum(-1), torch.ones_like(p.sum(-1)), atol=1e-14)


def test_by_hand():
    world = bandit([0.0, 1.0, 1.0])
    logits = logits_of([[0.5, 0.3, 0.2]])
    assert float(measures.success(world, logits)) == pytest.approx(0.5)
    assert float(measures.pass_at_k(world, logits, 3)) == pytest.approx(0.875)
    assert float(measures.entropy(world, logits)) == pytest.approx(-sum(p * math.log(p) for p in (0.5, 0.3, 0.2)))
    assert measures.support(world, logits, 0.25)[0].tolist() == [False, True, False]
    right, wrong = measures.conditional_entropies(world, logits)
    assert float(right) == pytest.approx(-(0.6 * math.log(0.3) + 0.4 * math.log(0.2)))
    assert float(wrong) == pytest.approx(-math.log(0.5))


def test_sequences_stop_at_the_end():
    assert TREE.outcomes == 15 and TREE.contexts == 7
    assert TREE.mask_MT.sum(1).tolist() == [1, 2, 2, 3, 3, 3, 3, *[3] * 8]
    assert int(TREE.correct_PM.sum()) == 3
    assert sequences(2, 2, lambda y: True).outcomes == 4


def test_a_lottery_is_rewarded_by_luck():
    world = lottery([[1.0, 0.25, 0.0]], honest=[True, False, False])
    logits = logits_of([[0.2, 0.4, 0.4]])
    assert float(measures.expected_reward(world, logits)) == pytest.approx(0.3)
    assert float(measures.success(world, logits)) == pytest.approx(0.2)  # a lucky guess is no solution
    assert float(measures.entropy(world, logits)) == pytest.approx(-(0.2 * math.log(0.2) + 0.8 * math.log(0.4)))


@pytest.mark.parametrize("bad", [[0.5, 0.6], [1.0, 0.0], [1.2, -0.2]])
def test_starts_are_distributions(bad):
    with pytest.raises(InputError, match="start"):
        logits_of([bad])


def test_rates_are_probabilities():
    with pytest.raises(InputError, match="rates"):
        lottery([[1.5, 0.0]], honest=[True, False])
