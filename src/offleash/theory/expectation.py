"""The mean update over everything that could be sampled: by enumerating groups, or by strata where those are too many."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from offleash.core import InputError, rng
from offleash.objectives import Objective
from offleash.theory.measures import probabilities
from offleash.theory.updates import independent, update
from offleash.theory.worlds import World

MOST_GROUPS = 200_000
CHUNK = 20_000


def multisets(outcomes: int, group: int) -> Tensor:
    """All groups (K, G) of `group` outcomes as sorted indices: what can be sampled, up to order.

    Raises:
        InputError: more than MOST_GROUPS.
    """
    count = math.comb(outcomes + group - 1, group)
    if count > MOST_GROUPS:
        raise InputError(
            f"group: {count:,} groups of {group} from {outcomes} outcomes are too many to enumerate; "
            "use stratified_update, or a smaller group"
        )
    return torch.tensor(list(itertools.combinations_with_replacement(range(outcomes), group))).view(count, group)


def multiset_probabilities(groups_KG: Tensor, probabilities_M: Tensor) -> Tensor:
    """Probability (K) of drawing each multiset in any order; sums to 1."""
    counts_KM = torch.nn.functional.one_hot(groups_KG, len(probabilities_M)).sum(1).to(torch.float64)
    log_orders_K = math.lgamma(groups_KG.shape[1] + 1) - torch.lgamma(counts_KM + 1).sum(1)
    return (log_orders_K + torch.xlogy(counts_KM, probabilities_M).sum(1)).exp()


def expected_update(
    objective: Objective,
    world: World,
    logits_SV: Tensor,
    group: int,
    *,
    reference_SV: Tensor | None = None,
    demonstration: int | None = None,
) -> Tensor:
    """Exact mean (S, V) over all groups of `update`, on-policy, for a world of one prompt.

    Args:
        objective: any preset; one that remembers starts without a memory.
        world: of one prompt.
        logits_SV: the policy.
        group: G, demonstration included.
        reference_SV: for a KL penalty.
        demonstration: outcome that stands in every group as a demonstration.

    Raises:
        InputError: several prompts, or too many groups to enumerate.
    """
    _one_prompt(world)
    fixed = [] if demonstration is None else [demonstration]
    groups_KG = multisets(world.outcomes, group - len(fixed))
    weight_K = multiset_probabilities(groups_KG, probabilities(world, logits_SV)[0])
    groups_KG = torch.cat([torch.tensor(fixed, dtype=torch.long).expand(len(groups_KG), -1), groups_KG], 1)
    possible_K = weight_K > 0
    return _weighted(objective, world, logits_SV, groups_KG[possible_K], weight_K[possible_K], reference_SV, len(fixed))


def _weighted(
    objective: Objective,
    world: World,
    logits_SV: Tensor,
    groups_KG: Tensor,
    weight_K: Tensor,
    reference_SV: Tensor | None,
    demonstrations: int,
) -> Tensor:
    total = torch.zeros_like(logits_SV)
    together = independent(objective, world, groups_KG.shape[1], demonstrations)
    for part_KG, part_K in zip(groups_KG.split(CHUNK), weight_K.split(CHUNK), strict=True):
        logits_KSV = logits_SV.expand(len(part_KG), -1, -1)
        reference = None if reference_SV is None else reference_SV.expand_as(logits_KSV)
        each_KSV = update(
            objective,
            world,
            logits_KSV,
            part_KG[:, None],
            reference_RSV=reference,
            demonstrations=demonstrations,
            together=together,
        )
        total += torch.einsum("k,ksv->sv", part_K, each_KSV)
    return total


@dataclass(frozen=True)
class Sampled:
    """A mean of updates (S, V) with its standard error (S, V)."""

    mean_SV: Tensor
    error_SV: Tensor


def sampled_update(
    objective: Objective, world: World, logits_SV: Tensor, group: int, samples: int, seed: int
) -> Sampled:
    """Mean of `samples` independent sampled updates: what the trainer does, many times."""
    _one_prompt(world)
    p_M = probabilities(world, logits_SV)[0].numpy()
    draw = rng.stream("sampled updates", seed)
    groups_KG = torch.from_numpy(draw.choice(world.outcomes, size=(samples, group), p=p_M / p_M.sum()))
    return _mean(_each(objective, world, logits_SV, groups_KG))


def stratified_update(
    objective: Objective, world: World, logits_SV: Tensor, group: int, samples: int, seed: int
) -> Sampled:
    """Mean update where groups are too many to enumerate: strata by the number of right outcomes in the group.

    Each stratum's probability is exact (binomial), so the error is only that of which right and which wrong outcomes a
    group holds. `samples` are dealt to the strata by probability, at least two each.
    """
    _one_prompt(world)
    p_M = probabilities(world, logits_SV)[0].numpy()
    right_M = world.correct_PM[0].numpy()
    rate = float(p_M[right_M].sum())
    draw = rng.stream("stratified updates", seed)
    mean, variance = torch.zeros_like(logits_SV), torch.zeros_like(logits_SV)
    for c in range(group + 1):
        weight = math.comb(group, c) * rate**c * (1 - rate) ** (group - c)
        if weight == 0.0:
            continue
        n = max(2, round(samples * weight))
        right = _choose(draw, p_M * right_M, (n, c))
        wrong = _choose(draw, p_M * ~right_M, (n, group - c))
        part = _mean(_each(objective, world, logits_SV, torch.from_numpy(np.concatenate([right, wrong], 1))))
        mean, variance = mean + weight * part.mean_SV, variance + (weight * part.error_SV) ** 2
    return Sampled(mean, variance.sqrt())


def _choose(draw: np.random.Generator, p_M: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if shape[1] == 0:
        return np.zeros(shape, dtype=np.int64)
    return draw.choice(len(p_M), size=shape, p=p_M / p_M.sum())


def _each(objective: Objective, world: World, logits_SV: Tensor, groups_KG: Tensor) -> Tensor:
    return update(objective, world, logits_SV.expand(len(groups_KG), -1, -1), groups_KG[:, None])


def _mean(each_KSV: Tensor) -> Sampled:
    return Sampled(each_KSV.mean(0), each_KSV.std(0) / math.sqrt(len(each_KSV)))


def _one_prompt(world: World) -> None:
    if world.prompts != 1:
        raise InputError(f"world: has {world.prompts} prompts; the mean update is taken one prompt at a time")
