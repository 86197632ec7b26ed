"""One step's experience: problems, completions and demonstrations, verdicts.

Suffixes: P problem, G member of its group (sampled completions first, then demonstrations).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from offleash.core import Completion, Problem, Verdict, rng
from offleash.engines import Request, Sampler
from offleash.engines.episodes import Player
from offleash.tasks import verify_all
from offleash.tasks.worlds import Transcript, World
from offleash.training.demonstrations import Demonstrations
from offleash.training.episodes import Member, sampled, shown
from offleash.training.problems import Problems
from offleash.training.processes import ALONE, Processes
from offleash.training.reward import rewarded
from offleash.training.settings import TrainSettings


@dataclass(frozen=True)
class Rollout:
    """A step's groups, all of one size."""

    problems: list[Problem]
    groups: list[list[Member]]
    completions: list[Completion]
    """All that were drawn; with dynamic sampling more than the groups hold."""
    generated_groups: int = 0
    informative_groups: int = 0
    drawn: list[list[Completion]] = field(default_factory=list)
    """The completions of each group's sampled members."""

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
    processes: Processes = ALONE

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
        drawn=[g.drawn for g in chosen],
    )


@dataclass(frozen=True)
class _Group:
    problem: Problem
    members: list[Member]
    drawn: list[Completion]

    @property
    def informs(self) -> bool:
        """Whether rewards of the sampled completions differ."""
        return len({m.verdict.reward for m in self.members if not m.external and m.verdict.correct is not None}) > 1


def _round(source: Source, step: int, round_: int) -> tuple[list[_Group], list[Completion]]:
    """Each process draws and verifies its stretch of the problems; all get all of them, in order."""
    problems = source.problems.of_step(step, round_)
    first = round_ * source.settings.rollout.num_prompts
    slots = [(first + i, problems[i]) for i in source.processes.part(len(problems))]
    parts = source.processes.gather(lambda: _groups(source, step, slots))
    return [group for groups, _ in parts for group in groups], [c for _, drawn in parts for c in drawn]


def _groups(source: Source, step: int, slots: list[tuple[int, Problem]]) -> tuple[list[_Group], list[Completion]]:
    settings, task = source.settings, source.problems.task
    size = settings.rollout.num_generations
    requests = [
        Request(p.id, p.prompt, g, rng.key64("rollout", settings.seed, step, slot, g))
        for slot, p in slots
        for g in range(size)
    ]
    drawn = _drawn(source, [p for _, p in slots], requests)
    groups = []
    for i, (slot, problem) in enumerate(slots):
        own = drawn[i * size : (i + 1) * size]
        verdicts = verify_all(task, [(problem, c.text) for c, _ in own])
        paid = rewarded(verdicts, settings.reward, (settings.seed, step, slot))
        members = [
            _member(completion, transcript, verdict, true.correct)
            for (completion, transcript), verdict, true in zip(own, paid, verdicts, strict=True)
        ]
        members += _demonstrated(source, problem, step, slot)
        groups.append(_Group(problem, members, [c for c, _ in own]))
    return groups, [c for c, _ in drawn]


def _drawn(
    source: Source, problems: list[Problem], requests: list[Request]
) -> list[tuple[Completion, Transcript | None]]:
    """A completion for each request; of a world, an episode with its turns."""
    task = source.problems.task
    if isinstance(task, World) and requests:
        player = Player(source.engine, task, {p.id: p for p in problems})
        return [(played.completion, played.transcript) for played in player.play(requests)]
    return [(c, None) for c in source.engine.generate(requests)]


def _member(completion: Completion, transcript: Transcript | None, verdict: Verdict, solved: bool | None) -> Member:
    if transcript is not None:
        return sampled(transcript, verdict, solved)
    return Member(completion.token_ids, completion.logprobs, verdict, False, completion.text, solved)


def _demonstrated(source: Source, problem: Problem, step: int, slot: int) -> list[Member]:
    members = []
    task, demonstrations = source.problems.task, source.demonstrations
    for text, verdict in demonstrations.of(problem, step, slot) if demonstrations else ():
        if isinstance(task, World) and demonstrations and not demonstrations.trusted:
            members.append(shown(task, problem, text, verdict, source.tokenizer))
            continue
        ids = (*source.tokenizer(text, add_special_tokens=False)["input_ids"], source.tokenizer.eos_token_id)
        members.append(Member(ids, None, verdict, external=True, text=text, solved=verdict.correct))
    return members
