"""DRO: the reward of a completion is how much likelier it makes the reference's telling tokens.

Y. Xu et al., "Direct Reasoning Optimization", arXiv 2506.13351 v1, the Reasoning Reflection Reward (R3).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from offleash.core.errors import unknown_name
from offleash.objectives.advantages.group import group_relative
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage

TOKEN_WEIGHTS = ("deviation", "uniform")


@advantage(
    "reasoning-reflection",
    needs=("reference_logprobs_PGR", "masked_logprobs_PR", "reference_mask_PR"),
    group_baseline=True,
)
def reasoning_reflection(
    group: GroupBatch,
    *,
    token_weight: str = "deviation",
    reward_weight: float = 0.0,
    std: str = "sample",
    std_epsilon: float = 1e-6,
) -> Float[Tensor, "P G"]:
    """Group-relative advantage of R3 + reward_weight x R.

    Args:
        group: rewards, and the reference's log-probs after each completion and without one.
        token_weight: see `r3`.
        reward_weight: weight of the task's own reward; 0 where there is no verifier.
        std: as in group-relative.
        std_epsilon: as in group-relative.
    """
    mask_PR = group.require("reference_mask_PR")
    after_PGR, without_PR = group.require("reference_logprobs_PGR"), group.require("masked_logprobs_PR")
    reward_PG = r3(after_PGR, without_PR, mask_PR, group.decided_PG, token_weight)
    if reward_weight:
        reward_PG = reward_PG + reward_weight * group.rewards_PG
    shaped = GroupBatch(rewards_PG=reward_PG, valid_PG=group.valid_PG)
    return group_relative(shaped, std=std, std_epsilon=std_epsilon)


def r3(
    after_PGR: Float[Tensor, "P G R"],
    without_PR: Float[Tensor, "P R"],
    mask_PR: Bool[Tensor, "P R"],
    decided_PG: Bool[Tensor, "P G"],
    token_weight: str = "deviation",
) -> Float[Tensor, "P G"]:
    """Sum over reference tokens of weight x (log-prob after the completion - log-prob without it).

    The weight is the token's deviation over the group (population; the paper leaves its increasing function open), so a
    token that no completion changes counts for nothing; or 1 with "uniform".
    """
    if token_weight not in TOKEN_WEIGHTS:
        raise unknown_name("token_weight", token_weight, TOKEN_WEIGHTS)
    kept_PGR = decided_PG[..., None] & mask_PR[:, None, :]
    after_PGR = torch.where(kept_PGR, after_PGR, 0.0)
    gain_PGR = torch.where(kept_PGR, after_PGR - without_PR[:, None, :], 0.0)
    if token_weight == "uniform":
        return gain_PGR.sum(2)
    n_P11 = decided_PG.sum(1)[:, None, None].clamp(min=1)
    mean_P1R = after_PGR.sum(1, keepdim=True) / n_P11
    gap_PGR = torch.where(kept_PGR, after_PGR - mean_P1R, 0.0)
    # Equal log-probs can differ from their mean in the last bit: their weight is 0, not 1e-17.
    equal_P1R = (torch.where(kept_PGR, after_PGR, torch.inf).amin(1, keepdim=True)) == (
        torch.where(kept_PGR, after_PGR, -torch.inf).amax(1, keepdim=True)
    )
    weight_P1R = torch.where(equal_P1R, 0.0, (gap_PGR.square().sum(1, keepdim=True) / n_P11).sqrt())
    return (weight_P1R * gain_PGR).sum(2)
