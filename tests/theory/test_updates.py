"""The update on enumerable policies is the trainer's own: against the contract's enumeration, and by sampling."""

from __future__ import annotations

import pytest
import torch

from offleash.core import InputError
from offleash.objectives import PRESETS, get
from offleash.objectives.checks import expectation as contract
from offleash.objectives.preset import build
from offleash.theory.expectation import (
    expected_update,
    multiset_probabilities,
    multisets,
    sampled_update,
    stratified_update,
)
from offleash.theory.measures import expected_reward, gradient, kl
from offleash.theory.updates import independent, update
from offleash.theory.worlds import bandit, bandits, logits_of, sequences

TREE = sequences(3, 3, lambda y: y in contract.RIGHT, end=contract.END)
# The contract's mean gradient holds the entropy fixed, so a bonus differs; and it names answers and clusters in its own way.
OTHER_ANNOTATIONS = {"grpo+entropy-bonus", "outcome-batch", "outcome-ucb", "darling"}
SMALL = bandit([1.0, 0.0, 1.0])
POLICY = logits_of([[0.5, 0.3, 0.2]])


def shown(name):
    preset = PRESETS[name]
    return build(preset, **preset.claims.shown_at), preset.claims.smallest_group


# All tokens of one-token answers have the same entropy: which of them 80-20 takes depends on their order.
TIES = {"80-20"}
QUICK = {"grpo", "dr-grpo", "dapo", "rloo", "reinforce", "nsr", "grpo-n", "gspo", "kl-cov", "max-rl"}


def works_alone(name):
    return not get(name).needs_external and name not in TIES


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.prove) for n in sorted(set(PRESETS) - OTHER_ANNOTATIONS)],
)
def test_the_mean_update_is_that_of_the_contract(name):
    """Two enumerations, one of groups in turn and one of all at once, of fifteen completions of up to three tokens."""
    objective, group = shown(name)
    world = contract.world()
    policy = contract.logits(world)
    expected = contract.mean_sampled_gradient(objective, world, policy, group)
    assert torch.allclose(expected_update(objective, TREE, policy, group), expected, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(filter(works_alone, PRESETS)))
def test_sampled_updates_average_to_the_exact_one(name):
    """Within 4 standard errors in every logit; and the moves of a context's logits sum to 0."""
    objective, group = shown(name)
    group = max(group, 3)
    exact = expected_update(objective, SMALL, POLICY, group)
    draws = 4000 if independent(objective, SMALL, group) else 120
    got = sampled_update(objective, SMALL, POLICY, group, draws, seed=1)
    assert bool(((got.mean_SV - exact).abs() <= 4 * got.error_SV + 1e-12).all())
    assert abs(float(exact.sum())) < 1e-12 and abs(float(got.mean_SV.sum())) < 1e-12


def test_strata_average_to_the_exact_update_with_less_error():
    world = bandit([1.0, 0.0, 0.0, 0.0, 0.0])
    logits = logits_of([[0.05, 0.35, 0.3, 0.2, 0.1]])
    exact = expected_update(get("grpo"), world, logits, 6)
    strata, plain = (f(get("grpo"), world, logits, 6, 3000, seed=2) for f in (stratified_update, sampled_update))
    assert bool(((strata.mean_SV - exact).abs() <= 4 * strata.error_SV + 1e-12).all())
    assert float(strata.error_SV[0, 0]) < 0.5 * float(plain.error_SV[0, 0])


def test_too_many_groups_name_the_mend():
    with pytest.raises(InputError, match="stratified_update"):
        expected_update(get("grpo"), bandit([1.0] + [0.0] * 29), logits_of([[1 / 30] * 30]), 8)
    with pytest.raises(InputError, match="2 prompts"):
        expected_update(get("grpo"), bandits([[0.0, 1.0]] * 2), POLICY, 2)


def test_multisets_are_all_groups():
    groups = multisets(3, 4)
    weights = multiset_probabilities(groups, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))
    assert groups.shape == (15, 4) and float(weights.sum()) == pytest.approx(1.0, abs=1e-14)


def test_rloo_is_the_gradient_of_the_expected_reward():
    exact = gradient(expected_reward, TREE, contract.logits(contract.world()))
    assert torch.allclose(expected_update(get("rloo"), TREE, contract.logits(contract.world()), 3), exact, atol=1e-14)


def test_penalties_on_one_token_answers():
    """k2 is the gradient of KL(pi || q), k3 that of KL(q || pi), k1 nothing."""
    base = logits_of([[0.2, 0.2, 0.6]])

    def penalty(estimator):
        objective = get("rloo", kl_beta=1.0, kl_estimator=estimator)
        return expected_update(get("rloo"), SMALL, POLICY, 2) - expected_update(
            objective, SMALL, POLICY, 2, reference_SV=base
        )

    assert torch.allclose(penalty("k2"), gradient(lambda w, z: kl(w, z, base), SMALL, POLICY), atol=1e-13)
    forward = -gradient(lambda w, z: (base.softmax(-1) * z.log_softmax(-1)).sum(), SMALL, POLICY)
    assert torch.allclose(penalty("k3"), forward, atol=1e-13)
    assert float(penalty("k1").abs().max()) < 1e-13


def test_a_demonstration_stands_in_every_group():
    moved = expected_update(get("rl-plus"), SMALL, logits_of([[1e-4, 1 - 2e-4, 1e-4]]), 4, demonstration=0)
    without = expected_update(get("grpo"), SMALL, logits_of([[1e-4, 1 - 2e-4, 1e-4]]), 4)
    assert float(moved[0, 0]) > 1e-4 and float(moved[0, 0]) > 3 * float(without[0, 0])


def test_replicas_see_each_other_where_statistics_are_shared():
    together = {name: independent(get(name), SMALL, 4) for name in ("grpo", "rloo", "nsr", "reinforce++", "bnpo")}
    assert together == {"grpo": True, "rloo": True, "nsr": True, "reinforce++": False, "bnpo": False}


def test_an_answer_that_cannot_be_drawn_does_not_move():
    """p(v) = 0 gives a mean update of 0 there, to the size of p(v)."""
    logits = logits_of([[0.5, 0.5 - 1e-12, 1e-12]])
    for name in ("grpo", "grpo-n", "nsr", "rloo"):
        assert abs(float(expected_update(get(name), SMALL, logits, 4)[0, 2])) < 1e-11


def test_negative_only_ignores_what_beats_its_group():
    """Proof tests of arXiv 2510.04028's -N: no gradient from A >= 0; 0 for equal rewards, unlike NSR."""
    world = bandit([1.0, 0.0, 0.0])
    wrong = torch.tensor([[[1, 1, 2, 2]]])
    assert float(update(get("grpo-n"), world, POLICY[None], wrong).abs().max()) == 0.0
    assert float(update(get("nsr"), world, POLICY[None], wrong).abs().max()) > 0.1
    mixed = torch.tensor([[[0, 1, 1, 1]]])
    moved = update(get("grpo-n"), world, POLICY[None], mixed)[0, 0]
    pi = POLICY[0].softmax(0)
    weight = float(get("grpo").advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64))[0, 1])
    wanted = 3 / 4 * weight * (torch.tensor([0.0, 1.0, 0.0]) - pi)
    assert torch.allclose(moved, wanted, atol=1e-14)


def test_equal_rewards_move_nothing():
    same = bandit([0.7, 0.7, 0.7])
    assert float(expected_update(get("grpo"), same, POLICY, 4).abs().max()) == 0.0
