"""RiskPO: the lower tail of the score of bundles of questions.

T. Ren et al., "RiskPO: Risk-based Policy Optimization via Verifiable Reward for LLM Post-Training"; formulas as in the
released code (RTkenny/RiskPO, core_algos.py).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.advantages.group import standard_deviation
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import State, advantage

RISKS = ("mixed", "range", "tail")
TRACKINGS = ("mix", "tracked", "batch")


def track_quantiles(
    group: GroupBatch,
    state: State,
    *,
    bundle_size: int = 5,
    risk_low: float = 0.2,
    risk_high: float = 0.8,
    tracking: str = "mix",
    quantile_rate: float = 0.1,
) -> tuple[dict[str, Tensor], State]:
    """The two quantiles of the bundles' scores: of this batch, tracked over steps, or the mean of both.

    A tracked quantile starts at the first batch's and moves by quantile_rate x (level - share of scores below it).
    """
    if not 0 < risk_low < risk_high < 1:
        raise InputError(f"risk_low: is {risk_low} and risk_high {risk_high}; give 0 < risk_low < risk_high < 1")
    if not 0 <= quantile_rate <= 1:
        raise InputError(f"quantile_rate: is {quantile_rate}; give a number from 0 to 1")
    if tracking not in TRACKINGS:
        raise unknown_name("tracking", tracking, TRACKINGS)
    score_BG, whole_BG = bundle_scores(group, bundle_size)
    scores = score_BG[whole_BG]
    found: dict[str, Tensor] = {}
    following: State = dict(state)
    for name, level in (("low", risk_low), ("high", risk_high)):
        if scores.numel() == 0:
            found[f"quantile_{name}"] = score_BG.new_tensor(state.get(name, 0.0))
            continue
        now = float(scores.quantile(level))
        before = float(state.get(name, now))
        tracked = before + quantile_rate * (level - float((scores < before).double().mean()))
        following[name] = tracked
        used = {"mix": 0.5 * (tracked + now), "tracked": tracked, "batch": now}[tracking]
        found[f"quantile_{name}"] = score_BG.new_tensor(used)
    return found, following


@advantage("risk", prepare=track_quantiles)
def risk(
    group: GroupBatch,
    *,
    bundle_size: int = 5,
    risk_measure: str = "mixed",
    risk_weight: float = 1.5,
    risk_low: float = 0.2,
    risk_high: float = 0.8,
    natural_baseline: bool = True,
    centre: bool = False,
    std: str = "sample",
    std_epsilon: float = 1e-6,
) -> Float[Tensor, "P G"]:
    """A risk measure of a bundle's score S, divided by the bundle's deviation, given to each of its completions.

    With quantiles q_low and q_high of S:
      range  RVaR = [(S - q_low)+ - (S - q_high)+ (+ q_low - q_high)] / (risk_high - risk_low)
      tail   CVaR = -(q_low - S)+ / risk_low
      mixed  MVaR = (risk_weight x CVaR + RVaR) / (risk_weight + 1)

    Args:
        group: prepared; the g-th completions of bundle_size prompts in a row are a bundle.
        bundle_size: prompts a bundle; must divide the number of prompts.
        risk_measure: one of RISKS.
        risk_weight: weight of the tail in "mixed".
        risk_low: level of q_low.
        risk_high: level of q_high.
        natural_baseline: the term in (+ ...). With it no advantage is above 0.
        centre: subtract the bundle's mean over its G samples.
        std: deviation of S over the bundle's samples that divides: "sample", "population" or "none".
        std_epsilon: added to it. A bundle whose scores are all equal has no deviation and is not divided.
    """
    if risk_measure not in RISKS:
        raise unknown_name("risk_measure", risk_measure, RISKS)
    score_BG, whole_BG = bundle_scores(group, bundle_size)
    low, high = group.require("quantile_low"), group.require("quantile_high")
    natural = low - high if natural_baseline else torch.zeros_like(low)
    range_BG = ((score_BG - low).clamp(min=0) - (score_BG - high).clamp(min=0) + natural) / (risk_high - risk_low)
    tail_BG = -(low - score_BG).clamp(min=0) / risk_low
    mixed_BG = (risk_weight * tail_BG + range_BG) / (risk_weight + 1.0)
    adv_BG = torch.where(whole_BG, {"range": range_BG, "tail": tail_BG, "mixed": mixed_BG}[risk_measure], 0.0)
    n_B1 = whole_BG.sum(1, keepdim=True)
    if centre:
        adv_BG = torch.where(whole_BG, adv_BG - adv_BG.sum(1, keepdim=True) / n_B1.clamp(min=1), 0.0)
    if std != "none":
        mean_B1 = torch.where(whole_BG, score_BG, 0.0).sum(1, keepdim=True) / n_B1.clamp(min=1)
        spread_B1 = standard_deviation(torch.where(whole_BG, score_BG - mean_B1, 0.0), n_B1, std)
        # A bundle whose scores are all equal has no deviation to be measured in.
        adv_BG = adv_BG / torch.where(spread_B1 > 0, spread_B1 + std_epsilon, 1.0)
    return adv_BG.repeat_interleave(bundle_size, 0)


def bundle_scores(group: GroupBatch, bundle_size: int) -> tuple[Float[Tensor, "B G"], Tensor]:
    """Sum of the rewards of each bundle, and whether all of its completions have a verdict."""
    prompts, samples = group.rewards_PG.shape
    if bundle_size < 1 or prompts % bundle_size:
        raise InputError(
            f"bundle_size: is {bundle_size} and there are {prompts} prompts a step; "
            "give a bundle_size that divides rollout.num_prompts"
        )
    shape = (prompts // bundle_size, bundle_size, samples)
    kept_PG = torch.where(group.decided_PG, group.rewards_PG, 0.0)
    return kept_PG.view(shape).sum(1), group.decided_PG.view(shape).all(1)
