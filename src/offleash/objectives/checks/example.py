"""A small random step for any preset: groups of rewards, their tokens, and the denominator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from offleash.core import rng
from offleash.objectives.batch import TokenBatch
from offleash.objectives.compose import Objective
from offleash.objectives.preset import Preset, build
from offleash.objectives.reduce import Denominator

VOCAB = 11
LIMIT = 9
"""The generation limit of the examples: not the padded width, so that mistaking the two shows."""


@dataclass(frozen=True)
class Example:
    """A step batch of P x G completions of up to T tokens."""

    objective: Objective
    rewards_PG: Tensor
    external_PG: Tensor
    batch: TokenBatch
    denominator: Denominator

    def with_advantages(self, advantages: Tensor) -> Example:
        """The same tokens under other advantages."""
        batch = replace(self.batch, advantages=advantages)
        return replace(self, batch=batch, denominator=denominator(self.objective, batch))


def example(
    preset: Preset,
    *,
    seed: int = 0,
    prompts: int = 3,
    group: int = 4,
    tokens: int = 7,
    spread: float = 0.5,
    **overrides: Any,
) -> Example:
    """Binary rewards with right and wrong ones in most groups, ragged lengths, an empty row, log-ratios up to +-spread.

    Demonstrations are the first sample of each group where the objective has a rule for them. `spread` 0 is on-policy.
    """
    objective = build(preset, **overrides)
    draw = rng.stream("objective check", preset.name, seed)
    n = prompts * group
    rewards_PG = torch.from_numpy(draw.integers(0, 2, (prompts, group)).astype("float64"))
    rewards_PG[0, :2] = torch.tensor([1.0, 0.0])
    external_PG = torch.zeros(prompts, group, dtype=torch.bool)
    external_PG[:, 0] = objective.uses_external
    length_N = torch.from_numpy(draw.integers(1, tokens + 1, n))
    length_N[0], length_N[-1] = tokens, 0
    logprobs = -torch.from_numpy(draw.uniform(0.05, 3.0, (n, tokens)))
    old = logprobs + spread * torch.from_numpy(draw.uniform(-1.0, 1.0, (n, tokens)))
    reference = logprobs + torch.from_numpy(draw.uniform(-0.5, 0.5, (n, tokens)))
    entropy = torch.from_numpy(draw.uniform(0.1, 2.0, (n, tokens)))
    batch = TokenBatch(
        logprobs=logprobs,
        mask=torch.arange(tokens) < length_N[:, None],
        advantages=objective.advantages(rewards_PG, external_PG).flatten(),
        vocab_size=VOCAB,
        old_logprobs=old.clamp(max=-1e-3),
        ref_logprobs=reference,
        entropy=entropy,
        external=external_PG.flatten(),
        correct=(rewards_PG == 1.0).flatten(),
        group_ids=torch.arange(n) // group,
    )
    batch, _ = objective.prepare(batch, key=(seed,))
    return Example(objective, rewards_PG, external_PG, batch, denominator(objective, batch))


def denominator(objective: Objective, batch: TokenBatch, limit: int = LIMIT) -> Denominator:
    """The denominator of a whole step batch under a generation limit."""
    return objective.denominator(
        batch.mask,
        advantages=batch.advantages,
        external=batch.external,
        correct=batch.correct,
        max_completion_length=limit,
    )


def gradient(
    objective: Objective, batch: TokenBatch, divisor: Denominator
) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """Loss, its gradient with respect to log-probs and to entropies, and the metrics."""
    logprobs = batch.logprobs.detach().clone().requires_grad_()
    entropy = None if batch.entropy is None else batch.entropy.detach().clone().requires_grad_()
    loss, metrics = objective.loss(replace(batch, logprobs=logprobs, entropy=entropy), divisor)
    wanted = [logprobs] if entropy is None else [logprobs, entropy]
    grads = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return loss.detach(), grads[0], grads[1] if entropy is not None else torch.zeros_like(grads[0]), metrics
