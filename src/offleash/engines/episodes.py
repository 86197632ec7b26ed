"""Episodes of a world, played with any engine: every turn is a completion that the world's `turn_end` stops.

    problem -> prompt -> engine -> turn -> world -> observation -> engine -> turn -> ... -> one Completion

All episodes that are still open are asked for their next turn together. Where an engine reads token ids, what was sampled is
handed back to it as it was sampled: encoding text again may give other tokens, and other log-probs. Each turn reads its
whole past again; an engine keeps no keys and values from one turn to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from offleash.core import Completion, InputError, Problem, rng
from offleash.engines.base import ReadsTokens, Request, Sampler, Unfinished
from offleash.tasks import Task
from offleash.tasks.worlds import Playing, Transcript, Turn, World


class Played(NamedTuple):
    """An episode: as the completion that a store keeps, and turn by turn.

    The completion's text is the whole episode after the prompt; its tokens, log-probs and entropies are the model's own, those
    of the world are not in it. `finish_reason` is `length` where the limit ended its last turn, or the model's context its end.
    """

    completion: Completion
    transcript: Transcript


def sampler_for(task: Task, sampler: Sampler, problems: Mapping[str, Problem]) -> Sampler:
    """What draws a task's completions: the engine itself, or a player where the task is played in turns."""
    return Player(sampler, task, problems) if isinstance(task, World) else sampler


def stops_of(task: Task) -> tuple[str, ...]:
    """The stop strings that an engine needs for a task: the end of a turn, or none."""
    return (task.turn_end,) if isinstance(task, World) else ()


class Player:
    """A sampler whose completions are episodes. An engine's limit of tokens is that of one turn.

    Args:
        sampler: asked for the turns; the world's `turn_end` must be among its stop strings.
        world: the task.
        problems: by id; requests name them.

    Raises:
        InputError: the engine would not stop at the end of a turn.
    """

    def __init__(self, sampler: Sampler, world: World, problems: Mapping[str, Problem]) -> None:
        settings = sampler.settings()
        if world.turn_end not in settings.get("stop", ()):
            raise InputError(
                f"stop: {world.name} is played in turns that end with {world.turn_end!r}; give it to the engine as a stop string"
            )
        self.sampler, self.world, self.problems = sampler, world, problems
        self.reader = sampler if isinstance(sampler, ReadsTokens) else None
        self.turn_length = int(settings.get("max_completion_length", 1))

    def settings(self) -> dict[str, Any]:
        """The engine's."""
        return self.sampler.settings()

    def generate(
        self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One episode for each request, in their order; see `Sampler`."""
        return [played.completion for played in self.play(requests, on_finished)]

    def play(self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None) -> list[Played]:
        """The same, with the turns.

        Raises:
            Unfinished: the engine gave up; `finished` are the episodes that are over.
            InputError: a problem's prompt alone leaves no room for a turn.
        """
        seats = self._seats(requests)
        while waiting := [seat for seat in seats if not seat.over]:
            try:
                replies = self.sampler.generate([seat.next() for seat in waiting])
            except Unfinished as error:
                raise type(error)(str(error), [seat.completion() for seat in seats if seat.over]) from error
            for seat, reply in zip(waiting, replies, strict=True):
                self._take(seat, reply)
            if on_finished and (ended := sum(seat.over for seat in waiting)):
                on_finished(ended)
        return [Played(seat.completion(), seat.playing.transcript) for seat in seats]

    def _seats(self, requests: Sequence[Request]) -> list[_Seat]:
        known = self.reader.tokenize(r.prompt for r in requests) if self.reader else {}
        found = []
        for request in requests:
            playing = Playing(self.world, self.problems[request.problem_id])
            found.append(_Seat(request, playing, list(known[request.prompt]) if self.reader else None))
        return found

    def _take(self, seat: _Seat, reply: Completion) -> None:
        """Let the world answer a reply; where token ids count, as the tokens that the model reads next."""
        seat.replies.append(reply)
        said = Turn("model", reply.text, reply.token_ids, reply.logprobs)
        heard = seat.playing.say(said)
        if self.reader is None or seat.past is None:
            return
        tokenizer = self.reader.tokenizer
        # What the model did not say itself of the end of its turn, the world says.
        spelled = self.world.turn_end in tokenizer.decode(list(reply.token_ids), skip_special_tokens=False)
        text = heard.text if spelled else self.world.turn_end + heard.text
        ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        seat.playing.label(ids)
        seat.past += [*reply.token_ids, *ids]
        if not seat.over and len(seat.past) + self.turn_length > self.reader.context:
            seat.playing.stop()
            seat.full = True


@dataclass
class _Seat:
    """A request and its episode."""

    request: Request
    playing: Playing
    past: list[int] | None
    """What the model has read and said, as token ids; None for an engine that reads text."""
    replies: list[Completion] = field(default_factory=list)
    full: bool = False

    @property
    def over(self) -> bool:
        return self.playing.over

    def next(self) -> Request:
        """The first turn is drawn from the request's own stream, a later one from a stream of its own."""
        turn, asked = len(self.replies), self.request
        if turn == 0:
            return asked
        key = rng.key64("turn", asked.key, turn)
        ids = None if self.past is None else tuple(self.past)
        return Request(asked.problem_id, self.playing.transcript.text, asked.index, key, ids)

    def completion(self) -> Completion:
        return Completion(
            problem_id=self.request.problem_id,
            index=self.request.index,
            text=self.playing.transcript.completion,
            token_ids=tuple(i for reply in self.replies for i in reply.token_ids),
            logprobs=tuple(x for reply in self.replies for x in reply.logprobs),
            entropies=tuple(x for reply in self.replies for x in reply.entropies),
            finish_reason="length" if self.full else self.replies[-1].finish_reason,
        )
