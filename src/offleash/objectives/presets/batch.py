"""Normalisation over the batch instead of the group, and recipes built on it."""

from __future__ import annotations

from dataclasses import replace

from offleash.objectives.preset import Claims, Preset, register
from offleash.objectives.presets.group import BIASED_LENGTH, BIASED_STD, GROUP_CLAIMS

_REINFORCE = "J. Hu et al., REINFORCE++, arXiv 2501.03262"
_WEIGHTED = "mean and variance are over tokens, so long completions weigh more (weight='samples' counts completions)"
_MIXED = "a group of equal rewards still differs from the batch's mean"
_BATCH_STD = "the batch's deviation, which the group itself moves, divides the advantage"

register(
    Preset(
        name="reinforce++",
        paper=_REINFORCE,
        equation="advantage normalised over the global batch",
        formula="1/|tokens| sum min(rho A, clip(rho) A); A = (R - mean) / std over the batch's tokens",
        advantage="batch-normalised",
        surrogate="ppo-clip",
        reduction="token-mean",
        deviations=(
            _WEIGHTED,
            "the paper subtracts a k1 penalty to a reference from the reward of each token; here kl_beta adds it to the"
            " loss (kl_estimator='k2' has the gradient of that penalty) and is 0 by default",
            "the variance is the population's, floored at 1e-8; verl's masked_whiten divides by n - 1",
        ),
        why_not={"unbiased_for": f"{_BATCH_STD}; {BIASED_LENGTH}", "zero_on_equal_rewards": _MIXED},
        when="one sample a prompt, or no groups at all",
        claims=Claims(policy_gradient_at_ratio_one=True),
    )
)

register(
    Preset(
        name="reinforce++-baseline",
        paper=_REINFORCE,
        equation="with the group's mean as baseline",
        formula="1/|tokens| sum min(rho A, clip(rho) A) - kl_beta k2; A = standardised over the batch's tokens (R - group mean)",
        advantage="batch-normalised",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={"baseline": "group", "kl_estimator": "k2"},
        deviations=(
            _WEIGHTED,
            "the mean over tokens is subtracted a second time, so a group of equal rewards is not at 0 (golden:"
            " R = [1, 0, 0, 0] of lengths 10 to 40 gives [3, -1/3, -1/3, -1/3])",
            "kl_beta is 0; the public configurations have 1e-4 with k2",
        ),
        why_not={"unbiased_for": f"{_BATCH_STD}; {BIASED_LENGTH}", "zero_on_equal_rewards": _MIXED},
        when="groups whose own deviation is too noisy to divide by",
        claims=Claims(shift_invariant=True, policy_gradient_at_ratio_one=True),
    )
)

register(
    Preset(
        name="prorl",
        paper="M. Liu et al., ProRL, arXiv 2505.24864",
        equation="sec. 2, the loss between two resets",
        formula="1/|tokens| sum min(rho A, clip(rho, 1-0.2, 1+0.4) A) - kl_beta k2; A = (R - mean) / std",
        advantage="group-relative",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={"epsilon_high": 0.4, "kl_beta": 1e-4, "kl_estimator": "k2"},
        deviations=(
            "the paper does not report beta; 1e-4 with k2 is that of the public configurations of its second version",
            "the paper does not say how tokens are averaged; it uses DAPO's parts, so all tokens count alike",
            "resets of the reference and of the optimizer, and dynamic sampling, belong to the trainer",
        ),
        why_not={
            "unbiased_for": f"{BIASED_STD}; {BIASED_LENGTH}",
            "zero_advantage_is_zero_gradient": "the penalty does not depend on the advantage",
        },
        when="long runs, with the reference reset when validation stalls",
        claims=replace(
            GROUP_CLAIMS, needs_ref=True, zero_advantage_is_zero_gradient=False, policy_gradient_at_ratio_one=False
        ),
    )
)

register(
    Preset(
        name="prorl-v2",
        paper="NVIDIA, Scaling LLM Reinforcement Learning with Prolonged Training Using ProRL v2 (blog), 2025",
        equation="loss of the public NeMo-RL configuration",
        formula="reinforce++-baseline with clip (0.2, 0.27), 1e-4 k2, and engine ratios outside [0.5, 5] masked",
        advantage="batch-normalised",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={
            "baseline": "group",
            "epsilon_high": 0.27,
            "kl_beta": 1e-4,
            "kl_estimator": "k2",
            "mismatch": "token-mask",
            "mismatch_low": 0.5,
            "mismatch_high": 5.0,
        },
        deviations=(
            _WEIGHTED,
            "the penalty on truncated completions and the cyclic length penalty belong to the reward",
            "version 2.1 masks whole sequences instead: mismatch='geometric-mask', low 0.999, high 1.002",
        ),
        why_not={
            "unbiased_for": f"{_BATCH_STD}; {BIASED_LENGTH}",
            "zero_on_equal_rewards": _MIXED,
            "zero_advantage_is_zero_gradient": "the penalty does not depend on the advantage",
        },
        when="prolonged training with a sampling engine that is not the trainer",
        claims=Claims(shift_invariant=True, needs_ref=True, zero_advantage_is_zero_gradient=False),
    )
)

register(
    Preset(
        name="scale-rl",
        paper="D. Khatri et al., The Art of Scaling Reinforcement Learning Compute for LLMs, arXiv 2510.13786",
        equation="the ScaleRL loss, sec. 5",
        formula="1/P sum_prompts 1/|tokens of prompt| sum sg(min(rho, cap)) A log pi; A = (R - mean) / std of the batch",
        advantage="batch-std",
        surrogate="cispo",
        reduction="prompt-mean",
        deviations=(
            "the cap is 1 + epsilon_high = 5; the paper finds 4, 5 and 8 alike",
            "rho is the trainer's over the generator's probability there; here over old_logprobs, whoever scored them",
            "the paper's condition 0 < mean(R) < 1 is meant as variance above 0 (its rewards are -1 and 1)",
            "dropping flat groups and prompts solved above 0.9, and forced endings, belong to the trainer",
        ),
        why_not={"unbiased_for": f"{_BATCH_STD}; {BIASED_LENGTH}"},
        when="large asynchronous runs",
        claims=replace(GROUP_CLAIMS, scale_invariant=False, differentiable_value=False),
    )
)

register(
    Preset(
        name="bnpo",
        paper="C. Xiao et al., BNPO: Beta Normalization Policy Optimization, arXiv 2506.02864",
        equation="A(q, o) = (R - p(q)) / f(p(q); 1 + a/3, 1 + b/3)",
        formula="1/N sum_i 1/|o_i| sum_t min(rho A, clip(rho) A); A = (R - p) / Beta density at p",
        advantage="beta-normalised",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        deviations=(
            "the paper's text was not at hand: the formula is from its abstract and from memory of its theorem; the"
            " clip and the reduction are GRPO's",
            "TRL's loss_type 'bnpo' is another thing: GRPO's advantage with a token mean over the local batch"
            " (grpo with reduction='token-mean')",
            "where the batch's success rates fit no Beta density (one prompt, or all rates equal) the density is 1",
        ),
        why_not={
            "unbiased_for": "the density divides the advantage; the mean over a completion's tokens divides by its length"
        },
        when="0/1 rewards, with the batch's spread of difficulty in place of each group's deviation",
        claims=Claims(shift_invariant=False, zero_on_equal_rewards=True, policy_gradient_at_ratio_one=True),
    )
)
