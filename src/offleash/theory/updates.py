"""The update that a preset gives on given groups: the trainer's own objective, run on an enumerable policy.

No formula of any method stands here. `update` fills the GroupBatch and TokenBatch that the trainer fills, asks the objective
for its loss and returns minus the gradient with respect to the logits.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from offleash.core import rng
from offleash.objectives import GroupBatch, Objective, TokenBatch
from offleash.objectives.checks.example import annotated
from offleash.objectives.compose import over_tokens
from offleash.objectives.preset import denominator_of
from offleash.theory.measures import token_logprobs
from offleash.theory.worlds import World


def update(
    objective: Objective,
    world: World,
    logits_RSV: Tensor,
    outcomes_RPG: Tensor,
    *,
    old_RSV: Tensor | None = None,
    reference_RSV: Tensor | None = None,
    demonstrations: int = 0,
    together: bool | None = None,
    rewards_RPG: Tensor | None = None,
) -> Tensor:
    """Minus the gradient (R, S, V) of each replica's loss, each replica being an optimizer step of its own.

    Args:
        objective: from `objectives.get`.
        world: prompts and outcomes.
        logits_RSV: the policies being trained.
        outcomes_RPG: index of each of G sampled outcomes of each of P prompts.
        old_RSV: the policies that sampled; those being trained by default (ratio 1).
        reference_RSV: for a KL penalty; the sampling policies by default.
        demonstrations: how many of each group, from its start, are demonstrations rather than samples.
        together: whether replicas may share one call of the loss; None to find out (`independent`).
        rewards_RPG: rewards other than the outcomes' own, e.g. with a penalty inside.
    """
    if together is None:
        together = independent(objective, world, outcomes_RPG.shape[2], demonstrations)
    old_RSV = logits_RSV.detach() if old_RSV is None else old_RSV
    reference_RSV = old_RSV if reference_RSV is None else reference_RSV
    if rewards_RPG is None:
        rewards_RPG = world.rewards_PM.expand(len(outcomes_RPG), -1, -1).gather(2, outcomes_RPG)
    parts = [logits_RSV, outcomes_RPG, old_RSV, reference_RSV, rewards_RPG]
    if together:
        return _gradient(objective, world, demonstrations, *parts)
    rows = [[part[r : r + 1] for part in parts] for r in range(len(outcomes_RPG))]
    return torch.cat([_gradient(objective, world, demonstrations, *row) for row in rows])


def independent(objective: Objective, world: World, group: int, demonstrations: int = 0) -> bool:
    """Whether the replicas of one call do not see each other: tried, not assumed.

    A statistic over the batch, a selection of tokens or a denominator by kind of rows makes them see each other; then
    every replica needs a call of its own.
    """
    key = (objective.name, repr(sorted(objective.settings.items())), world.prompts, world.mask_MT.shape, world.vocab)
    if (key, group, demonstrations) not in _KNOWN:
        _KNOWN[key, group, demonstrations] = _try_together(objective, world, group, demonstrations)
    return _KNOWN[key, group, demonstrations]


_KNOWN: dict[tuple[object, int, int], bool] = {}


def _try_together(objective: Objective, world: World, group: int, demonstrations: int) -> bool:
    draw = rng.stream("independent replicas", world.outcomes, group)
    shape = (8, world.prompts, group)
    outcomes = torch.from_numpy(draw.integers(0, world.outcomes, shape))
    rewards = torch.from_numpy(draw.integers(0, 2, shape).astype("float64"))
    rewards[0] = 0.0  # a group that does not differ
    # From flat to peaked policies, and off-policy: selections and controls may bite only there.
    scale = torch.linspace(0.3, 6.0, 8, dtype=torch.float64)[:, None, None]
    old = scale * torch.from_numpy(draw.normal(0.0, 1.0, (8, world.contexts, world.vocab)))
    logits = old + torch.from_numpy(draw.normal(0.0, 0.1, old.shape))
    alone, together = (
        update(
            objective,
            world,
            logits,
            outcomes,
            old_RSV=old,
            rewards_RPG=rewards,
            demonstrations=demonstrations,
            together=both,
        )
        for both in (False, True)
    )
    return bool(torch.allclose(alone, together, rtol=1e-9, atol=1e-12))


def _gradient(
    objective: Objective,
    world: World,
    demonstrations: int,
    logits_RSV: Tensor,
    outcomes_RPG: Tensor,
    old_RSV: Tensor,
    reference_RSV: Tensor,
    rewards_RPG: Tensor,
) -> Tensor:
    replicas, prompts, group = outcomes_RPG.shape
    leaf = logits_RSV.detach().clone().requires_grad_()
    old_NT = _gather(world, token_logprobs(world, old_RSV), outcomes_RPG)
    external_PG = (torch.arange(group) < demonstrations).expand(replicas * prompts, group)
    rewards_PG = rewards_RPG.reshape(replicas * prompts, group)
    groups = GroupBatch(rewards_PG=rewards_PG, external_PG=external_PG)
    if objective.group_needs:
        groups = replace(_annotated(world, outcomes_RPG, rewards_PG, old_NT), external_PG=external_PG)
    groups, state = objective.prepare(groups)
    steps_NT = torch.arange(world.mask_MT.shape[1]).expand_as(old_NT)
    # What no part reads is left out: a step of training costs as much as its smallest operations.
    needs = objective.needs
    ref = _gather(world, token_logprobs(world, reference_RSV), outcomes_RPG) if "ref_logprobs" in needs else None
    prompt_N = torch.arange(replicas * prompts).repeat_interleave(group)
    batch = TokenBatch(
        logprobs=_gather(world, token_logprobs(world, leaf), outcomes_RPG),
        old_logprobs=old_NT,
        engine_logprobs=old_NT if "engine_logprobs" in needs else None,
        ref_logprobs=ref,
        entropy=_entropies(world, leaf, outcomes_RPG) if "entropy" in needs else None,
        mask=world.mask_MT[outcomes_RPG].flatten(0, 2),
        advantages=over_tokens(objective.advantages(groups), steps_NT),
        vocab_size=world.vocab,
        external=external_PG.flatten(),
        correct=rewards_RPG.flatten() == 1.0 if "correct" in needs else None,
        group_ids=prompt_N if "group_ids" in needs else None,
        planning=world.token_MT[outcomes_RPG].flatten(0, 2) == 0 if "planning" in needs else None,
    )
    batch, _ = objective.prepare(batch, state)
    loss, _ = objective.loss(batch, denominator_of(objective, batch, world.mask_MT.shape[1]))
    # The step's loss is a mean over its completions; R replicas in one call are R steps.
    (grad,) = torch.autograd.grad(-replicas * loss, leaf)
    return grad


def _gather(world: World, values_RPMT: Tensor, outcomes_RPG: Tensor) -> Tensor:
    """(N, T) values of the sampled outcomes, N = R x P x G."""
    index = outcomes_RPG[..., None].expand(*outcomes_RPG.shape, values_RPMT.shape[-1])
    return values_RPMT.gather(2, index).flatten(0, 2)


def _entropies(world: World, logits_RSV: Tensor, outcomes_RPG: Tensor) -> Tensor:
    logp_RSV = logits_RSV.log_softmax(-1)
    entropy_RS = -(logp_RSV.exp() * logp_RSV).sum(-1)
    return _gather(world, entropy_RS[:, world.context_PMT], outcomes_RPG)


def _annotated(world: World, outcomes_RPG: Tensor, rewards_PG: Tensor, old_NT: Tensor) -> GroupBatch:
    """Groups with every annotation: the answer is the sequence of tokens, every token is a step, its state the context."""
    replicas, prompts, group = outcomes_RPG.shape
    shape = (replicas * prompts, group)
    powers_T = world.vocab ** torch.arange(world.mask_MT.shape[1])
    answers_M = ((world.token_MT + 1) * world.mask_MT * powers_T).sum(1)
    mask_PGT = world.mask_MT[outcomes_RPG].flatten(0, 1)
    lengths_PG = mask_PGT.sum(2)
    context_PGT = world.context_PMT.expand(replicas, -1, -1, -1).gather(
        2, outcomes_RPG[..., None].expand(*outcomes_RPG.shape, mask_PGT.shape[2])
    )
    last_PGT = world.last_token[outcomes_RPG].flatten(0, 1)
    return replace(
        annotated(rewards_PG, outcomes_RPG.reshape(shape)),
        answers_PG=answers_M[outcomes_RPG].reshape(shape),
        clusters_PG=answers_M[outcomes_RPG].reshape(shape),
        lengths_PG=lengths_PG,
        mean_logprobs_PG=old_NT.view(*shape, -1).sum(2) / lengths_PG,
        step_rewards_PGS=torch.where(last_PGT, rewards_PG[..., None], 0.0),
        step_tags_PGS=world.token_MT[outcomes_RPG].flatten(0, 1),
        step_states_PGS=context_PGT.flatten(0, 1),
        step_mask_PGS=mask_PGT,
    )
