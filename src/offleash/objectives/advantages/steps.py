"""Credit for the steps of a trajectory: RLVMR's tagged steps, and groups of steps within the group (GiGPO)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.advantages.group import STDS, group_relative
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage

SINGLETONS = ("zero", "reward")
_STEPS = ("step_rewards_PGS", "step_mask_PGS")


@advantage("tagged-steps", needs=(*_STEPS, "step_tags_PGS"), group_baseline=True)
def tagged_steps(
    group: GroupBatch,
    *,
    trajectory_weight: float = 0.5,
    step_weight: float = 0.5,
    std: str = "population",
    std_epsilon: float = 1e-6,
    singleton: str = "zero",
) -> Float[Tensor, "P G S"]:
    """trajectory_weight x A(trajectory) + step_weight x A(step), each step compared with the group's steps of its tag.

    Z. Zhang et al., "RLVMR", arXiv 2507.22844. Steps without a tag get the trajectory's part alone.

    Args:
        group: rewards of trajectories and of steps, and the steps' tags.
        trajectory_weight: the paper's alpha; 1 in the released code.
        step_weight: the paper's 1 - alpha; 1 in the released code.
        std: of both comparisons, "population", "sample" or "none".
        std_epsilon: added to it.
        singleton: what the only step of its tag gets: "zero", or its "reward" as in the released code.
    """
    tags_PGS = group.require("step_tags_PGS")
    compared_PGS = group.require("step_mask_PGS") & (tags_PGS >= 0)
    return _combined(
        group, group.require("step_rewards_PGS"), tags_PGS, compared_PGS, trajectory_weight, step_weight,
        std, std_epsilon, singleton,
    )  # fmt: skip


@advantage("state-steps", needs=(*_STEPS, "step_states_PGS"), group_baseline=True)
def state_steps(
    group: GroupBatch,
    *,
    trajectory_weight: float = 1.0,
    step_weight: float = 1.0,
    discount: float = 0.95,
    std: str = "none",
    std_epsilon: float = 1e-6,
    singleton: str = "zero",
) -> Float[Tensor, "P G S"]:
    """trajectory_weight x A(trajectory) + step_weight x A(step), each step compared with those from the same state.

    L. Feng et al., "Group-in-Group Policy Optimization for LLM Agent Training", arXiv 2505.10978. What is compared is a
    step's discounted return, sum_{k >= t} discount^(k - t) r_k.

    Args:
        group: rewards of trajectories and of steps, and the states the steps start from.
        trajectory_weight: weight of the comparison of whole trajectories.
        step_weight: the paper's omega.
        discount: the paper's gamma.
        std: of both comparisons.
        std_epsilon: added to it.
        singleton: what the only step from its state gets: "zero", or its return as "reward".
    """
    if not 0 <= discount <= 1:
        raise InputError(f"discount: is {discount}; give a number from 0 to 1")
    mask_PGS = group.require("step_mask_PGS")
    returns_PGS = discounted(torch.where(mask_PGS, group.require("step_rewards_PGS"), 0.0), discount)
    return _combined(
        group, returns_PGS, group.require("step_states_PGS"), mask_PGS, trajectory_weight, step_weight,
        std, std_epsilon, singleton,
    )  # fmt: skip


def discounted(rewards_PGS: Float[Tensor, "P G S"], discount: float) -> Float[Tensor, "P G S"]:
    """Return from each step on."""
    returns_PGS = rewards_PGS.clone()
    for s in range(rewards_PGS.shape[2] - 2, -1, -1):
        returns_PGS[..., s] += discount * returns_PGS[..., s + 1]
    return returns_PGS


def _combined(
    group: GroupBatch,
    values_PGS: Tensor,
    kinds_PGS: Tensor,
    compared_PGS: Tensor,
    trajectory_weight: float,
    step_weight: float,
    std: str,
    std_epsilon: float,
    singleton: str,
) -> Tensor:
    if std not in STDS:
        raise unknown_name("std", std, STDS)
    if singleton not in SINGLETONS:
        raise unknown_name("singleton", singleton, SINGLETONS)
    compared_PGS = compared_PGS & group.decided_PG[..., None]
    step_PGS = compare_steps(values_PGS, kinds_PGS, compared_PGS, std, std_epsilon, singleton)
    whole_PG1 = group_relative(group, std=std, std_epsilon=std_epsilon)[..., None]
    both_PGS = trajectory_weight * whole_PG1 + step_weight * step_PGS
    return torch.where(group.require("step_mask_PGS"), both_PGS, 0.0)


def compare_steps(
    values_PGS: Float[Tensor, "P G S"],
    kinds_PGS: Int[Tensor, "P G S"],
    compared_PGS: Bool[Tensor, "P G S"],
    std: str,
    std_epsilon: float,
    singleton: str = "zero",
) -> Float[Tensor, "P G S"]:
    """(value - mean) / (std + std_epsilon) among the compared steps of a prompt that are of one kind; 0 for the others."""
    prompts = len(values_PGS)
    value_PM = torch.where(compared_PGS, values_PGS, 0.0).view(prompts, -1)
    kind_PM, compared_PM = kinds_PGS.reshape(prompts, -1), compared_PGS.reshape(prompts, -1)
    peers_PMM = (kind_PM[:, :, None] == kind_PM[:, None, :]) & compared_PM[:, :, None] & compared_PM[:, None, :]
    n_PM = peers_PMM.sum(2)
    mean_PM = torch.where(peers_PMM, value_PM[:, None, :], 0.0).sum(2) / n_PM.clamp(min=1)
    low_PM = torch.where(peers_PMM, value_PM[:, None, :], torch.inf).amin(2)
    high_PM = torch.where(peers_PMM, value_PM[:, None, :], -torch.inf).amax(2)
    # The mean of equal numbers can differ from them in the last bit, which 1 / std_epsilon would blow up.
    adv_PM = torch.where(low_PM == high_PM, 0.0, value_PM - mean_PM)
    if std != "none":
        gap_PMM = torch.where(peers_PMM, value_PM[:, None, :] - mean_PM[:, :, None], 0.0)
        freedom_PM = (n_PM - 1 if std == "sample" else n_PM).clamp(min=1)
        adv_PM = adv_PM / ((gap_PMM.square().sum(2) / freedom_PM).sqrt() + std_epsilon)
    if singleton == "reward":
        adv_PM = torch.where(n_PM == 1, value_PM, adv_PM)
    return torch.where(compared_PM, adv_PM, 0.0).view_as(values_PGS)
