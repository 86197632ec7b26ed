"""From rewards of groups to advantages: one idea a file, each `fn(group: GroupBatch, *, settings) -> adv_PG`."""

from offleash.objectives.advantages.demonstration import demonstration_only
from offleash.objectives.advantages.group import (
    group_relative,
    leave_one_out,
    negative_only,
    normalise,
    standard_deviation,
)
from offleash.objectives.advantages.overlong import soft_overlong
from offleash.objectives.advantages.plain import plain_reward, signed_binary

__all__ = [
    "demonstration_only",
    "group_relative",
    "leave_one_out",
    "negative_only",
    "normalise",
    "plain_reward",
    "signed_binary",
    "soft_overlong",
    "standard_deviation",
]
