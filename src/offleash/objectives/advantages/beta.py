"""BNPO: the advantage divided by a Beta density at the prompt's success rate.

C. Xiao et al., "BNPO: Beta Normalization Policy Optimization", arXiv 2506.02864.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.objectives.advantages.group import group_relative
from offleash.objectives.advantages.plain import require_binary
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage


@advantage("beta-normalised", group_baseline=True)
def beta_normalised(group: GroupBatch) -> Float[Tensor, "P G"]:
    """(R - p) / f(p; 1 + a/3, 1 + b/3): p the group's success rate, f the Beta density, Beta(a, b) that of the batch's p.

    a and b come from the moments of p over the batch's prompts. Where these fit no Beta density (all p equal, or more
    spread than 0/1 allows) f is 1, which is REINFORCE with the group's mean.
    """
    require_binary(group)
    decided_PG = group.decided_PG
    count_P1 = decided_PG.sum(1, keepdim=True)
    rate_P1 = torch.where(decided_PG, group.rewards_PG, 0.0).sum(1, keepdim=True) / count_P1.clamp(min=1)
    centred_PG = group_relative(group, std="none")
    fitted = fit_beta(rate_P1[count_P1 > 0])
    if fitted is None:
        return centred_PG
    alpha, beta = (1.0 + x / 3.0 for x in fitted)
    # At p of 0 and 1 every advantage is 0 and the density may be 0 too.
    inside_P1 = torch.where((rate_P1 > 0) & (rate_P1 < 1), rate_P1, 0.5)
    scale = torch.lgamma(alpha + beta) - torch.lgamma(alpha) - torch.lgamma(beta)
    log_density_P1 = scale + (alpha - 1) * inside_P1.log() + (beta - 1) * torch.log1p(-inside_P1)
    return centred_PG / log_density_P1.exp()


def fit_beta(rates: Float[Tensor, " P"]) -> tuple[Tensor, Tensor] | None:
    """a and b of the Beta density with the mean and the population variance of the rates; None where there is none."""
    if rates.numel() == 0:
        return None
    mean, variance = rates.mean(), rates.var(correction=0)
    if not 0 < variance < mean * (1 - mean):
        return None
    size = mean * (1 - mean) / variance - 1.0
    return mean * size, (1 - mean) * size
