"""DARLING: reward times how unlike the others a completion is.

T. Li et al., "Jointly Reinforcing Diversity and Quality in Language Model Generations", arXiv 2509.02534.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.advantages.group import group_relative
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage


@advantage("diversity-weighted", needs=("clusters_PG",), group_baseline=True)
def diversity_weighted(
    group: GroupBatch, *, least_diversity: float = 0.1, std: str = "none", std_epsilon: float = 1e-6
) -> Float[Tensor, "P G"]:
    """Group-relative advantage of R x diversity."""
    shaped_PG = group.rewards_PG * diversity(group, least_diversity)
    return group_relative(GroupBatch(rewards_PG=shaped_PG, valid_PG=group.valid_PG), std=std, std_epsilon=std_epsilon)


def diversity(group: GroupBatch, least: float = 0.1) -> Float[Tensor, "P G"]:
    """(n - size of the completion's cluster) / (n - 1), at least `least`; n counts the decided members, right or wrong."""
    if not 0 <= least <= 1:
        raise InputError(f"least_diversity: is {least}; give a number from 0 to 1")
    clusters_PG, decided_PG = group.require("clusters_PG"), group.decided_PG
    size_PG = ((clusters_PG[:, None, :] == clusters_PG[:, :, None]) & decided_PG[:, None, :]).sum(2)
    n_P1 = decided_PG.sum(1, keepdim=True)
    unlike_PG = (n_P1 - size_PG).to(group.rewards_PG.dtype) / (n_P1 - 1).clamp(min=1)
    return unlike_PG.clamp(min=least)
