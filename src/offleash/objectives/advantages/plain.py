"""Advantages of one sample alone: no baseline from the group."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage


@advantage("reward")
def plain_reward(group: GroupBatch) -> Float[Tensor, "P G"]:
    """A = R."""
    return group.rewards_PG.clone()


@advantage("signed-binary")
def signed_binary(
    group: GroupBatch, *, positive_weight: float = 1.0, negative_weight: float = 1.0
) -> Float[Tensor, "P G"]:
    """`positive_weight` where the answer is right (R = 1), -`negative_weight` where it is wrong (R = 0).

    Raises:
        InputError: a reward is neither 0 nor 1. A format or length term would put samples in neither class.
    """
    require_binary(group)
    return positive_weight * group.rewards_PG - negative_weight * (1.0 - group.rewards_PG)


def require_binary(group: GroupBatch) -> None:
    """Raise InputError unless every decided reward is 0 or 1."""
    reward_PG = group.rewards_PG
    bad_PG = (reward_PG != 0) & (reward_PG != 1) & group.decided_PG
    if bad_PG.any():
        p, g = bad_PG.nonzero()[0].tolist()
        raise InputError(
            f"rewards_PG: row {p}, sample {g} is {reward_PG[p, g].item()}; "
            "this objective tells right (1) from wrong (0); give the verdict itself as reward"
        )
