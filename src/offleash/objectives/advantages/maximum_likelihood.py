"""MaxRL: the likelihood of a correct answer instead of its probability.

F. Tajwar et al., "Maximum Likelihood Reinforcement Learning", arXiv 2602.02710.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.advantages.group import group_relative
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage


@advantage("mean-normalised", group_baseline=True)
def mean_normalised(group: GroupBatch) -> Float[Tensor, "P G"]:
    """(R - mean) / mean over the group; 0 where the mean is 0.

    For 0/1 rewards the mean gradient is that of log p expanded in 1 - p to order G - 1, p the success rate: derived,
    and tested on an enumerated policy (a group without a success gives 0, which takes the last of G orders away).

    Raises:
        InputError: a reward below 0, under which the mean is no success rate.
    """
    decided_PG = group.decided_PG
    bad_PG = (group.rewards_PG < 0) & decided_PG
    if bad_PG.any():
        p, g = bad_PG.nonzero()[0].tolist()
        raise InputError(
            f"rewards_PG: row {p}, sample {g} is {group.rewards_PG[p, g].item()}; this objective divides by the mean "
            "reward of a prompt; give rewards of at least 0"
        )
    kept_PG = torch.where(decided_PG, group.rewards_PG, 0.0)
    mean_P1 = kept_PG.sum(1, keepdim=True) / decided_PG.sum(1, keepdim=True).clamp(min=1)
    return group_relative(group, std="none") / torch.where(mean_P1 > 0, mean_P1, 1.0)
