"""The Sampler protocol: everything that turns prompts into completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from offleash.core import Completion, InputError


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


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How completions are drawn."""

    temperature: float = 1.0
    """0 takes the most likely token."""
    max_completion_length: int = 32
    """Tokens, the end token included."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion, besides the end token."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature: {self.temperature} is not a finite number at or above 0")
        if self.max_completion_length < 1:
            raise InputError(f"max_completion_length: {self.max_completion_length} is below 1")


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
