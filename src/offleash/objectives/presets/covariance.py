"""Objectives that hold entropy by the covariance of log-prob and advantage."""

from __future__ import annotations

from dataclasses import replace

from offleash.objectives.preset import Preset, register
from offleash.objectives.presets.group import BIASED_LENGTH, BIASED_STD, GROUP_CLAIMS

_PAPER = (
    "G. Cui et al., The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models, arXiv 2505.22617"
)
_SCOPE = (
    "tokens are chosen over the whole step (scope='step'); the released code chooses in each micro-batch"
    " (scope='micro-batch'), which depends on packing and, with at least one token each, selects more in small batches"
)
_WHAT = (
    "in practice the chosen tokens are rare ones in completions of negative advantage, whatever the paper's motivation"
)

register(
    Preset(
        name="clip-cov",
        paper=_PAPER,
        equation="Clip-Cov; recipe/dapo/7b_clip_cov.sh",
        formula="1/|tokens| sum keep_t min(rho A, clip(rho, 0, 2) A); keep_t = 0 at some tokens of high covariance",
        advantage="group-relative",
        surrogate="clip-cov",
        reduction="token-mean",
        released={"scope": "micro-batch"},
        deviations=(_SCOPE, _WHAT, "epsilon_low = epsilon_high = 1 as in the scripts, not 0.2"),
        why_not={
            "unbiased_for": f"{BIASED_STD}; {BIASED_LENGTH}; tokens are left out",
            "policy_gradient_at_ratio_one": "the chosen tokens get no gradient",
        },
        when="against the collapse of entropy",
        claims=replace(GROUP_CLAIMS, policy_gradient_at_ratio_one=False),
    )
)

register(
    Preset(
        name="kl-cov",
        paper=_PAPER,
        equation="KL-Cov; recipe/dapo/7b_kl_cov.sh",
        formula="1/|tokens| sum [rho A - kl_cov_beta |log rho| at the fraction of highest covariance]",
        advantage="group-relative",
        surrogate="kl-cov",
        reduction="token-mean",
        released={"scope": "micro-batch"},
        deviations=(
            _SCOPE,
            _WHAT,
            "no PPO clip anywhere, as in the code; its 'KL' is the absolute log-ratio, no estimator of a KL",
            "kl_cov_ratio is a fraction: 2e-3 and beta 1 as in the paper's 7B run (scripts: 0.2 percent; 32B: 2e-4;"
            " verl's defaults, 2e-4 and 0.1, reproduce neither)",
        ),
        why_not={
            "unbiased_for": f"{BIASED_STD}; {BIASED_LENGTH}",
            "zero_advantage_is_zero_gradient": "the penalty does not depend on the advantage",
        },
        when="against the collapse of entropy, with several updates per rollout (with one it does nothing)",
        claims=replace(GROUP_CLAIMS, zero_advantage_is_zero_gradient=False),
    )
)
