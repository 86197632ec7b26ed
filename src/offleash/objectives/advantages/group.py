"""Baselines from the other samples of the same prompt. A group of one has none: it is an error, not a zero."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage

STDS = ("sample", "population", "none")


@advantage("group-relative", group_baseline=True)
def group_relative(
    group: GroupBatch, *, std: str = "sample", std_epsilon: float = 1e-6, external_in_baseline: bool = True
) -> Float[Tensor, "P G"]:
    """(R - mean) / (std + std_epsilon) over the group; R - mean with std "none". Exactly 0 where all rewards are equal.

    Args:
        group: rewards; undecided completions are in no statistic.
        std: divide by the deviation with G - 1 (sample) or G (population) in its denominator, or not at all.
        std_epsilon: added to the deviation.
        external_in_baseline: whether demonstrations count in mean and deviation. They get an advantage either way.
    """
    if std not in STDS:
        raise unknown_name("std", std, STDS)
    member_PG = group.decided_PG
    if group.external_PG is not None and not external_in_baseline:
        member_PG = member_PG & ~group.external_PG
    return normalise(group.rewards_PG, member_PG, std, std_epsilon)


@advantage("negative-only", group_baseline=True)
def negative_only(
    group: GroupBatch, *, std: str = "sample", std_epsilon: float = 1e-6, external_in_baseline: bool = True
) -> Float[Tensor, "P G"]:
    """min(A, 0) with A from the statistics of the full group: what beats the group's mean is not reinforced."""
    adv_PG = group_relative(group, std=std, std_epsilon=std_epsilon, external_in_baseline=external_in_baseline)
    return adv_PG.clamp(max=0.0)


@advantage("leave-one-out", group_baseline=True)
def leave_one_out(group: GroupBatch) -> Float[Tensor, "P G"]:
    """R minus the mean of the other decided samples of the group: G / (G - 1) x (R - mean), unbiased."""
    decided_PG = group.decided_PG
    n_P1 = decided_PG.sum(1, keepdim=True)
    centred_PG = normalise(group.rewards_PG, decided_PG, "none", 0.0)
    return centred_PG * n_P1 / (n_P1 - 1).clamp(min=1)


def normalise(
    rewards_PG: Float[Tensor, "P G"], member_PG: Bool[Tensor, "P G"], std: str, std_epsilon: float
) -> Float[Tensor, "P G"]:
    """Centre every reward on the mean of the group's members, and divide by their deviation unless `std` is "none".

    A group with fewer than two members has no baseline, so its advantages are 0, as they are where members do not
    differ and nobody else stands outside them.
    """
    n_P1 = member_PG.sum(1, keepdim=True)
    members_PG = torch.where(member_PG, rewards_PG, 0.0)
    mean_P1 = members_PG.sum(1, keepdim=True) / n_P1.clamp(min=1)
    # The mean of equal numbers can differ from them in the last bit, which 1 / std_epsilon would blow up.
    low_P1 = torch.where(member_PG, rewards_PG, torch.inf).amin(1, keepdim=True)
    high_P1 = torch.where(member_PG, rewards_PG, -torch.inf).amax(1, keepdim=True)
    equal_P1 = low_P1 == high_P1
    mean_P1 = torch.where(equal_P1, low_P1, mean_P1)
    centred_PG = torch.where(n_P1 < 2, 0.0, rewards_PG - mean_P1)
    if std == "none":
        return centred_PG
    deviation_P1 = standard_deviation(torch.where(member_PG, centred_PG, 0.0), n_P1, std)
    # Equal members have deviation 0; an outsider (a demonstration kept out of the baseline) would get 1 / epsilon.
    divisor_P1 = torch.where(equal_P1, torch.ones_like(deviation_P1), deviation_P1 + std_epsilon)
    return centred_PG / divisor_P1


def standard_deviation(centred_PG: Float[Tensor, "P G"], n_P1: Tensor, std: str) -> Float[Tensor, "P 1"]:
    """Deviation of centred rewards (0 at non-members), over n - 1 or n; 0 for fewer than two members."""
    freedom_P1 = n_P1 - 1 if std == "sample" else n_P1
    return (centred_PG.square().sum(1, keepdim=True) / freedom_P1.clamp(min=1)).sqrt()


def require_group(name: str, rewards_PG: Float[Tensor, "P G"], least: int = 2) -> None:
    """Raise InputError for groups smaller than `least`: of one, R - mean would be 0 and nothing would train."""
    found = rewards_PG.shape[1]
    if found < least:
        other = "; sample at least 2, or use reinforce" if least == 2 else f"; sample at least {least}, or lower pass_k"
        raise InputError(f"num_generations: is {found}, and {name} compares the samples of a prompt{other}")
