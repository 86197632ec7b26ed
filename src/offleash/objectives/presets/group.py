"""Baselines from the group: GRPO and its relatives, and the plain policy gradient."""

from __future__ import annotations

from offleash.objectives.preset import Claims, Preset, register

BIASED_STD = (
    "the group's deviation divides the advantage, so prompts near 0 % and 100 % weigh more than in the mean reward"
)
BIASED_LENGTH = "a mean over tokens weighs a completion by its length"
GROUP_CLAIMS = Claims(
    shift_invariant=True, scale_invariant=True, zero_on_equal_rewards=True, policy_gradient_at_ratio_one=True
)

register(
    Preset(
        name="grpo",
        paper="Z. Shao et al., DeepSeekMath, arXiv 2402.03300",
        equation="Eq. 3",
        formula=(
            "1/N sum_i 1/|o_i| sum_t [min(rho A, clip(rho, 1-epsilon_low, 1+epsilon_high) A) - kl_beta k3]; "
            "A = (R - mean) / (std + 1e-6)"
        ),
        advantage="group-relative",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        deviations=(
            "kl_beta is 0 (paper 0.04; most later work drops the term); with it a reference model is needed",
            "std divides by G - 1 as in verl; the paper does not say which (std='population' divides by G)",
            "k3 is not clamped; verl holds it below 10, without a gradient above (2.6 nats from the reference)",
            "TRL multiplies the KL term by the ratio by default (use_bias_correction_kl); here it is not",
        ),
        why_not={"unbiased_for": f"{BIASED_STD}; the mean over a completion's tokens divides by its length"},
        when="the usual baseline",
        claims=GROUP_CLAIMS,
    )
)

register(
    Preset(
        name="dr-grpo",
        paper="Z. Liu et al., Understanding R1-Zero-Like Training, arXiv 2503.20783",
        equation="as in sail-sg/understand-r1-zero, train_zero_math.py",
        formula="1/N sum_i 1/L sum_t min(rho A, clip(rho) A); A = R - mean, L = constant_length",
        advantage="group-relative",
        surrogate="ppo-clip",
        reduction="constant-length",
        settings={"std": "none"},
        deviations=(
            "L is the generation limit: constant_length, else the max_completion_length given to denominator()",
            "verl's default for L, the padded width of the batch, brings the dependence on length back; not offered",
        ),
        when="the gradient of the mean reward, up to a constant, with a clip for later updates",
        claims=Claims(
            shift_invariant=True,
            zero_on_equal_rewards=True,
            policy_gradient_at_ratio_one=True,
            unbiased_for="J",
            unbiased_factor="(G-1)/(G*length)",
        ),
    )
)

register(
    Preset(
        name="dapo",
        paper="Q. Yu et al., DAPO, arXiv 2503.14476",
        equation="Eq. 8",
        formula="1/|tokens| sum min(rho A, clip(rho, 1-0.2, 1+0.28) A); A = (R - mean) / (std + 1e-6)",
        advantage="group-relative",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={"epsilon_high": 0.28},
        deviations=(
            "dynamic sampling belongs to the trainer; it filters on accuracy, not on the shaped reward",
            "the overlong penalty is part of the reward: advantages.soft_overlong",
            "tokens are counted over the whole step, as the paper means it, not per micro-batch",
        ),
        why_not={"unbiased_for": f"{BIASED_STD}; {BIASED_LENGTH}"},
        when="long completions; the room above 1 keeps rare tokens alive",
        claims=GROUP_CLAIMS,
    )
)

register(
    Preset(
        name="rloo",
        paper="A. Ahmadian et al., Back to Basics, arXiv 2402.14740",
        equation="REINFORCE leave-one-out",
        formula="1/N sum_i A_i sum_t log pi; A_i = R_i - mean of the others",
        advantage="leave-one-out",
        surrogate="score-function",
        reduction="sequence-sum",
        deviations=(
            "on-policy: no ratio and no clip; for several updates per rollout set surrogate='importance' or 'ppo-clip'",
            "the sum over a completion's tokens is not divided, so the gradient grows with length",
        ),
        when="the plain gradient of the mean reward with little variance, one update per rollout",
        claims=Claims(
            shift_invariant=True,
            zero_on_equal_rewards=True,
            uses_ratio=False,
            policy_gradient_at_ratio_one=True,
            unbiased_for="J",
        ),
    )
)

register(
    Preset(
        name="reinforce",
        paper="R. Williams, Simple statistical gradient-following algorithms, Machine Learning 8, 1992",
        equation="without a baseline",
        formula="1/N sum_i R_i sum_t log pi",
        advantage="reward",
        surrogate="score-function",
        reduction="sequence-sum",
        deviations=("on-policy: no ratio and no clip; for several updates per rollout set surrogate='importance'",),
        why_not={"zero_on_equal_rewards": "there is no baseline"},
        when="as the reference everything else is measured against; groups of one are allowed",
        claims=Claims(uses_ratio=False, policy_gradient_at_ratio_one=True, unbiased_for="J"),
    )
)
