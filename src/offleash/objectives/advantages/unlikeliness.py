"""Unlikeliness reward: of the right completions, the likelier ones are worth less.

A. He et al., "Rewarding the Unlikely", arXiv 2506.02355.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.advantages.group import group_relative
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage


@advantage("unlikeliness", needs=("mean_logprobs_PG",), group_baseline=True)
def unlikeliness(
    group: GroupBatch,
    *,
    unlikeliness_beta: float = 0.25,
    skip_equal: bool = True,
    std: str = "sample",
    std_epsilon: float = 1e-6,
) -> Float[Tensor, "P G"]:
    """Group-relative advantage of R (1 - unlikeliness_beta x rank / G).

    The rank counts the group's completions, right or wrong, of smaller mean log-prob per token: 0 for the unlikeliest,
    equal ones share the lower rank.

    Args:
        group: rewards and mean log-probs.
        unlikeliness_beta: the largest discount, below 1.
        skip_equal: groups of equal rewards get 0. False lets likelihood alone decide there: the deviation it is divided
            by is then that of the discounts, and blows them up.
        std: as in group-relative.
        std_epsilon: as in group-relative.
    """
    if not 0 <= unlikeliness_beta < 1:
        raise InputError(f"unlikeliness_beta: is {unlikeliness_beta}; give a number from 0 to below 1")
    decided_PG = group.decided_PG
    logp_PG = torch.where(decided_PG, group.require("mean_logprobs_PG"), torch.inf)
    rank_PG = (logp_PG[:, None, :] < logp_PG[:, :, None]).sum(2)
    share_PG = rank_PG.to(group.rewards_PG.dtype) / decided_PG.sum(1, keepdim=True).clamp(min=1)
    shaped_PG = group.rewards_PG * (1.0 - unlikeliness_beta * share_PG)
    adv_PG = group_relative(GroupBatch(rewards_PG=shaped_PG, valid_PG=group.valid_PG), std=std, std_epsilon=std_epsilon)
    if not skip_equal:
        return adv_PG
    differ_P1 = (torch.where(decided_PG, group_relative(group, std="none"), 0.0) != 0).any(1, keepdim=True)
    return torch.where(differ_P1, adv_PG, 0.0)
