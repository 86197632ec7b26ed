"""QAE: a quantile of the group's rewards as the baseline.

J. Wu et al., "Quantile Advantage Estimation for Entropy-Safe Reasoning", arXiv 2509.22611.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.advantages.group import STDS, normalise, standard_deviation
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage

INTERPOLATIONS = ("inverted-cdf", "linear")


@advantage("quantile-baseline", group_baseline=True)
def quantile_baseline(
    group: GroupBatch,
    *,
    quantile: float = 0.4,
    interpolation: str = "inverted-cdf",
    std: str = "sample",
    std_epsilon: float = 1e-6,
) -> Float[Tensor, "P G"]:
    """(R - q) / (std + std_epsilon), q the group's `quantile`. Exactly 0 where all rewards are equal.

    For 0/1 rewards and success rate p: q = 0 while p <= 1 - quantile, and only right samples move; above, q = 1 and only
    wrong ones do.

    Args:
        group: rewards.
        quantile: K, between 0 and 1; the paper raises it from 0.4 to 0.6 where entropy collapses.
        interpolation: "inverted-cdf" takes the smallest reward that a share of at least K does not exceed, which is the
            rule above; "linear" (numpy's default) gives fractional baselines near the switch.
        std: as in group-relative.
        std_epsilon: as in group-relative.
    """
    if not 0 < quantile < 1:
        raise InputError(f"quantile: is {quantile}; give a number between 0 and 1")
    if interpolation not in INTERPOLATIONS:
        raise unknown_name("interpolation", interpolation, INTERPOLATIONS)
    if std not in STDS:
        raise unknown_name("std", std, STDS)
    decided_PG = group.decided_PG
    n_P1 = decided_PG.sum(1, keepdim=True)
    sorted_PG = torch.where(decided_PG, group.rewards_PG, torch.inf).sort(1).values
    base_P1 = _at(sorted_PG, n_P1, quantile, interpolation)
    kept_PG = torch.where(decided_PG, group.rewards_PG - base_P1, 0.0)
    if std == "none":
        return torch.where(n_P1 < 2, 0.0, kept_PG)
    centred_PG = normalise(group.rewards_PG, decided_PG, "none", 0.0)
    spread_P1 = standard_deviation(torch.where(decided_PG, centred_PG, 0.0), n_P1, std)
    return torch.where((n_P1 < 2) | (spread_P1 == 0), 0.0, kept_PG / (spread_P1 + std_epsilon))


def _at(sorted_PG: Tensor, n_P1: Tensor, quantile: float, interpolation: str) -> Tensor:
    if interpolation == "inverted-cdf":
        # A tiny step back: 0.4 x 5 is 2.0000000000000004 in binary fractions.
        index_P1 = (quantile * n_P1.double() - 1e-9).ceil().long() - 1
        return sorted_PG.gather(1, index_P1.clamp(min=0))
    place_P1 = quantile * (n_P1 - 1).clamp(min=0).to(sorted_PG.dtype)
    low_P1, high_P1 = (sorted_PG.gather(1, i.long()) for i in (place_P1.floor(), place_P1.ceil()))
    # Equal neighbours need no interpolation, which would round.
    between_P1 = low_P1 + (place_P1 - place_P1.floor()) * (high_P1 - low_P1)
    return torch.where(low_P1 == high_P1, low_P1, between_P1)
