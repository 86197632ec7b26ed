"""Advantages that hold back the lucky success, for `get("grpo", advantage="offleash.theory.remedies:capped")`."""

from __future__ import annotations

import torch
from torch import Tensor

from offleash.objectives import GroupBatch
from offleash.objectives.advantages.group import group_relative


def capped(group: GroupBatch, *, cap: float = 1.0) -> Tensor:
    """The group-relative advantage (population deviation), held within +-cap; (P, G)."""
    return group_relative(group, std="population").clamp(-cap, cap)


def confirmed(group: GroupBatch, *, least: int = 2) -> Tensor:
    """The group-relative advantage (population deviation), and 0 in groups with fewer than `least` successes; (P, G)."""
    successes_P1 = (group.rewards_PG == 1).sum(1, keepdim=True)
    return torch.where(successes_P1 >= least, group_relative(group, std="population"), 0.0)
