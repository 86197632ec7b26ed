"""Where one method becomes another, it does so exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from offleash.objectives import PRESETS, Objective, get
from offleash.objectives.checks import Example, example, gradient
from offleash.objectives.checks.example import denominator


def on(objective: Objective, e: Example) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient of an objective on the tokens and advantages of an example."""
    return gradient(objective, e.batch, denominator(objective, e.batch))[:2]


def same(one: Objective, other: Objective, e: Example, tolerance: float = 0.0) -> None:
    for a, b in zip(on(one, e), on(other, e), strict=True):
        assert torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def tokens(spread: float = 0.8, **overrides: Any) -> Example:
    return example(PRESETS["grpo"], spread=spread, **overrides)


@pytest.mark.parametrize(
    ("one", "settings", "other", "other_settings"),
    [
        ("dapo", {"epsilon_high": 0.2}, "grpo", {"reduction": "token-mean"}),
        ("dr-grpo", {"std": "sample", "reduction": "sequence-mean"}, "grpo", {}),
        ("dr-grpo", {"constant_length": 1.0}, "dr-grpo", {"reduction": "sequence-sum"}),
        ("dapo", {"epsilon_low": None, "epsilon_high": None}, "dapo", {"surrogate": "importance"}),
        ("gppo", {"boundary_low": 0.0, "boundary_high": 0.0}, "dapo", {}),
        ("gppo+nll-loss", {"nll_coef": 0.0}, "gppo", {}),
        ("clip-cov", {"clip_cov_low": 1.0, "clip_cov_high": 1.0}, "dapo", {"epsilon_low": 1.0, "epsilon_high": 1.0}),
        ("clip-cov", {"clip_cov_ratio": 0.0, "least_selected": 0}, "dapo", {"epsilon_low": 1.0, "epsilon_high": 1.0}),
        ("kl-cov", {"kl_cov_ratio": 0.0, "least_selected": 0}, "dapo", {"surrogate": "importance"}),
        ("kl-cov", {"kl_cov_beta": 0.0}, "dapo", {"surrogate": "importance"}),
        ("grpo+sft-loss", {"sft_coef": 0.0}, "grpo", {"rows": "policy"}),
        ("rl-plus", {}, "luffy", {}),  # without demonstrations
        ("rl-plus", {}, "dapo", {"epsilon_low": None, "epsilon_high": None}),
        ("luffy", {"epsilon_low": 0.2, "epsilon_high": 0.28}, "dapo", {}),
        ("gspo", {"epsilon_low": 0.1, "epsilon_high": 0.1}, "gspo-token", {"epsilon_low": 0.1, "epsilon_high": 0.1}),
    ],
)
def test_a_setting_turns_one_row_into_another(
    one: str, settings: dict[str, Any], other: str, other_settings: dict[str, Any]
) -> None:
    e = tokens()
    first, second = get(one, **settings), get(other, **other_settings)
    if "external" not in first.needs | second.needs:
        e = replace(e, batch=replace(e.batch, external=None))
    batch, _ = first.prepare(e.batch)
    same(first, second, replace(e, batch=batch), 1e-12)


@pytest.mark.parametrize("name", ["rl-plus", "luffy"])
def test_without_demonstrations_a_mixed_row_is_unclipped_dr_grpo(name: str) -> None:
    """With the deviation off and the constant length, as both are released."""
    mixed = get(name, std="none", reduction="constant-length")
    plain = get("dr-grpo", epsilon_low=None, epsilon_high=None)
    e = tokens()
    assert torch.equal(mixed.advantages(e.rewards_PG, torch.zeros_like(e.external_PG)), plain.advantages(e.rewards_PG))
    same(mixed, plain, e)


def test_rl_plus_with_the_old_policy_for_the_uniform_and_gamma_0_is_the_plain_ratio() -> None:
    e = example(PRESETS["rl-plus"], spread=0.8)
    assert e.batch.external is not None
    assert e.batch.external.any()
    ratio = get("dapo", epsilon_low=None, epsilon_high=None)
    without_flags = replace(e, batch=replace(e.batch, external=None))
    for mixed in (get("rl-plus", uniform="old", gamma=0.0), get("external-ratio")):
        for a, b in zip(on(mixed, e), on(ratio, without_flags), strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_the_exploration_weight_contributes_nothing_to_the_gradient() -> None:
    """d / d log pi of the external loss is -A r (1 - pi)^gamma; an attached weight would add a second term."""
    e = example(PRESETS["rl-plus"], reduction="constant-sum", constant_length=1.0)
    _, grad, _, _ = gradient(e.objective, e.batch, e.denominator)
    assert e.batch.external is not None
    demo = e.batch.external[:, None] & e.batch.mask
    attached, pi = grad[demo], e.batch.logprobs.exp()[demo]
    old = e.batch.require("old_logprobs").exp()[demo]
    adv = e.batch.advantages_NT.expand_as(demo)[demo]
    expected = -adv * 2 * pi / (1.5 * old + 0.5 / e.batch.vocab_size) * (1 - pi) ** 0.5
    assert torch.allclose(attached, expected, rtol=1e-12, atol=1e-12)


def test_luffy_with_much_shaping_is_the_policy_itself_as_ratio() -> None:
    """f scaled by gamma -> infinity: the mixed-policy objective, whose value and weight are pi."""
    e = example(PRESETS["luffy"])
    assert e.batch.external is not None
    demos = e.batch.rows(e.batch.external)
    large = 1e9
    objective = get("luffy", shaping=large, reduction="sequence-sum")
    loss, grad, _, _ = gradient(objective, demos, denominator(objective, demos))
    pi = torch.where(demos.mask, demos.logprobs.exp(), 0.0)
    n = demos.mask.any(1).sum()
    assert torch.allclose(large * grad, -demos.advantages_NT * pi / n, rtol=1e-8)
    assert torch.allclose(large * loss, (-demos.advantages_NT * pi).sum() / n, rtol=1e-8)


def test_lambda_of_w_reinforce() -> None:
    """1 is REINFORCE with rewards +1 and -1, 0 is NSR bit for bit, and NSR plus lambda PSR is W-REINFORCE."""
    e = tokens()
    signs = get("reinforce").advantages(2.0 * e.rewards_PG - 1.0)
    assert torch.equal(get("w-reinforce", positive_weight=1.0).advantages(e.rewards_PG), signs)
    zero = get("w-reinforce", positive_weight=0.0)
    assert torch.equal(zero.advantages(e.rewards_PG), get("nsr").advantages(e.rewards_PG))
    adv = get("nsr").advantages(e.rewards_PG)
    same(zero, get("nsr"), e.with_advantages(adv.flatten()))
    mixed = adv + 0.1 * get("psr").advantages(e.rewards_PG)
    assert torch.allclose(get("w-reinforce").advantages(e.rewards_PG), mixed)


def test_nsr_on_a_batch_that_is_right_throughout_does_nothing() -> None:
    e = tokens()
    e = e.with_advantages(get("nsr").advantages(torch.ones_like(e.rewards_PG)).flatten())
    loss, grad = on(get("nsr"), e)
    assert loss == 0
    assert (grad == 0).all()


def test_grpo_n_has_no_gradient_from_samples_at_or_above_their_groups_mean() -> None:
    e = example(PRESETS["grpo-n"], spread=0.8)
    _, grad = on(e.objective, e)
    full = get("grpo").advantages(e.rewards_PG).flatten()
    assert (grad[full >= 0] == 0).all()
    assert (grad[full < 0].abs().sum(1) > 0).sum() > 1


def test_dr_grpo_equals_rloo_up_to_g_over_g_minus_1() -> None:
    e = tokens()
    group = e.rewards_PG.shape[1]
    centred, others = (get(n).advantages(e.rewards_PG) for n in ("dr-grpo", "rloo"))
    assert torch.allclose(others, centred * group / (group - 1), rtol=1e-12)


def test_dr_grpo_weighs_a_token_the_same_at_any_length_and_scales_with_the_reward() -> None:
    e = tokens(spread=0.0)
    objective = get("dr-grpo")
    e = e.with_advantages(torch.ones_like(e.batch.advantages))
    _, grad = on(objective, e)
    assert grad[e.batch.mask].unique().numel() == 1
    scaled = objective.advantages(10.0 * e.rewards_PG)
    assert torch.allclose(scaled, 10.0 * objective.advantages(e.rewards_PG))
    _, grad_grpo = on(get("grpo"), e)
    assert grad_grpo[e.batch.mask].unique().numel() > 1


def test_equal_lengths_make_token_mean_sequence_mean() -> None:
    e = tokens()
    full = replace(e, batch=replace(e.batch, mask=torch.ones_like(e.batch.mask)))
    same(get("grpo", reduction="token-mean"), get("grpo"), full, 1e-12)


def test_gspo_of_one_token_is_grpo_and_opposite_ratios_cancel() -> None:
    bounds = {"epsilon_low": 0.2, "epsilon_high": 0.2}
    one = tokens(tokens=1)
    same(get("gspo", **bounds), get("grpo", **bounds), one, 1e-12)
    e = tokens(tokens=2)
    step = torch.tensor([[0.7, -0.7]], dtype=torch.float64)
    batch = replace(e.batch, old_logprobs=e.batch.logprobs + step, mask=torch.ones_like(e.batch.mask))
    _, grad = on(get("gspo"), replace(e, batch=batch))
    assert torch.allclose(grad[:, 0], grad[:, 1])
    assert (grad[:, 0] != 0).any()


def test_gspo_clips_a_whole_completion() -> None:
    e = tokens(spread=0.0)
    batch = replace(e.batch, old_logprobs=e.batch.logprobs - 1e-3)  # s = exp(1e-3), above 1 + 4e-4
    _, grad = on(get("gspo"), replace(e, batch=batch))
    positive = (e.batch.advantages > 0) & e.batch.mask.any(1)
    assert (grad[positive] == 0).all()
    assert (grad[(e.batch.advantages < 0) & e.batch.mask.any(1)].abs().sum(1) > 0).all()


def test_gspo_token_takes_an_advantage_for_each_token_and_gspo_refuses_it() -> None:
    from offleash.core import InputError

    e = tokens()
    per_token = e.batch.advantages_NT * torch.linspace(0.5, 1.5, e.batch.mask.shape[1], dtype=torch.float64)
    e = e.with_advantages(per_token)
    assert on(get("gspo-token"), e)[1].abs().sum() > 0
    with pytest.raises(InputError, match="gspo-token"):
        on(get("gspo"), e)


def test_gppo_has_the_value_of_dapo_at_any_ratio() -> None:
    for seed in range(5):
        e = example(PRESETS["gppo"], seed=seed, spread=3.0)
        assert torch.allclose(on(get("gppo"), e)[0], on(get("dapo"), e)[0], rtol=1e-12)


def test_an_advantage_per_token_equal_over_a_row_is_an_advantage_per_row() -> None:
    for name, preset in PRESETS.items():
        if name in ("gspo", "gspo-n"):
            continue
        e = example(preset)
        repeated = e.with_advantages(e.batch.advantages_NT.expand_as(e.batch.mask).clone())
        same(e.objective, e.objective, repeated)
        for a, b in zip(on(e.objective, e), on(e.objective, repeated), strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_logits_move_as_the_lemma_says() -> None:
    """NSR on one wrong token: its logit falls by 1 - pi_y, every other rises by pi_v (arXiv 2506.01347, as coded).
    RL-PLUS on a right demonstration: its logit rises, all others fall."""
    for name, reward, sign in (("nsr", 0.0, -1.0), ("rl-plus", 1.0, 1.0)):
        logits = torch.tensor([0.3, -1.2, 0.8, 2.0], dtype=torch.float64, requires_grad=True)
        logp, token = logits.log_softmax(0), 2
        e = tokens(prompts=1, group=2, tokens=1)
        objective = get(name, reduction="sequence-sum")
        batch = replace(
            e.batch.rows(slice(0, 1)),
            logprobs=logp[token].reshape(1, 1),
            old_logprobs=logp[token].detach().reshape(1, 1),
            mask=torch.ones(1, 1, dtype=torch.bool),
            advantages=torch.tensor([-1.0 if reward == 0.0 else 0.5], dtype=torch.float64),
            external=torch.tensor([name == "rl-plus"]),
            entropy=None,
        )
        loss, _ = objective.loss(batch, denominator(objective, batch))
        move = -torch.autograd.grad(loss, logits)[0]
        others = [0, 1, 3]
        pi = logp.detach().exp()
        assert sign * move[token] > 0
        assert (sign * move[others] < 0).all()
        assert torch.allclose(move[others] / move[0], pi[others] / pi[0])
        if name == "nsr":
            assert torch.allclose(move[others], pi[others])
            assert move[token].item() == pytest.approx(-(1.0 - pi[token].item()))


# --------------------------------------------------------------------------- rows over groups, tokens and the engine


@pytest.mark.parametrize(
    ("one", "settings", "other", "other_settings"),
    [
        ("hicra", {"planning_alpha": 0.0}, "grpo", {"std": "none", "epsilon_high": 0.28}),
        ("80-20", {"entropy_fraction": 1.0}, "dapo", {}),
        ("80-20", {"entropy_fraction": 1.0, "rows": "selected"}, "dapo", {}),
        ("skywork-or1", {"entropy_target": 1e-9}, "grpo", {"reduction": "token-mean"}),  # never below the target
        ("skywork-or1", {"entropy_delta": 0.0, "entropy_target": 9.0}, "grpo", {"reduction": "token-mean"}),
        ("grpo+entropy-bonus", {"entropy_coef": 0.0}, "grpo", {}),
        ("prorl", {"kl_beta": 0.0, "epsilon_high": 0.28}, "dapo", {}),
        ("grpo+tis", {"mismatch": "none"}, "grpo", {}),
        (
            "icepop",
            {"mismatch_low": None, "mismatch_high": None, "mismatch": "geometric-mask"},
            "grpo",
            {"reduction": "token-mean"},
        ),
        ("scale-rl", {"reduction": "token-mean"}, "cispo", {}),
        ("mixed-policy", {}, "grpo", {"reduction": "token-mean"}),  # without demonstrations
    ],
)
def test_a_setting_turns_a_row_over_tokens_into_another(
    one: str, settings: dict[str, Any], other: str, other_settings: dict[str, Any]
) -> None:
    e = tokens()
    first, second = get(one, **settings), get(other, **other_settings)
    batch, _ = first.prepare(replace(e.batch, external=None) if "external" not in first.needs else e.batch)
    same(first, second, replace(e, batch=batch), 1e-15)


@pytest.mark.parametrize(
    ("one", "settings", "other", "other_settings"),
    [
        ("pass-at-k", {"pass_k": 1}, "grpo", {"std": "population"}),
        ("pass-at-k-policy-gradient", {"pass_k": 1}, "dr-grpo", {}),
        ("pkpo", {"pass_k": 1}, "rloo", {}),
        ("unlikeliness", {"unlikeliness_beta": 0.0}, "grpo", {}),
        ("outcome-batch", {"bonus": 0.0}, "grpo", {}),
        ("outcome-ucb", {"bonus": 0.0}, "grpo", {}),
        ("darling", {"least_diversity": 1.0}, "dr-grpo", {}),
        ("dro", {"token_weight": "uniform", "reward_weight": 1e9, "std_epsilon": 0.0}, "grpo", {"std_epsilon": 0.0}),
    ],
)
def test_a_setting_turns_an_advantage_into_another(
    one: str, settings: dict[str, Any], other: str, other_settings: dict[str, Any]
) -> None:
    e = example(PRESETS["grpo"], prompts=6, group=8)
    tolerance = 1e-6 if one in ("dro", "pass-at-k") else 1e-12  # a finite weight; another place for std_epsilon
    found, expected = e.advantages(objective=get(one, **settings)), e.advantages(objective=get(other, **other_settings))
    assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_the_trajectory_alone_is_the_group_relative_advantage() -> None:
    e = example(PRESETS["grpo"])
    assert e.group.step_mask_PGS is not None
    for name, std in (("rlvmr", "population"), ("gigpo", "none")):
        adv_PGS = e.advantages(objective=get(name, step_weight=0.0, trajectory_weight=1.0))
        expected_PG = e.advantages(objective=get("grpo", std=std))
        assert torch.equal(adv_PGS, torch.where(e.group.step_mask_PGS, expected_PG[..., None], 0.0))


def test_the_mean_reward_times_max_rl_is_the_centred_reward() -> None:
    e = example(PRESETS["grpo"])
    mean_P1 = e.rewards_PG.mean(1, keepdim=True)
    found = mean_P1 * e.advantages(objective=get("max-rl"))
    assert torch.allclose(found, e.advantages(objective=get("dr-grpo")), atol=1e-15)


def test_bnpo_at_one_success_rate_is_the_centred_reward() -> None:
    e = example(PRESETS["grpo"])
    equal_PG = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    assert torch.equal(e.advantages(equal_PG, get("bnpo")), e.advantages(equal_PG, get("dr-grpo")))


def test_tokens_of_equal_lengths_weigh_as_samples() -> None:
    e = example(PRESETS["grpo"])
    e = replace(e, group=replace(e.group, lengths_PG=torch.full_like(e.rewards_PG, 5, dtype=torch.long)))
    for name in ("reinforce++", "reinforce++-baseline"):
        by_token, by_sample = (e.advantages(objective=get(name, weight=w)) for w in ("tokens", "samples"))
        assert torch.allclose(by_token, by_sample, atol=1e-14)


def test_an_engine_that_agrees_needs_no_correction() -> None:
    e = tokens()
    e = replace(e, batch=replace(e.batch, engine_logprobs=e.batch.old_logprobs))
    for mismatch in ("token-truncate", "token-mask", "sequence-truncate", "sequence-mask", "geometric-mask"):
        same(get("grpo", mismatch=mismatch), get("grpo"), e)


def test_the_bonus_is_zero_where_all_answers_are_new_or_all_are_right() -> None:
    e = example(PRESETS["grpo"])
    every = torch.arange(e.rewards_PG.numel()).view_as(e.rewards_PG)
    distinct = replace(e, group=replace(e.group, answers_PG=every))
    assert torch.equal(distinct.advantages(objective=get("outcome-batch")), distinct.advantages(objective=get("grpo")))
    right_PG = torch.ones_like(e.rewards_PG)
    for name in ("outcome-batch", "outcome-ucb"):
        assert bool((e.advantages(right_PG, get(name)) == 0).all())
