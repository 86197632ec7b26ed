"""What a task may say of a completion beyond its verdict. Objectives that need it name the task that lacks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from offleash.core import Problem, Verdict


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a completion: its characters from `start` to before `end`.

    `tag` is its kind ("" for none); `state` names what it starts from, so that steps of other samples can be compared.
    """

    start: int
    end: int
    reward: float = 0.0
    tag: str = ""
    state: str = ""


@runtime_checkable
class HasSteps(Protocol):
    """A task whose completions are trajectories (for rlvmr and gigpo)."""

    def steps(self, problem: Problem, text: str, verdict: Verdict) -> list[Step]:
        """The steps in order. Never raises on any text.

        The last one carries the outcome's reward, unless tags are rewarded on their own (RLVMR compares steps of one tag).
        """
        ...


@runtime_checkable
class HasPlanning(Protocol):
    """A task that knows which parts of a completion plan (for hicra)."""

    def planning(self, problem: Problem, text: str) -> list[tuple[int, int]]:
        """Spans of characters that plan rather than carry out. Never raises on any text."""
        ...


@runtime_checkable
class HasOperations(Protocol):
    """A task that knows the steps of a full derivation (for process rewards, and to see which answers were worked out)."""

    def operations(self, problem: Problem) -> list[str]:
        """The operations that a full derivation needs, by name, in an order in which they can be done."""
        ...

    def performed(self, problem: Problem, text: str) -> list[str]:
        """Those of them that a text carries out, and rightly, in its order, each once. Never raises on any text."""
        ...


@runtime_checkable
class HasReference(Protocol):
    """A task with a reference answer that follows the reasoning (for dro)."""

    def reference(self, problem: Problem) -> str:
        """The reference's text."""
        ...

    def reasoning(self, problem: Problem, text: str) -> str:
        """The part of a completion that comes before its answer. Never raises on any text."""
        ...


@runtime_checkable
class HasSolutions(Protocol):
    """A task whose correct texts can be listed, all of them or all of a stated form (for exact probabilities)."""

    solutions_are: str
    """Which texts `solutions` lists, as words for a report."""

    def solutions(self, problem: Problem) -> list[str]:
        """Every correct text of that form. InputError where there are too many to list."""
        ...
