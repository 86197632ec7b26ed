"""The Sampler protocol: everything that turns prompts into completions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from offleash.core import Completion, InputError, OffleashError

UNKNOWN_TOKEN = -1
"""Stands in `Completion.token_ids` for a token whose id a server did not give: their number is known, the ids are not."""


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to draw.

    `key` names the stream of uniform numbers it is drawn from (`core.rng.key64`), so the same request gives the same tokens
    alone, in any batch and after a resume.
    """

    problem_id: str
    prompt: str
    index: int
    key: int
    ids: tuple[int, ...] | None = None
    """The prompt as token ids, for engines that read them (`ReadsTokens`): what was sampled goes on without being encoded again."""


COLDEST = 1e-6
"""The lowest temperature above 0."""


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How completions are drawn."""

    temperature: float = 1.0
    """0 takes the most likely token."""
    max_completion_length: int = 32
    """Tokens, the end token included."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion, besides the end token. Its text ends before the string; its tokens include those that
    spelled it."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature: {self.temperature} is not a finite number at or above 0")
        if 0 < self.temperature < COLDEST:
            raise InputError(
                f"temperature: {self.temperature} is below {COLDEST:g}, where logits overflow; give 0 for the most likely token"
            )
        if self.max_completion_length < 1:
            raise InputError(f"max_completion_length: {self.max_completion_length} is below 1")
        given: object = self.stop
        if isinstance(given, str):
            raise InputError(f"stop: {self.stop!r} is one text; give a tuple of texts")
        if "" in self.stop:
            raise InputError("stop: one of the strings is empty; it would end every completion at once")


@runtime_checkable
class Sampler(Protocol):
    """An engine."""

    def generate(
        self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One completion for each request, in their order; `on_finished` hears of newly finished ones."""
        ...

    def settings(self) -> dict[str, Any]:
        """The resolved settings that make samples comparable; stored as the sampler's identity."""
        ...


@runtime_checkable
class ReadsTokens(Protocol):
    """An engine whose requests may name their prompt as token ids (`Request.ids`)."""

    tokenizer: Any

    @property
    def context(self) -> int:
        """Tokens of a prompt and its completion together."""
        ...

    def tokenize(self, prompts: Iterable[str]) -> dict[str, list[int]]:
        """The token ids of each different prompt; InputError for one that the engine refuses."""
        ...


def prompt_ids(requests: Sequence[Request], tokenize: Callable[[Iterable[str]], Any]) -> list[tuple[int, ...]]:
    """Each request's prompt as token ids: its own, or those of its text."""
    texts = [r.prompt for r in requests if r.ids is None]
    known = tokenize(texts) if texts else {}
    return [tuple(known[r.prompt]) if r.ids is None else r.ids for r in requests]


class Unfinished(OffleashError):
    """An engine gave up midway: `finished` are the completions it has, in the order asked, for the caller to keep."""

    def __init__(self, message: str, finished: Sequence[Completion] = ()) -> None:
        super().__init__(message)
        self.finished = list(finished)


class Refused(Unfinished, InputError):
    """The same, for a reason that the user can mend."""


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text up to the first of the stop strings, and whether there was one.

    >>> cut("1+2=3; so", [";", "so"])
    ('1+2=3', True)
    """
    found = [at for at in (text.find(s) for s in stop) if at >= 0]
    return (text[: min(found)], True) if found else (text, False)


def require_text(prompts: Iterable[str]) -> None:
    """Raise an InputError for an empty prompt."""
    if not all(prompts):
        raise InputError("prompt: empty; give it some text")
