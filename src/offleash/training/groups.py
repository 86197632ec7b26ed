"""A rollout as objectives read it: groups with the annotations they ask for, and which tokens are which step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from offleash.core import InputError, Problem, rng
from offleash.objectives import GroupBatch, Objective
from offleash.tasks import HasPlanning, HasReference, HasSteps, Step, Task
from offleash.training.episodes import Member
from offleash.training.rollout import Rollout

Scorer = Callable[[list[list[int]], list[list[int]]], list[list[float]]]
"""Log-probs of each completion's tokens after its prompt, under the policy that sampled the rollout."""

_STEP_FIELDS = {"step_rewards_PGS", "step_tags_PGS", "step_states_PGS", "step_mask_PGS"}
_REFERENCE_FIELDS = {"reference_logprobs_PGR", "masked_logprobs_PR", "reference_mask_PR"}


@dataclass(frozen=True)
class Annotated:
    """A rollout's groups, and for each completion (P x G, flattened) its tokens' steps and whether they plan."""

    groups: GroupBatch
    steps_N: list[list[int]] | None = None
    planning_N: list[list[bool]] | None = None


def check_annotations(objective: Objective, task: Task, grams: Sequence[str]) -> None:
    """Raise InputError where an objective reads of completions what the task does not say."""
    wanted: list[tuple[bool, type, str]] = [
        (bool(objective.group_needs & _STEP_FIELDS), HasSteps, "the steps of its completions (a method `steps`)"),
        (
            bool(objective.group_needs & _REFERENCE_FIELDS),
            HasReference,
            "a reference (methods `reference`, `reasoning`)",
        ),
        ("planning" in objective.needs and not grams, HasPlanning, "what plans; list texts in task.strategic_grams"),
    ]
    for needed, protocol, what in wanted:
        if needed and not isinstance(task, protocol):
            raise InputError(f"objective.name: {objective.name} needs what task {task.name} does not give: {what}")


def annotate(
    rollout: Rollout,
    objective: Objective,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    grams: Sequence[str],
    scorer: Scorer,
) -> Annotated:
    """The groups with what the objective needs of them, and nothing that it does not."""
    needs = objective.group_needs
    external_PG = rollout.external_PG()
    fields: dict[str, Any] = {
        "rewards_PG": rollout.rewards_PG(),
        "external_PG": external_PG if external_PG.any() else None,
        "valid_PG": rollout.decided_PG(),
        "prompts": tuple(p.id for p in rollout.problems),
        "lengths_PG": _table(rollout, lambda m: m.length),
    }
    if needs & {"answers_PG", "clusters_PG"}:
        # 63 bits of a hash: the same answer has the same number at every step and on every machine.
        fields["answers_PG"] = _table(rollout, lambda m: rng.key64("answer", m.verdict.answer) >> 1)
        fields["clusters_PG"] = fields["answers_PG"]
    if "mean_logprobs_PG" in needs:
        fields["mean_logprobs_PG"] = _table(rollout, _mean_logprob)
    steps_N = planning_N = None
    if needs & _STEP_FIELDS:
        assert isinstance(task, HasSteps)
        table, steps_N = _steps(rollout, task, tokenizer)
        fields |= table
    if needs & _REFERENCE_FIELDS:
        assert isinstance(task, HasReference)
        fields |= _reference(rollout, task, tokenizer, scorer)
    if "planning" in objective.needs:
        planning_N = _planning(rollout, task, tokenizer, grams)
    return Annotated(GroupBatch(**fields), steps_N, planning_N)


def _table(rollout: Rollout, value: Callable[[Member], float]) -> Tensor:
    rows = [[value(m) for m in group] for group in rollout.groups]
    return torch.tensor(rows, dtype=torch.float64 if isinstance(rows[0][0], float) else torch.long)


def _mean_logprob(member: Member) -> float:
    # A world's tokens have log-prob 0, so they add nothing to the sum.
    return sum(member.logprobs) / member.length if member.logprobs else math.nan


def token_ends(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """For each token, how many characters of the text end with it. Special tokens have none."""
    pieces = [_text(tokenizer, [i]) for i in ids]
    text = _text(tokenizer, ids)
    if "".join(pieces) == text:
        ends, length = [], 0
        for piece in pieces:
            length += len(piece)
            ends.append(length)
        return ends
    # Tokens that only together make a character, or swallow spaces: decode every prefix.
    return [len(_text(tokenizer, ids[: i + 1])) for i in range(len(ids))]


def ends_of(tokenizer: PreTrainedTokenizerBase, member: Member) -> list[int]:
    """`token_ends` of a member; in an episode turn by turn, so that no token reaches beyond what its turn said."""
    if not member.turns:
        return token_ends(tokenizer, member.token_ids)
    ends, start = [], 0
    for turn in member.turns:
        ends += [start + min(end, len(turn.text)) for end in token_ends(tokenizer, turn.token_ids or ())]
        start += len(turn.text)
    return ends


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True))


def steps_of_tokens(ends: Sequence[int], steps: Sequence[Step]) -> list[int]:
    """The step each token belongs to: the last one that starts before the token ends."""
    return [max(0, sum(step.start < end for step in steps) - 1) for end in ends]


def overlaps(ends: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether a token shares a character with one of the spans."""
    starts = [0, *ends[:-1]]
    return [any(a < end and start < b for a, b in spans) for start, end in zip(starts, ends, strict=True)]


def _steps(rollout: Rollout, task: HasSteps, tokenizer: Any) -> tuple[dict[str, Tensor], list[list[int]]]:
    found: list[list[list[Step]]] = []
    of_tokens: list[list[int]] = []
    for problem, group in zip(rollout.problems, rollout.groups, strict=True):
        found.append([])
        for member in group:
            # A text without any step is one step as a whole, so that its outcome still counts.
            whole = Step(0, len(member.text), float(member.verdict.correct is True))
            steps = task.steps(problem, member.text, member.verdict) or [whole]
            found[-1].append(steps)
            ends = [] if member.steps else token_ends(tokenizer, member.token_ids)
            of_tokens.append(list(member.steps) or steps_of_tokens(ends, steps))
    width = max(len(steps) for group in found for steps in group)

    def padded(value: Callable[[Step], float], filler: float) -> Tensor:
        rows = [[[value(s) for s in steps] + [filler] * (width - len(steps)) for steps in group] for group in found]
        return torch.tensor(rows)

    names: dict[str, int] = {}
    return {
        "step_rewards_PGS": padded(lambda s: s.reward, 0.0).double(),
        "step_tags_PGS": padded(lambda s: names.setdefault(s.tag, len(names)) if s.tag else -1, -1),
        "step_states_PGS": padded(lambda s: rng.key64("state", s.state) >> 1, -1),
        "step_mask_PGS": padded(lambda s: 1, 0) > 0,
    }, of_tokens


def _planning(rollout: Rollout, task: Task, tokenizer: Any, grams: Sequence[str]) -> list[list[bool]]:
    found = []
    for problem, group in zip(rollout.problems, rollout.groups, strict=True):
        for member in group:
            spans = _occurrences(member.text, grams) if grams else _own_planning(task, problem, member.text)
            found.append(overlaps(ends_of(tokenizer, member), spans))
    return found


def _own_planning(task: Task, problem: Problem, text: str) -> list[tuple[int, int]]:
    assert isinstance(task, HasPlanning)
    return task.planning(problem, text)


def _occurrences(text: str, grams: Sequence[str]) -> list[tuple[int, int]]:
    """Where any of the texts stands, whatever the case of its letters."""
    low, spans = text.lower(), []
    for gram in (g.lower() for g in grams if g):
        at = low.find(gram)
        while at >= 0:
            spans.append((at, at + len(gram)))
            at = low.find(gram, at + 1)
    return spans


def _reference(rollout: Rollout, task: HasReference, tokenizer: Any, scorer: Scorer) -> dict[str, Tensor]:
    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    prompts, targets = [], []
    for problem, group in zip(rollout.problems, rollout.groups, strict=True):
        start, target = list(tokenizer(problem.prompt)["input_ids"]), ids(task.reference(problem))
        # The last one is the prompt alone: the reference without any reasoning.
        for text in [*(task.reasoning(problem, m.text) for m in group), ""]:
            prompts.append(start + (ids(text) if text else []))
            targets.append(target)
    scores = scorer(prompts, targets)
    width, size = max(map(len, targets)), len(rollout.groups[0]) + 1
    rows = torch.tensor([row + [0.0] * (width - len(row)) for row in scores], dtype=torch.float64).view(-1, size, width)
    lengths = torch.tensor([len(t) for t in targets[::size]])
    return {
        "reference_logprobs_PGR": rows[:, :-1].contiguous(),
        "masked_logprobs_PR": rows[:, -1].contiguous(),
        "reference_mask_PR": torch.arange(width) < lengths[:, None],
    }
