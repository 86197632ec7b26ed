"""Episodes played by a policy, as text with marked turns and as tokens with a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from offleash.core import InputError, Problem, Verdict
from offleash.tasks.worlds.episode import Step
from offleash.tasks.worlds.world import World


class Turn(NamedTuple):
    """What the world or the model said. A model's turn may carry the tokens it was sampled as, with their log-probs (nats)."""

    role: Literal["world", "model"]
    text: str
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """An episode so far: turns of world and model in alternation, the world's prompt first."""

    problem: Problem
    turns: tuple[Turn, ...]
    steps: tuple[Step, ...] = ()
    verdict: Verdict | None = None
    """None until the episode is over."""

    @property
    def text(self) -> str:
        """Everything said: the prompt of the next turn."""
        return "".join(turn.text for turn in self.turns)

    @property
    def completion(self) -> str:
        """Everything after the problem's prompt: what `World.verify` and `World.steps` read."""
        return "".join(turn.text for turn in self.turns[1:])

    def spans(self, role: Literal["world", "model"]) -> list[tuple[int, int]]:
        """Where in `text` this role's turns are: characters from start to before end."""
        found, at = [], 0
        for turn in self.turns:
            if turn.role == role:
                found.append((at, at + len(turn.text)))
            at += len(turn.text)
        return found


Policy = Callable[[str], str]
"""The text so far -> the model's reply; what follows the world's `turn_end` is cut off."""
BatchPolicy = Callable[[Sequence[Transcript]], Sequence[str | Turn]]
"""The same for several episodes at once; a Turn carries its tokens, which spell the reply up to `turn_end`."""


def episode(world: World, problem: Problem, policy: Policy) -> Transcript:
    """Play one episode to its end."""
    return episodes(world, [problem], lambda open_ones: [policy(transcript.text) for transcript in open_ones])[0]


def episodes(world: World, problems: Sequence[Problem], policy: BatchPolicy) -> list[Transcript]:
    """Play episodes side by side, one step of all that are still open at a time; transcripts in the problems' order.

    Raises:
        InputError: the policy gives another number of replies than it was asked for.
    """
    table = [Playing(world, problem) for problem in problems]
    while waiting := [playing for playing in table if not playing.over]:
        replies = policy([playing.transcript for playing in waiting])
        if len(replies) != len(waiting):
            raise InputError(f"policy: gave {len(replies)} replies for {len(waiting)} episodes; give one each")
        for playing, reply in zip(waiting, replies, strict=True):
            playing.say(reply)
    return [playing.transcript for playing in table]


class Playing:
    """One episode on its way."""

    def __init__(self, world: World, problem: Problem) -> None:
        self.world, self.episode = world, world.start()
        self.transcript = Transcript(problem, (Turn("world", self.episode.reset(problem)),))

    @property
    def over(self) -> bool:
        """Whether it has its verdict."""
        return self.transcript.verdict is not None

    def say(self, reply: str | Turn) -> Turn:
        """The model's turn; returns what the world answers."""
        said = reply if isinstance(reply, Turn) else Turn("model", reply)
        said = said._replace(role="model", text=self.world.turn(said.text))
        result = self.episode.step(said.text)
        heard = Turn("world", self.world.answer(result.observation, result.done))
        self._now((*self.transcript.turns, said, heard), result.done)
        return heard

    def label(self, token_ids: tuple[int, ...]) -> None:
        """Say which tokens the world's last answer is to the model."""
        *before, heard = self.transcript.turns
        self.transcript = replace(self.transcript, turns=(*before, heard._replace(token_ids=token_ids)))

    def stop(self) -> None:
        """End it here, with the verdict that it has earned so far."""
        self._now(self.transcript.turns, True)

    def _now(self, turns: tuple[Turn, ...], over: bool) -> None:
        verdict = self.world.judge(self.episode) if over else None
        self.transcript = Transcript(self.transcript.problem, turns, tuple(self.episode.steps), verdict)


def read(world: World, problem: Problem, text: str) -> Transcript:
    """The transcript of an episode's text (`World.gold`, a stored completion), with the world's answers where it has none."""
    playing = Playing(world, problem)
    for start, end in world.replay(problem, text).turns:
        playing.say(text[start:end])
    if not playing.over:
        playing.stop()
    return playing.transcript


class Tokens(NamedTuple):
    """A transcript as a trainer reads it. All but `prompt_ids` have one entry for each of the completion's T tokens.

    `mask` is True at tokens of the model; those of the world count in no loss. `steps` is the index of the step a token
    belongs to (the world's answer to its own step). `logprobs` are those of the sampling policy, NaN where unknown.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    mask: list[bool]
    steps: list[int]
    logprobs: list[float]


def tokens(transcript: Transcript, encode: Callable[[str], Sequence[int]], end: int | None = None) -> Tokens:
    """Token ids and the mask that keeps the world's words out of the loss.

    Turns are encoded one by one, as they were when the model was asked: no token spans two of them. A model's turn that
    carries its tokens keeps them: encoding sampled text again may give others.

    Args:
        transcript: an episode; the world's last answer, which nobody reads, is left out.
        encode: text -> ids, without special tokens.
        end: the model's end token, added to turns that carry no tokens; None for none.
    """
    first, *rest = transcript.turns
    found = Tokens(list(encode(first.text)), [], [], [], [])
    step = -1
    for turn in rest[:-1] if transcript.verdict is not None else rest:
        mine = turn.role == "model"
        step += mine
        ids = list(turn.token_ids) if turn.token_ids is not None else list(encode(turn.text))
        if mine and turn.token_ids is None and end is not None:
            ids.append(end)
        known = turn.logprobs if mine and turn.logprobs is not None else (math.nan,) * len(ids)
        if len(known) != len(ids):
            raise InputError(f"turn {step}: {len(known)} log-probs for {len(ids)} tokens; give one each")
        found.completion_ids.extend(ids)
        found.mask.extend([mine] * len(ids))
        found.steps.extend([step] * len(ids))
        found.logprobs.extend(known)
    return found
