"""One step's experience: problems, completions and demonstrations, verdicts.

Suffixes: P problem, G member of its group (sampled completions first, then demonstrations).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from offleash.core import Completion, Problem, Verdict, rng
from offleash.engines import Request, Sampler
from offleash.tasks import Task
from offleash.training.settings import TrainSettings


@dataclass(frozen=True)
class Member:
    """One text of a group, as tokens."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    """Under the policy that sampled it; None for a demonstration, which the trainer scores itself."""
    verdict: Verdict
    external: bool
    text: str = ""


@dataclass(frozen=True)
class Rollout:
    """A step's groups, all of one size."""

    problems: list[Problem]
    groups: list[list[Member]]
    completions: list[Completion]

    def rewards_PG(self) -> Tensor:
        """Rewards; what stands at an undecided member is read by nobody."""
        return torch.tensor([[m.verdict.reward for m in group] for group in self.groups], dtype=torch.float64)

    def external_PG(self) -> Tensor:
        """True for demonstrations."""
        return torch.tensor([[m.external for m in group] for group in self.groups])

    def decided_PG(self) -> Tensor:
        """False where the verifier could not decide: such a member is masked out of the loss."""
        return torch.tensor([[m.verdict.correct is not None for m in group] for group in self.groups])


def step_problems(task: Task, settings: TrainSettings, step: int) -> list[Problem]:
    """The problems of a step: a function of (seed, step) alone."""
    levels = settings.task.levels
    return [
        task.generate((settings.seed, "step", step, i), levels[i % len(levels)], settings.task.split)
        for i in range(settings.rollout.num_prompts)
    ]


def collect(
    task: Task, engine: Sampler, tokenizer: PreTrainedTokenizerBase, settings: TrainSettings, step: int
) -> Rollout:
    """Sample a group for every problem, add its demonstrations, and verify all of them."""
    problems = step_problems(task, settings, step)
    size = settings.rollout.num_generations
    requests = [
        Request(p.id, p.prompt, g, rng.key64("rollout", settings.seed, step, slot, g))
        for slot, p in enumerate(problems)
        for g in range(size)
    ]
    completions = engine.generate(requests)
    groups = []
    for slot, problem in enumerate(problems):
        sampled = [
            Member(c.token_ids, c.logprobs, task.verify(problem, c.text), external=False, text=c.text)
            for c in completions[slot * size : (slot + 1) * size]
        ]
        groups.append(sampled + _demonstrations(task, problem, tokenizer, settings, step, slot))
    return Rollout(problems, groups, completions)


def _demonstrations(
    task: Task, problem: Problem, tokenizer: PreTrainedTokenizerBase, settings: TrainSettings, step: int, slot: int
) -> list[Member]:
    members = []
    for i in range(settings.external.per_group):
        text = task.gold(problem, (settings.seed, step, slot, i))
        ids = (*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)
        members.append(Member(ids, None, task.verify(problem, text), external=True, text=text))
    return members
