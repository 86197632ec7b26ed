"""Objectives for trajectories of several steps, and for references that no verifier can judge."""

from __future__ import annotations

from offleash.objectives.preset import Claims, Preset, register
from offleash.objectives.presets.group import BIASED_LENGTH

_STEPS = "the steps, with their rewards, come from the task"

register(
    Preset(
        name="rlvmr",
        paper="Z. Zhang et al., RLVMR, arXiv 2507.22844",
        equation="A_t = alpha A_traj + (1 - alpha) A_MR",
        formula="1/|tokens| sum min(rho A_t, clip(rho) A_t); A_t = weighted sum of the trajectory's and the tagged step's",
        advantage="tagged-steps",
        surrogate="ppo-clip",
        reduction="token-mean",
        released={"trajectory_weight": 1.0, "step_weight": 1.0, "std": "none", "singleton": "reward"},
        deviations=(
            f"{_STEPS} and tags",
            "the paper weighs by alpha = 0.5 and divides by the deviation (default); the released code adds both parts"
            " with weight 1 and only subtracts means",
            "a step that is alone with its tag gets 0 (singleton='zero'); in the released code its raw reward",
            "the paper's KL of 0.01 is kl_beta, 0 by default",
        ),
        why_not={
            "unbiased_for": f"step rewards have another aim; {BIASED_LENGTH}",
            "zero_on_equal_rewards": "steps have rewards of their own",
        },
        when="agents whose steps carry a kind and a checkable reward",
        claims=Claims(shift_invariant=True, policy_gradient_at_ratio_one=True),
    )
)

register(
    Preset(
        name="gigpo",
        paper="L. Feng et al., Group-in-Group Policy Optimization for LLM Agent Training, arXiv 2505.10978",
        equation="A = A^E + omega A^S",
        formula="1/|tokens| sum min(rho A_t, clip(rho) A_t); A_t = (R - mean) + step_weight (return - mean from that state)",
        advantage="state-steps",
        surrogate="ppo-clip",
        reduction="token-mean",
        released={"singleton": "reward"},
        deviations=(
            f"{_STEPS} and the states they start from",
            "means only (the paper's F_norm = 1); std='sample' divides by the deviation",
            "a step that is alone in its state gets 0; released code gives it its return (singleton='reward')",
        ),
        why_not={
            "unbiased_for": f"discounted returns; {BIASED_LENGTH}",
            "zero_on_equal_rewards": "steps have returns of their own",
        },
        when="agents that come back to the same states, so that steps can be compared without a critic",
        claims=Claims(shift_invariant=True, policy_gradient_at_ratio_one=True),
    )
)

register(
    Preset(
        name="dro",
        paper="Y. Xu et al., Direct Reasoning Optimization, arXiv 2506.13351 v1",
        equation="R3, sec. 4",
        formula="GRPO on R3 = sum_j std_j [log pi(y_j | completion) - log pi(y_j | none)], y the reference",
        advantage="reasoning-reflection",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        deviations=(
            "the paper's increasing weight w(sigma) is not specified; it is sigma, the population deviation over the group",
            "the error-propagation variant, the length term and the filters of the data are not part of this row",
            "the third version of the paper describes another reward",
            "verl's policy loss 'dro' (a quadratic penalty on the log-ratio) is another method of that name",
        ),
        why_not={
            "unbiased_for": "the reward is the reference's likelihood, not a verdict",
            "zero_on_equal_rewards": "the task's own rewards play no part (reward_weight adds them)",
        },
        when="open answers with a reference and no verifier",
        claims=Claims(shift_invariant=True, scale_invariant=True, policy_gradient_at_ratio_one=True),
    )
)
