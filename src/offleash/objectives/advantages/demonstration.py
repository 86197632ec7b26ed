"""Advantage of imitation: demonstrations count, rollouts do not."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage


@advantage("demonstration-only")
def demonstration_only(group: GroupBatch) -> Float[Tensor, "P G"]:
    """1 for a demonstration, 0 for a rollout, whatever the rewards."""
    if group.external_PG is None:
        return torch.zeros_like(group.rewards_PG)
    return group.external_PG.to(group.rewards_PG.dtype)
