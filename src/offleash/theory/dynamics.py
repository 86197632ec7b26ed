"""Training that calls the preset at every step, for what no table holds; and the mean path, without sampling noise.

No table holds KL penalties, demonstrations, several updates a rollout, several prompts, and sequences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from offleash.core import InputError, rng
from offleash.objectives import Objective
from offleash.theory.expectation import expected_update
from offleash.theory.measures import probabilities, sequence_logprobs
from offleash.theory.updates import independent, update
from offleash.theory.worlds import World

Progress = Callable[[int], None]
TRIES, NEAR = 8, 1.0


@dataclass(frozen=True)
class Path:
    """What training passed through: `probabilities_EPM`, with replicas R after E where there are some, at `steps_E`."""

    steps_E: tuple[int, ...]
    probabilities_ERPM: Tensor
    logits_RSV: Tensor

    def first(self, prompt: int, outcome: int, above: float = 0.5) -> Tensor:
        """First recorded step (R) at which an outcome is more probable than `above`; NaN where it never is."""
        hit_ER = self.probabilities_ERPM[:, :, prompt, outcome] > above
        steps_E1 = torch.tensor(self.steps_E, dtype=torch.float64)[:, None]
        first_R = torch.where(hit_ER, steps_E1, torch.inf).amin(0)
        return torch.where(first_R.isinf(), torch.nan, first_R)


def train(
    objective: Objective,
    world: World,
    start_RSV: Tensor,
    *,
    group: int,
    rate: float,
    steps: int,
    seeds: Sequence[int] | None = None,
    prompts: Sequence[int] | None = None,
    demonstrations: Sequence[int] = (),
    features_DSV: Tensor | None = None,
    updates_per_rollout: int = 1,
    reset_every: int | None = None,
    reward_beta: float = 0.0,
    rewards_RPM: Tensor | None = None,
    one_batch: bool = False,
    every: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Train R replicas by plain gradient ascent on sampled groups.

    Args:
        objective: any preset that keeps no memory.
        world: prompts and outcomes.
        start_RSV: logits of each replica at the start, which is also the reference of a KL penalty.
        group: G, demonstrations included.
        rate: learning rate.
        steps: rollouts.
        seeds: stream of luck of each replica; 0, 1, ... by default. Replicas of one seed share their luck.
        prompts: the prompts trained on; all by default.
        demonstrations: outcomes that stand in every group, off-policy.
        features_DSV: the parameters are D weights of these features, added to the logits at the start, so that what is
            learned at one context moves others; by default every logit is a parameter of its own.
        updates_per_rollout: optimizer steps on the same samples.
        reset_every: the reference becomes the policy every so many steps.
        reward_beta: k1 in the reward: reward - reward_beta x log(policy / reference) of the sample.
        rewards_RPM: each replica's own rewards; the world's by default.
        one_batch: the replicas are prompts of one optimizer step, as a trainer has them, for objectives that choose tokens
            or take statistics over the step; by default every replica is a step of its own.
        every: record every so many steps; the end is always recorded.
        progress: called with the number of steps done.

    Raises:
        InputError: the objective keeps a memory from step to step.
    """
    if objective.remembers:
        raise InputError(
            f"objective: {objective.name} remembers from step to step; the theory room trains those that do not"
        )
    chosen = _only(world, prompts)
    together = one_batch or independent(objective, chosen, group, len(demonstrations))
    streams = [rng.stream("theory dynamics", seed) for seed in (range(len(start_RSV)) if seeds is None else seeds)]
    logits = start_RSV.clone()
    reference, marks, recorded = logits, [], []
    for step in range(steps):
        if step % every == 0:
            marks.append(step)
            recorded.append(probabilities(world, logits))
        if reset_every and step and step % reset_every == 0:
            reference = logits
        old = logits
        outcomes = _draw(chosen, old, streams, group - len(demonstrations))
        if demonstrations:
            shown = torch.tensor(list(demonstrations)).expand(*outcomes.shape[:2], -1)
            outcomes = torch.cat([shown, outcomes], 2)
        rewards = _rewards(chosen, old, reference, outcomes, reward_beta, rewards_RPM)
        for _ in range(updates_per_rollout):
            ascent = update(
                objective,
                chosen,
                logits,
                outcomes,
                old_RSV=old,
                reference_RSV=reference,
                demonstrations=len(demonstrations),
                together=together,
                rewards_RPG=rewards,
            )
            logits = logits + rate * (ascent if features_DSV is None else _shared(features_DSV, ascent))
        if progress:
            progress(step + 1)
    return Path((*marks, steps), torch.stack([*recorded, probabilities(world, logits)]), logits)


def mean_path(
    objective: Objective,
    world: World,
    start_SV: Tensor,
    *,
    group: int,
    rate: float,
    steps: int,
    every: int = 1,
) -> Path:
    """Gradient ascent along the exact mean update, the reference being the start: training without luck."""
    logits, marks, recorded = start_SV.clone(), [], []
    for step in range(steps):
        if step % every == 0:
            marks.append(step)
            recorded.append(probabilities(world, logits[None]))
        logits = logits + rate * expected_update(objective, world, logits, group, reference_SV=start_SV)
    return Path((*marks, steps), torch.stack([*recorded, probabilities(world, logits[None])]), logits[None])


def fixed_point(
    objective: Objective,
    world: World,
    start_SV: Tensor,
    *,
    group: int,
    rate: float,
    follow: int = 40,
    tolerance: float = 1e-10,
) -> Tensor:
    """Logits (S, V) at which the exact mean update is 0, the reference being the start.

    The mean path is followed for `follow` steps, and its end polished by a root finder: the last digits of a path take
    thousands of steps.

    Raises:
        InputError: no point with an update below `tolerance` was found.
    """
    from scipy.optimize import root

    shape, logits = start_SV.shape, start_SV

    def rises(flat: np.ndarray) -> np.ndarray:
        found = expected_update(objective, world, torch.from_numpy(flat).view(shape), group, reference_SV=start_SV)
        # The update sums to 0, so one equation is free: the sum of the logits is kept instead.
        return found.flatten().numpy() + (flat.sum() - float(start_SV.sum())) / len(flat)

    left, away, before = math.inf, math.inf, None
    for _ in range(TRIES):
        for _ in range(follow):
            logits = logits + rate * expected_update(objective, world, logits, group, reference_SV=start_SV)
        point = torch.from_numpy(root(rises, logits.flatten().numpy(), tol=1e-14).x).view(shape)
        left = float(expected_update(objective, world, point, group, reference_SV=start_SV).abs().max())
        # Far from where the path has come to, the root may be another one, such as a corner, where nothing moves any more:
        # then it must be the same as from the try before, and the path have come nearer to it.
        distance = float((point - logits).abs().max())
        again = before is not None and float((point - before).abs().max()) < 1e-6 and distance < away
        if left < tolerance and (distance < NEAR or again):
            return point
        away, before = distance, point
    raise InputError(
        f"rate: {objective.name} is not at rest after {TRIES * follow} steps of {rate:g} (update {left:.2g}); give another"
    )


def _only(world: World, prompts: Sequence[int] | None) -> World:
    if prompts is None:
        return world
    index = torch.tensor(list(prompts))
    named = ("context_PMT", "rewards_PM", "chance_PM", "correct_PM")
    return replace(world, **{name: getattr(world, name)[index] for name in named})


def _draw(world: World, logits_RSV: Tensor, streams: Sequence[np.random.Generator], group: int) -> Tensor:
    """Sample (R, P, G) outcomes by inverse CDF, one stream a replica."""
    luck = torch.from_numpy(np.stack([stream.random((world.prompts, group)) for stream in streams]))
    edges_RPM = probabilities(world, logits_RSV).cumsum(-1)
    drawn: Tensor = torch.searchsorted(edges_RPM, luck, right=True)
    return drawn.clamp(max=world.outcomes - 1)


def _rewards(
    world: World, old_RSV: Tensor, reference_RSV: Tensor, outcomes_RPG: Tensor, beta: float, rewards_RPM: Tensor | None
) -> Tensor:
    if rewards_RPM is None:
        rewards_RPM = world.rewards_PM.expand(len(outcomes_RPG), -1, -1)
    if beta:
        gap_RPM = sequence_logprobs(world, old_RSV) - sequence_logprobs(world, reference_RSV)
        rewards_RPM = rewards_RPM - beta * gap_RPM
    return rewards_RPM.gather(2, outcomes_RPG)


def _shared(features_DSV: Tensor, ascent_RSV: Tensor) -> Tensor:
    """What a step of the weights does to the logits."""
    weights_RD = torch.einsum("dsv,rsv->rd", features_DSV, ascent_RSV)
    return torch.einsum("rd,dsv->rsv", weights_RD, features_DSV)
