"""Other ratios and other clips: whole sequences (GSPO), clipped weights (CISPO), clips that keep a gradient (GPPO)."""

from __future__ import annotations

from dataclasses import replace

from offleash.objectives.preset import Preset, register
from offleash.objectives.presets.group import BIASED_LENGTH, BIASED_STD, GROUP_CLAIMS

_GSPO_PAPER = "C. Zheng et al., Group Sequence Policy Optimization, arXiv 2507.18071"
_GSPO_DEVIATIONS = (
    "L counts unmasked tokens only",
    "the mean within a completion is part of the method: under a sum-type reduction the gradient weight is not s / L",
    "verl clamps the log-ratio at 10 after combining; nothing is clamped here, an overflow is an error",
)
_GSPO_UNBIASED = f"{BIASED_STD}; the mean over a completion's tokens divides by its length"

register(
    Preset(
        name="gspo",
        paper=_GSPO_PAPER,
        equation="sequence-level ratio",
        formula="1/N sum_i min(s A, clip(s, 1-3e-4, 1+4e-4) A); s = exp(mean_t log rho)",
        advantage="group-relative",
        surrogate="gspo",
        reduction="sequence-mean",
        deviations=_GSPO_DEVIATIONS,
        why_not={"unbiased_for": _GSPO_UNBIASED},
        when="mixture-of-experts models, where token ratios are noisy",
        claims=GROUP_CLAIMS,
    )
)

register(
    Preset(
        name="gspo-token",
        paper=_GSPO_PAPER,
        equation="GSPO-token",
        formula="1/N sum_i 1/L sum_t min(s_t A_t, clip(s_t) A_t); s_t = sg(s) pi_t / sg(pi_t)",
        advantage="group-relative",
        surrogate="gspo-token",
        reduction="sequence-mean",
        deviations=_GSPO_DEVIATIONS,
        why_not={"unbiased_for": _GSPO_UNBIASED},
        when="as gspo, with advantages that differ between the tokens of a completion",
        claims=replace(GROUP_CLAIMS, differentiable_value=False),
    )
)

register(
    Preset(
        name="gspo-n",
        paper="X. Yao et al., The Debate on RLVR Reasoning Capability Boundary, arXiv 2510.04028",
        equation="GSPO-N, known from a note and the reviews",
        formula="1/N sum_i min(s A, clip(s) A); A = min((R - mean) / (std + 1e-6), 0)",
        advantage="negative-only",
        surrogate="gspo",
        reduction="sequence-mean",
        deviations=(
            *_GSPO_DEVIATIONS,
            "the authors' denominator is not published: all completions are counted; rows='negative' is the other",
        ),
        why_not={"unbiased_for": f"{_GSPO_UNBIASED}; positive samples are dropped"},
        when="the negative half of gspo",
        claims=replace(GROUP_CLAIMS, never_reinforces=True),
    )
)

register(
    Preset(
        name="cispo",
        paper="MiniMax, MiniMax-M1, arXiv 2506.13585",
        equation="sec. 3.1",
        formula="1/|tokens| sum sg(clip(rho, 1-epsilon_low, 1+epsilon_high)) A log pi; A = (R - mean) / (std + 1e-6)",
        advantage="group-relative",
        surrogate="cispo",
        reduction="token-mean",
        deviations=(
            "the report does not disclose epsilon_high. The cap is 1 + epsilon_high: 5 by default, which TRL writes as"
            " epsilon_high=5, NeMo-RL as max=4, and verl's example (cap 1.2) as 0.2",
            "no floor, as MiniMax ran it; epsilon_low sets one",
            "the optional mask of the unified form (PPO's clip on top) is not offered",
        ),
        why_not={"unbiased_for": f"{BIASED_STD}; {BIASED_LENGTH}"},
        when="many updates per rollout: no token loses its gradient",
        claims=replace(GROUP_CLAIMS, differentiable_value=False),
    )
)

_KLEAR = "Z. Su et al., Klear-Reasoner, arXiv 2508.07629"

register(
    Preset(
        name="gppo",
        paper=_KLEAR,
        equation="Eq. 11-12 and the general form with b1, b2",
        formula="DAPO's value; gradient weight rho in the clip, b1 (1-epsilon_low) below, b2 (1+epsilon_high) above",
        advantage="group-relative",
        surrogate="gppo",
        reduction="token-mean",
        deviations=(
            "the repository's general script uses boundary_low=0.25, boundary_high=1; the paper 1 and 1 (default)",
            "the released code applies a dual clip (10) after it, so that A < 0 and rho > 10 has no gradient, against"
            " the paper; here only if dual_clip is set",
        ),
        why_not={"unbiased_for": f"{BIASED_STD}; {BIASED_LENGTH}"},
        when="many updates per rollout, with a pull towards the clip's bounds instead of none",
        claims=replace(GROUP_CLAIMS, differentiable_value=False),
    )
)

register(
    Preset(
        name="gppo+nll-loss",
        paper=_KLEAR,
        equation="Eq. 13",
        formula="GPPO + nll_coef / |correct tokens| sum_correct log pi",
        advantage="group-relative",
        surrogate="gppo",
        reduction="token-mean",
        settings={"nll_coef": 0.1},
        deviations=("the paper prints pi, its code uses log pi, as here",),
        why_not={
            "unbiased_for": f"{BIASED_STD}; {BIASED_LENGTH}; the imitation term has another aim",
            "zero_advantage_is_zero_gradient": "the imitation term has no advantage",
        },
        when="as gppo; the authors' own training",
        claims=replace(
            GROUP_CLAIMS,
            differentiable_value=False,
            zero_advantage_is_zero_gradient=False,
            policy_gradient_at_ratio_one=False,
        ),
    )
)
