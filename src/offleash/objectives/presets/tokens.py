"""Objectives that choose tokens: those that plan, those of high entropy; and a bonus that holds entropy up."""

from __future__ import annotations

from dataclasses import replace

from offleash.objectives.preset import Claims, Preset, register
from offleash.objectives.presets.group import BIASED_LENGTH, BIASED_STD, GROUP_CLAIMS

register(
    Preset(
        name="hicra",
        paper="H. Wang et al., Emergent Hierarchical Reasoning in LLMs through Reinforcement Learning, arXiv 2509.03646",
        equation="hierarchy-aware credit assignment",
        formula="1/N sum_i 1/|o_i| sum_t min(rho A_t, clip(rho, 1-0.2, 1+0.28) A_t); A_t = A + planning_alpha |A| where planning",
        advantage="group-relative",
        credit="planning",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        settings={"std": "none", "epsilon_high": 0.28},
        deviations=(
            "which tokens plan comes from outside (TokenBatch.planning; in a recipe the texts in task.strategic_grams, or"
            " what the task itself says): the paper takes n-grams of held-out solutions; no code is released",
            "the size of clip-higher is not given; 0.28 is DAPO's",
            "not zero-mean: planning tokens gain planning_alpha |A| whatever the outcome",
        ),
        why_not={
            "unbiased_for": "planning tokens weigh more; the mean over a completion's tokens divides by its length",
            "policy_gradient_at_ratio_one": "the advantages of planning tokens are changed",
        },
        when="planning phrases of the domain are known; compare with equally many random tokens",
        claims=Claims(shift_invariant=True, zero_on_equal_rewards=True),
    )
)

register(
    Preset(
        name="80-20",
        paper="S. Wang et al., Beyond the 80/20 Rule, arXiv 2506.01939",
        equation="high-entropy tokens only, on DAPO",
        formula="1/|tokens| sum over the entropy_fraction of highest entropy of min(rho A, clip(rho, 1-0.2, 1+0.28) A)",
        advantage="group-relative",
        surrogate="high-entropy",
        reduction="token-mean",
        released={"rows": "selected", "scope": "micro-batch"},
        deviations=(
            "divided by all tokens (rows='all') as in the paper and in TRL; the released code divides by the selected"
            " ones (rows='selected'), a gradient 1 / entropy_fraction = 5 times larger",
            "tokens are chosen over the whole step under the current policy; the released code chooses in each"
            " micro-batch (scope='micro-batch')",
        ),
        why_not={
            "unbiased_for": f"{BIASED_STD}; {BIASED_LENGTH}; most tokens are left out",
            "policy_gradient_at_ratio_one": "tokens of low entropy get no gradient",
        },
        when="large models (the paper sees no gain at 8B); match the gradient's norm before comparing with DAPO",
        claims=replace(GROUP_CLAIMS, policy_gradient_at_ratio_one=False),
    )
)

register(
    Preset(
        name="grpo+entropy-bonus",
        paper="V. Mnih et al., Asynchronous Methods for Deep Reinforcement Learning, arXiv 1602.01783, on GRPO",
        equation="entropy regularisation",
        formula="GRPO + entropy_coef x mean entropy",
        advantage="group-relative",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        settings={"entropy_coef": 1e-3},
        deviations=("1e-3 is the coefficient of many released scripts, also where the paper does not mention it",),
        why_not={
            "unbiased_for": f"{BIASED_STD}; the bonus has another aim",
            "zero_advantage_is_zero_gradient": "the bonus does not depend on the advantage",
        },
        when="as the baseline to everything that claims to hold entropy",
        claims=replace(GROUP_CLAIMS, zero_advantage_is_zero_gradient=False),
    )
)

register(
    Preset(
        name="skywork-or1",
        paper="J. He et al., Skywork Open Reasoner 1, arXiv 2505.22312",
        equation="adaptive entropy control; EntController of the released code",
        formula="1/|tokens| sum min(rho A, clip(rho) A) + c 1[H < entropy_target] H; c moves by entropy_delta a step",
        advantage="group-relative",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={"entropy_target": 0.2},
        deviations=(
            "the entropy that controls is the mean of -log pi_old, the bonus uses that of the whole distribution, as"
            " released; the two can disagree",
            "the coefficient moves once an optimizer step",
            "filters on difficulty and on truncation belong to the trainer",
        ),
        why_not={
            "unbiased_for": f"{BIASED_STD}; {BIASED_LENGTH}",
            "zero_advantage_is_zero_gradient": "the bonus does not depend on the advantage",
        },
        when="against the collapse of entropy; a target of 0.2 is rarely reached, set it to where the run should stay",
        claims=replace(GROUP_CLAIMS, zero_advantage_is_zero_gradient=False, remembers=True),
    )
)
