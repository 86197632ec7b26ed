"""Objectives for demonstrations, alone or beside rollouts."""

from __future__ import annotations

from dataclasses import replace

from offleash.objectives.preset import Claims, Preset, register
from offleash.objectives.presets.group import BIASED_STD, GROUP_CLAIMS

_SCRIPT = {"std": "none", "reduction": "constant-sum", "constant_length": 8192, "entropy_coef": 0.001}

register(
    Preset(
        name="rl-plus",
        paper="Y. Dong et al., RL-PLUS, arXiv 2508.00222",
        equation="Eq. 4-7",
        formula="1/|tokens| [sum_rollouts rho A + sum_demos r A (1 - sg(pi))^gamma]; r = 2 pi / (1.5 pi_old + 0.5 U)",
        advantage="group-relative",
        surrogate="rl-plus",
        reduction="token-mean",
        released={**_SCRIPT, "uniform": "released"},
        deviations=(
            "U = 1/V (paper, default) or U = 1 (uniform='released'): at pi = pi_old = p the ratio is 4/3 for p >> 1/V,"
            " against 4p / (3p + 1), 300 times less at p = 1e-3; they are different estimators",
            "the advantage is divided by the deviation in the paper (default), not in the released script (std='none')",
            "gamma is 0.5 in the code; the paper's value is not known",
            "the released loss is a sum over tokens / 8192, not divided by the number of completions"
            " (reduction='constant-sum'); the paper's reduction is not known, the default counts all tokens",
            "demonstrations count in the group's mean, as released (external_in_baseline)",
        ),
        why_not={"unbiased_for": f"{BIASED_STD}; and the mixture's ratio is applied to demonstrations alone"},
        when="demonstrations exist for problems the policy cannot solve",
        claims=replace(GROUP_CLAIMS, differentiable_value=False),
    )
)

register(
    Preset(
        name="luffy",
        paper="J. Yan et al., Learning to Reason under Off-Policy Guidance, arXiv 2504.14945",
        equation="Eq. 4-6, without the clip (App. E.1)",
        formula="1/|tokens| [sum_rollouts rho A + sum_demos A pi / (pi + shaping)]",
        advantage="group-relative",
        surrogate="luffy",
        reduction="token-mean",
        released=_SCRIPT,
        deviations=(
            "Eq. 6 clips the rollouts; the paper's best row (App. E.1), the released run and this default do not;"
            " set epsilon_low and epsilon_high for Eq. 6",
            "the advantage is divided by the deviation in Eq. 4 (default), not in the released run (std='none')",
            "the released loss is a sum over tokens / 8192 (reduction='constant-sum')",
            "the demonstrator's probability is taken as 1, as in the paper's experiments",
            "the entropy coefficient is 0.01 in the paper, 0.001 in the script, 0 here",
        ),
        why_not={"unbiased_for": f"{BIASED_STD}; and the shaping function is not an importance ratio"},
        when="demonstrations exist and imitation should fade as rollouts succeed",
        claims=GROUP_CLAIMS,
    )
)

register(
    Preset(
        name="mixed-policy",
        paper="J. Yan et al., Learning to Reason under Off-Policy Guidance, arXiv 2504.14945",
        equation="Eq. 4: LUFFY without policy shaping",
        formula="1/|tokens| [sum_rollouts min(rho A, clip(rho) A) + sum_demos pi A]",
        advantage="group-relative",
        surrogate="luffy",
        reduction="token-mean",
        settings={"shaping": None, "epsilon_low": 0.2, "epsilon_high": 0.2},
        released=_SCRIPT,
        deviations=("the demonstrator's probability is taken as 1, so the ratio is pi",),
        why_not={"unbiased_for": f"{BIASED_STD}; the demonstrator's probability is not 1"},
        when="as the ablation of luffy; its paper reports it below GRPO",
        claims=replace(GROUP_CLAIMS),
    )
)

register(
    Preset(
        name="external-ratio",
        paper="ablation of RL-PLUS (arXiv 2508.00222) that its paper lacks",
        equation="Eq. 4 with pi_old in place of the uniform policy, Eq. 5 with gamma 0",
        formula="1/|tokens| sum_{rollouts and demos} rho A",
        advantage="group-relative",
        surrogate="rl-plus",
        reduction="token-mean",
        settings={"uniform": "old", "gamma": 0.0},
        deviations=("the ratio pi / pi_old ignores that demonstrations were not drawn from pi_old",),
        why_not={"unbiased_for": f"{BIASED_STD}; demonstrations are not drawn from pi_old"},
        when="as the plain baseline to rl-plus and luffy",
        claims=GROUP_CLAIMS,
    )
)

register(
    Preset(
        name="sft",
        paper="supervised fine-tuning",
        equation="negative log-likelihood",
        formula="1/|demo tokens| sum_demos log pi",
        advantage="demonstration-only",
        surrogate="nll",
        reduction="token-mean",
        rows="external",
        why_not={
            "zero_on_equal_rewards": "rewards play no part",
            "zero_advantage_is_zero_gradient": "advantages play no part",
            "unbiased_for": "it raises the likelihood of demonstrations, not the expected reward",
        },
        when="a warm start, or the baseline to every mixed objective",
        claims=Claims(
            shift_invariant=True,
            scale_invariant=True,
            zero_advantage_is_zero_gradient=False,
            uses_ratio=False,
            needs_external=True,
        ),
    )
)

register(
    Preset(
        name="grpo+sft-loss",
        paper="baseline of LUFFY (arXiv 2504.14945) and RL-PLUS (arXiv 2508.00222)",
        equation="'RL w/ SFT loss'",
        formula="GRPO over rollouts + sft_coef / |demo tokens| sum_demos log pi",
        advantage="group-relative",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        rows="policy",
        settings={"sft_coef": 1.0, "external_in_baseline": False},
        deviations=("the papers do not give the coefficient; it is 1 here",),
        why_not={
            "unbiased_for": f"{BIASED_STD}; the imitation term has another aim",
            "zero_advantage_is_zero_gradient": "the imitation term has no advantage",
        },
        when="as the baseline to mixed objectives; both papers report it below GRPO",
        claims=replace(GROUP_CLAIMS, scale_invariant=False, zero_advantage_is_zero_gradient=False),
    )
)

register(
    Preset(
        name="rejection-sampling",
        paper="Z. Yuan et al., Scaling Relationship on Learning Mathematical Reasoning with LLMs (RFT), arXiv 2308.01825",
        equation="likelihood of the model's own right answers",
        formula="1/|right tokens| sum_right log pi",
        advantage="reward",
        surrogate="nll",
        reduction="token-mean",
        rows="correct",
        deviations=(
            "right rollouts are used once, in the step that sampled them, and not gathered and deduplicated first",
        ),
        why_not={
            "zero_on_equal_rewards": "rewards play no part beyond telling right from wrong",
            "zero_advantage_is_zero_gradient": "advantages play no part",
            "unbiased_for": "a mean over right tokens divides by how many there are, and weighs by length",
        },
        when="the simplest way to learn from a verifier, and a baseline to all others",
        claims=Claims(zero_advantage_is_zero_gradient=False, uses_ratio=False),
    )
)
