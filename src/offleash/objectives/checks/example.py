"""A small random step for any preset: groups of rewards, their tokens, and the denominator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from offleash.core import rng
from offleash.objectives.batch import GroupBatch, TokenBatch
from offleash.objectives.compose import Objective, over_tokens
from offleash.objectives.preset import Preset, build, denominator_of
from offleash.objectives.reduce import Denominator

VOCAB = 11
LIMIT = 9
"""The generation limit of the examples: not the padded width, so that mistaking the two shows."""


@dataclass(frozen=True)
class Example:
    """A step batch of P x G completions of up to T tokens."""

    objective: Objective
    group: GroupBatch
    step_NT: Tensor
    batch: TokenBatch
    denominator: Denominator

    @property
    def rewards_PG(self) -> Tensor:
        """The rewards."""
        return self.group.rewards_PG

    @property
    def external_PG(self) -> Tensor:
        """True for demonstrations."""
        assert self.group.external_PG is not None
        return self.group.external_PG

    def advantages(self, rewards_PG: Tensor | None = None, objective: Objective | None = None) -> Tensor:
        """Advantages of the example's groups, with other rewards if given, by another objective if given."""
        group = self.group if rewards_PG is None else replace(self.group, rewards_PG=rewards_PG)
        return advantages(objective or self.objective, group)

    def with_advantages(self, advantages: Tensor) -> Example:
        """The same tokens under other advantages: one a completion, one a token, or as groups with or without steps."""
        if advantages.shape[:2] == self.rewards_PG.shape:
            advantages = over_tokens(advantages, self.step_NT)
        batch = replace(self.batch, advantages=advantages)
        return replace(self, batch=batch, denominator=denominator(self.objective, batch))


def advantages(objective: Objective, group: GroupBatch) -> Tensor:
    """Prepared from an empty state, then computed."""
    return objective.advantages(objective.prepare(group)[0])


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
    objective = build(preset, **{**preset.claims.shown_at, **overrides})
    draw = rng.stream("objective check", preset.name, seed)
    n = prompts * group
    rewards_PG = torch.from_numpy(draw.integers(0, 2, (prompts, group)).astype("float64"))
    rewards_PG[0, :2] = torch.tensor([1.0, 0.0])
    external_PG = torch.zeros(prompts, group, dtype=torch.bool)
    external_PG[:, 0] = objective.uses_external
    length_N = torch.from_numpy(draw.integers(1, tokens + 1, n))
    length_N[0], length_N[-1] = tokens, 0
    logprobs = -torch.from_numpy(draw.uniform(0.05, 3.0, (n, tokens)))
    old = (logprobs + spread * torch.from_numpy(draw.uniform(-1.0, 1.0, (n, tokens)))).clamp(max=-1e-3)
    reference = logprobs + torch.from_numpy(draw.uniform(-0.5, 0.5, (n, tokens)))
    entropy = torch.from_numpy(draw.uniform(0.1, 2.0, (n, tokens)))
    mask = torch.arange(tokens) < length_N[:, None]
    code_PG = torch.from_numpy(draw.integers(0, 64, (prompts, group)))
    groups = replace(
        annotated(rewards_PG, code_PG),
        external_PG=external_PG,
        lengths_PG=length_N.view(prompts, group),
        mean_logprobs_PG=(torch.where(mask, old, 0.0).sum(1) / length_N.clamp(min=1)).view(prompts, group),
    )
    groups, state = objective.prepare(groups)
    step_NT = _steps_of_tokens(groups, tokens)
    batch = TokenBatch(
        logprobs=logprobs,
        mask=mask,
        advantages=over_tokens(objective.advantages(groups), step_NT),
        vocab_size=VOCAB,
        old_logprobs=old,
        engine_logprobs=(old + 0.4 * torch.from_numpy(draw.uniform(-1.0, 1.0, (n, tokens)))).clamp(max=-1e-3),
        ref_logprobs=reference,
        entropy=entropy,
        external=external_PG.flatten(),
        correct=(rewards_PG == 1.0).flatten(),
        group_ids=torch.arange(n) // group,
        planning=torch.from_numpy(draw.random((n, tokens)) < 0.4),
    )
    batch, _ = objective.prepare(batch, state, key=(seed,))
    return Example(objective, groups, step_NT, batch, denominator(objective, batch))


def annotated(rewards_PG: Tensor, code_PG: Tensor) -> GroupBatch:
    """Groups with every annotation there is, each a function of the sample's code (an integer) and of its prompt."""
    prompts, steps = len(rewards_PG), torch.arange(3)
    code_PGS = code_PG[..., None] + 0 * steps
    reference_PGR = -0.2 - 0.3 * ((code_PG[..., None] + torch.arange(2)) % 4).to(torch.float64)
    masked_PR = -1.0 - 0.1 * torch.arange(prompts, dtype=torch.float64)[:, None].expand(prompts, 2)
    return GroupBatch(
        rewards_PG=rewards_PG,
        prompts=tuple(f"prompt {p}" for p in range(prompts)),
        answers_PG=code_PG % 3,
        clusters_PG=code_PG // 3 % 3,
        lengths_PG=1 + code_PG % 5,
        mean_logprobs_PG=-0.1 - 0.37 * (code_PG % 7).to(torch.float64),
        step_rewards_PGS=((code_PGS >> steps) % 2).to(torch.float64),
        step_tags_PGS=(code_PGS + steps) % 3 - 1,
        step_states_PGS=2 * steps + code_PGS // 5 % 2,
        step_mask_PGS=steps <= code_PGS % 3,
        reference_logprobs_PGR=reference_PGR,
        masked_logprobs_PR=masked_PR.contiguous(),
        reference_mask_PR=torch.ones(prompts, 2, dtype=torch.bool),
    )


def _steps_of_tokens(group: GroupBatch, tokens: int) -> Tensor:
    """Tokens dealt out to a completion's steps in order, about equally many to each."""
    count_N1 = group.require("step_mask_PGS").sum(2).flatten()[:, None]
    return torch.arange(tokens) * count_N1 // tokens


def denominator(objective: Objective, batch: TokenBatch, limit: int = LIMIT) -> Denominator:
    """The denominator of a whole step batch under a generation limit."""
    return denominator_of(objective, batch, limit)


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
