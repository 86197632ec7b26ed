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
from offleash.tasks import verify_all
from offleash.training.demonstrations import Demonstrations
from offleash.training.problems import Problems
from offleash.training.reward import rewarded
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
    solved: bool | None = None
    """What the verifier said; `verdict` is what the reward arm made of it."""


@dataclass(frozen=True)
class Rollout:
    """A step's groups, all of one size."""

    problems: list[Problem]
    groups: list[list[Member]]
    completions: list[Completion]
    """All that were drawn; with dynamic sampling more than the groups hold."""
    generated_groups: int = 0
    informative_groups: int = 0

    def rewards_PG(self) -> Tensor:
        """Rewards; what stands at an undecided member is read by nobody."""
        return torch.tensor([[m.verdict.reward for m in group] for group in self.groups], dtype=torch.float64)

    def external_PG(self) -> Tensor:
        """True for demonstrations."""
        return torch.tensor([[m.external for m in group] for group in self.groups])

    def decided_PG(self) -> Tensor:
        """False where the verifier could not decide: such a member is masked out of the loss."""
        return torch.tensor([[m.verdict.correct is not None for m in group] for group in self.groups])


@dataclass(frozen=True)
class Source:
    """Where a step's experience comes from."""

    problems: Problems
    engine: Sampler
    tokenizer: PreTrainedTokenizerBase
    demonstrations: Demonstrations | None = None

    @property
    def settings(self) -> TrainSettings:
        """In force."""
        return self.problems.settings


def collect(source: Source, step: int) -> Rollout:
    """Sample a group for every problem, add its demonstrations, and verify all of them.

    With dynamic sampling (`max_rounds` above 1) groups whose rewards do not differ are replaced by those of further problems
    as long as there are rounds; what is missing then is filled with the first of them, so a step has its size always.
    """
    settings = source.settings
    wanted, rounds = settings.rollout.num_prompts, settings.rollout.max_rounds
    kept: list[_Group] = []
    spare: list[_Group] = []
    completions: list[Completion] = []
    for round_ in range(rounds):
        groups, drawn = _round(source, step, round_)
        completions += drawn
        for group in groups:
            (kept if rounds == 1 or group.informs else spare).append(group)
        if len(kept) >= wanted:
            break
    chosen = [*kept, *spare][:wanted]
    return Rollout(
        [g.problem for g in chosen],
        [g.members for g in chosen],
        completions,
        generated_groups=(round_ + 1) * wanted,
        informative_groups=len(kept) if rounds > 1 else sum(g.informs for g in kept),
    )


@dataclass(frozen=True)
class _Group:
    problem: Problem
    members: list[Member]

    @property
    def informs(self) -> bool:
        """Whether rewards of the sampled completions differ."""
        return len({m.verdict.reward for m in self.members if not m.external and m.verdict.correct is not None}) > 1


def _round(source: Source, step: int, round_: int) -> tuple[list[_Group], list[Completion]]:
    settings, task = source.settings, source.problems.task
    problems = source.problems.of_step(step, round_)
    size, first = settings.rollout.num_generations, round_ * settings.rollout.num_prompts
    requests = [
        Request(p.id, p.prompt, g, rng.key64("rollout", settings.seed, step, slot, g))
        for slot, p in enumerate(problems, start=first)
        for g in range(size)
    ]
    completions = source.engine.generate(requests)
    groups = []
    for i, problem in enumerate(problems):
        own = completions[i * size : (i + 1) * size]
        verdicts = verify_all(task, [(problem, c.text) for c in own])
        paid = rewarded(verdicts, settings.reward, (settings.seed, step, first + i))
        sampled = [
            Member(c.token_ids, c.logprobs, verdict, external=False, text=c.text, solved=true.correct)
            for c, verdict, true in zip(own, paid, verdicts, strict=True)
        ]
        groups.append(_Group(problem, sampled + _demonstrated(source, problem, step, first + i)))
    return groups, completions


def _demonstrated(source: Source, problem: Problem, step: int, slot: int) -> list[Member]:
    members = []
    for text, verdict in source.demonstrations.of(problem, step, slot) if source.demonstrations else ():
        ids = (*source.tokenizer(text, add_special_tokens=False)["input_ids"], source.tokenizer.eos_token_id)
        members.append(Member(ids, None, verdict, external=True, text=text, solved=verdict.correct))
    return members
