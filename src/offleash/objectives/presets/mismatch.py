"""GRPO under a sampling engine whose probabilities are not the trainer's. The correction is a setting of every row."""

from __future__ import annotations

from dataclasses import replace

from offleash.objectives.preset import Preset, register
from offleash.objectives.presets.group import BIASED_STD, GROUP_CLAIMS

_UNBIASED = {"unbiased_for": f"{BIASED_STD}; the mean over a completion's tokens divides by its length"}
_CLAIMS = replace(GROUP_CLAIMS, policy_gradient_at_ratio_one=False)
_WHY = _UNBIASED | {"policy_gradient_at_ratio_one": "the engine's ratio weighs the tokens as well"}
_DENOMINATOR = "tokens taken out stay in the denominator"

register(
    Preset(
        name="grpo+tis",
        paper="F. Yao et al., Your Efficient RL Framework Secretly Brings You Off-Policy RL Training, 2025",
        equation="truncated importance sampling",
        formula="GRPO with every token's term weighted by min(w, 2); w = pi_old(trainer) / pi_old(engine)",
        advantage="group-relative",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        settings={"mismatch": "token-truncate"},
        deviations=(
            "the cap of 2 is the public scripts'; mismatch='sequence-truncate' takes the product over the completion",
        ),
        why_not=_WHY,
        when="an engine of lower precision samples; see the logged mismatch first",
        claims=_CLAIMS,
    )
)

register(
    Preset(
        name="grpo+mis",
        paper="J. Liu et al., When Speed Kills Stability: Demystifying RL Collapse from the Training-Inference Mismatch, 2025",
        equation="masked importance sampling, sequence level",
        formula="GRPO with every completion's terms weighted by W if W <= 2, else 0; W = prod_t w_t",
        advantage="group-relative",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        settings={"mismatch": "sequence-mask"},
        deviations=(_DENOMINATOR,),
        why_not=_WHY,
        when="as grpo+tis, where single completions are far off",
        claims=_CLAIMS,
    )
)

register(
    Preset(
        name="icepop",
        paper="Ling team, Every Step Evolves, arXiv 2510.18855",
        equation="IcePop: two-sided token mask",
        formula="GRPO with every token's term weighted by w if 0.5 <= w <= 5, else 0",
        advantage="group-relative",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={"mismatch": "token-mask", "mismatch_low": 0.5, "mismatch_high": 5.0},
        deviations=(
            _DENOMINATOR,
            "the paper's text was not at hand: bounds and form are those of its public descriptions",
        ),
        why_not=_WHY,
        when="mixture-of-experts models, whose routing differs between engine and trainer",
        claims=_CLAIMS,
    )
)
