"""Objectives that tell right from wrong, and mostly learn from what is wrong."""

from __future__ import annotations

from dataclasses import replace

from offleash.objectives.preset import Claims, Preset, register
from offleash.objectives.presets.group import BIASED_LENGTH, BIASED_STD, GROUP_CLAIMS

register(
    Preset(
        name="grpo-n",
        paper="X. Yao et al., The Debate on RLVR Reasoning Capability Boundary, arXiv 2510.04028",
        equation="GRPO-N, known from a note and the reviews",
        formula="1/|tokens| sum min(rho A, clip(rho) A); A = min((R - mean) / (std + 1e-6), 0)",
        advantage="negative-only",
        surrogate="ppo-clip",
        reduction="token-mean",
        deviations=(
            "the authors' masking and denominator are not published; here A comes from the full group's statistics",
            "all tokens are in the denominator, as in NSR's code; rows='negative' counts those of negative samples",
        ),
        why_not={"unbiased_for": f"{BIASED_STD}; positive samples are dropped"},
        when="to keep entropy: only what is worse than its group is pushed down. Leans on easy prompts, NSR on hard",
        claims=replace(GROUP_CLAIMS, never_reinforces=True),
    )
)

_PAPER = "X. Zhu et al., The Surprising Effectiveness of Negative Reinforcement in LLM Reasoning, arXiv 2506.01347"
_DEVIATIONS = (
    "the paper's loss is written in pi, its code (and this row) in rho: a rare token is pushed by 1 - pi,"
    " not pi (1 - pi)",
    "the released scripts leave an entropy bonus of 0.001 on; here it is 0 unless asked for",
)
_UNBIASED = (
    f"{BIASED_LENGTH}; with reduction='sequence-sum' and pi = pi_old the mean gradient is that of the mean reward"
)

register(
    Preset(
        name="nsr",
        paper=_PAPER,
        equation="Eq. 4; RLVR-Decomposed core_algos.py, 'negative'",
        formula="1/|tokens| sum min(rho A, clip(rho) A); A = 0 if right, -1 if wrong",
        advantage="signed-binary",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={"positive_weight": 0.0},
        released={"entropy_coef": 0.001},
        deviations=_DEVIATIONS,
        why_not={
            "zero_on_equal_rewards": "no baseline: a group that is wrong throughout carries the full signal, -1 each",
            "unbiased_for": _UNBIASED,
        },
        when="to keep pass@k at large k; do not filter all-wrong groups away",
        claims=Claims(policy_gradient_at_ratio_one=True, never_reinforces=True),
    )
)

register(
    Preset(
        name="psr",
        paper=_PAPER,
        equation="Eq. 3; RLVR-Decomposed core_algos.py, 'positive'",
        formula="1/|tokens| sum min(rho A, clip(rho) A); A = 1 if right, 0 if wrong",
        advantage="signed-binary",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={"negative_weight": 0.0},
        released={"entropy_coef": 0.001},
        deviations=_DEVIATIONS,
        why_not={
            "zero_on_equal_rewards": "there is no baseline: a group that is right throughout gets +1 each",
            "unbiased_for": _UNBIASED,
        },
        when="as the other half of the decomposition; reported to fall below the base model at large k",
        claims=Claims(policy_gradient_at_ratio_one=True),
    )
)

register(
    Preset(
        name="w-reinforce",
        paper=_PAPER,
        equation="Eq. 9; RLVR-Decomposed core_algos.py, 'weighted'",
        formula="1/|tokens| sum min(rho A, clip(rho) A); A = positive_weight if right, -1 if wrong",
        advantage="signed-binary",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={"positive_weight": 0.1},
        released={"entropy_coef": 0.001},
        deviations=_DEVIATIONS,
        why_not={"zero_on_equal_rewards": "there is no baseline", "unbiased_for": _UNBIASED},
        when="NSR with a tenth of the positive signal: reported better at pass@1, nearly the same at large k",
        claims=Claims(policy_gradient_at_ratio_one=True),
    )
)
