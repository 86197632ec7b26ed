"""Members of a group that are episodes of a world: tokens of the model and of the world, and which of them train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offleash import tasks
from offleash.core import Problem, Verdict
from offleash.tasks.worlds import Transcript, Turn, World, read, tokens
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
    mask: tuple[bool, ...] | None = None
    """False at tokens of the world, which train nothing; None where all are the model's."""
    steps: tuple[int, ...] = ()
    """Of an episode: which of its steps a token belongs to."""
    transcript: Transcript | None = None
    """Of an episode: who said what, each turn with its tokens."""
    engine_logprobs: tuple[float, ...] | None = None
    """Of a server that drew it, where `logprobs` are the trainer's own; None where the engine's are those."""

    @property
    def length(self) -> int:
        """Tokens that count in the loss."""
        return len(self.token_ids) if self.mask is None else sum(self.mask)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns that the tokens are of: without the prompt, and without the world's last answer, which nobody reads."""
        return self.transcript.turns[1:-1] if self.transcript is not None else ()


def sampled(transcript: Transcript, verdict: Verdict, solved: bool | None) -> Member:
    """The member of an episode that was sampled; the world's tokens have log-prob 0, which nothing reads."""
    found = tokens(transcript, _no_encoding)
    logprobs = tuple(x if mine else 0.0 for x, mine in zip(found.logprobs, found.mask, strict=True))
    return _member(transcript, tuple(found.completion_ids), logprobs, found.mask, found.steps, verdict, solved, False)


def shown(world: World, problem: Problem, text: str, verdict: Verdict, tokenizer: Any) -> Member:
    """The member of a demonstration: an episode's text, whose model turns are to be imitated."""

    def encode(said: str) -> list[int]:
        return list(tokenizer(said, add_special_tokens=False)["input_ids"])

    transcript = read(world, problem, text)
    labelled = tuple(turn._replace(token_ids=tuple(encode(turn.text))) for turn in transcript.turns)
    transcript = Transcript(problem, labelled, transcript.steps, transcript.verdict)
    found = tokens(transcript, encode)
    ids = tuple(found.completion_ids)
    return _member(transcript, ids, None, found.mask, found.steps, verdict, verdict.correct, True)


def _member(
    transcript: Transcript,
    ids: tuple[int, ...],
    logprobs: tuple[float, ...] | None,
    mask: Sequence[bool],
    steps: Sequence[int],
    verdict: Verdict,
    solved: bool | None,
    external: bool,
) -> Member:
    text = transcript.completion
    return Member(ids, logprobs, verdict, external, text, solved, tuple(mask), tuple(steps), transcript)


def _no_encoding(text: str) -> list[int]:
    """For transcripts whose turns have their tokens; the prompt's are the engine's business."""
    return []


def longest_completion(settings: TrainSettings) -> int:
    """The most tokens of a completion that can count: for a world, those of as many turns as its longest episode has."""
    task = tasks.get(settings.task.name)
    length = settings.rollout.max_completion_length
    if not isinstance(task, World):
        return length
    drawn = [task.generate(("longest",), level, settings.task.split) for level in settings.task.levels]
    return length * max(int(problem.meta["max_steps"]) for problem in drawn)
