"""Normalisation over the whole batch of prompts, not within each group."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import unknown_name
from offleash.objectives.advantages.group import group_relative
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage

BASELINES = ("none", "group")
WEIGHTS = ("tokens", "samples")


@advantage("batch-normalised", needs=("lengths_PG",))
def batch_normalised(
    group: GroupBatch, *, baseline: str = "none", weight: str = "tokens", variance_floor: float = 1e-8
) -> Float[Tensor, "P G"]:
    """(a - mean) / sqrt(max(var, variance_floor)) over the batch, with a = R or R minus the group's mean.

    Exactly 0 where all a are equal. Each sample counts `lengths_PG` times under weight "tokens", as if every token
    carried its completion's reward, and the variance is that of the population.

    Args:
        group: rewards and lengths.
        baseline: "group" subtracts the group's mean first (REINFORCE++-baseline), "none" does not (REINFORCE++).
        weight: what is averaged over: "tokens" or "samples".
        variance_floor: the least variance divided by.
    """
    if baseline not in BASELINES:
        raise unknown_name("baseline", baseline, BASELINES)
    if weight not in WEIGHTS:
        raise unknown_name("weight", weight, WEIGHTS)
    value_PG = group.rewards_PG if baseline == "none" else group_relative(group, std="none")
    weight_PG = group.require("lengths_PG").to(value_PG.dtype) if weight == "tokens" else torch.ones_like(value_PG)
    return _standardised(value_PG, torch.where(group.decided_PG, weight_PG, 0.0), variance_floor)


@advantage("batch-std", group_baseline=True)
def batch_std(group: GroupBatch, *, std_epsilon: float = 1e-6) -> Float[Tensor, "P G"]:
    """(R - group mean) / (s + std_epsilon), s the deviation of all such differences in the batch.

    Groups whose rewards are all equal say nothing and are left out of s, as ScaleRL drops them before.
    """
    centred_PG = group_relative(group, std="none")
    informative_P1 = (torch.where(group.decided_PG, centred_PG, 0.0) != 0).any(1, keepdim=True)
    weight_PG = (group.decided_PG & informative_P1).to(centred_PG.dtype)
    kept_PG = torch.where(weight_PG > 0, centred_PG, 0.0)
    deviation = (kept_PG.square().sum() / weight_PG.sum().clamp(min=1)).sqrt()
    return centred_PG / (deviation + std_epsilon)


def _standardised(value_PG: Tensor, weight_PG: Tensor, floor: float) -> Tensor:
    kept_PG = torch.where(weight_PG > 0, value_PG, 0.0)
    total = weight_PG.sum().clamp(min=1.0)
    centred_PG = kept_PG - (kept_PG * weight_PG).sum() / total
    variance = (centred_PG.square() * weight_PG).sum() / total
    members = value_PG[weight_PG > 0]
    if members.numel() == 0 or bool((members == members[0]).all()):
        # The mean of equal numbers can differ from them in the last bit.
        return torch.zeros_like(value_PG)
    return centred_PG / variance.clamp(min=floor).sqrt()
