"""What a world consists of: rules that draw problems, and games that answer commands. States are values; nothing is mutated."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from offleash.core import InputError
from offleash.tasks.splits import check_split

S = TypeVar("S", bound=Hashable)
SHARES = {"pretrain": 0.70, "train": 0.15, "probe": 0.05, "test": 0.10}
"""Of the problems, by a hash of their canonical content."""


class Acted(NamedTuple):
    """What a command led to. An invalid one leaves the state as it was."""

    state: Any
    observation: str
    valid: bool


class Drawn(NamedTuple):
    """A problem before it has a prompt: JSON that `Rules.game` reads, the opening observation, the most steps of an episode."""

    content: Mapping[str, Any]
    opening: str
    max_steps: int


class Game(Protocol[S]):
    """One problem's world. Every method is a function of its arguments alone."""

    def initial(self) -> S:
        """The state that an episode starts in."""
        ...

    def act(self, state: S, command: str) -> Acted:
        """What a command does. Never raises on any text."""
        ...

    def commands(self, state: S) -> Sequence[str]:
        """Commands that are valid here; all of them, or those a blind player would draw from."""
        ...

    def solved(self, state: S) -> bool:
        """Whether the goal is reached."""
        ...

    def over(self, state: S) -> bool:
        """Whether the episode ends here, solved or not."""
        ...

    def gold(self) -> list[str]:
        """Commands that solve it."""
        ...

    def chance(self, max_steps: int) -> float:
        """Probability that a blind player solves it; see the world's documentation for what it draws from."""
        ...


class Rules(Protocol):
    """A family of games."""

    name: str
    version: str
    levels: tuple[int, ...]
    instructions: str
    """The commands, for the prompt."""

    def draw(self, key: tuple[str | int, ...], level: int, split: str) -> Drawn:
        """A problem whose content hash falls into `split`."""
        ...

    def game(self, content: Mapping[str, Any]) -> Game:
        """The game of a problem's content."""
        ...


def check_names(rules: Rules, level: int, split: str) -> None:
    """Raise an InputError for a level that the rules do not have, and for an unknown split."""
    check_split(rules.name, split, SHARES)
    if level not in rules.levels:
        raise InputError(f"level: {rules.name} has no level {level}; levels: {', '.join(map(str, rules.levels))}")
