"""The Task protocol and its registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from offleash.core import InputError, Problem, Verdict, unknown_name


@runtime_checkable
class Task(Protocol):
    """A family of problems with a verifier.

    `key` is any tuple of strings and integers; the same key, level and split give the same problem.
    """

    name: str
    version: str
    verifier_version: str
    levels: tuple[int, ...]

    def generate(self, key: tuple[str | int, ...], level: int, split: str) -> Problem:
        """A problem of this level whose content hash falls into `split`."""
        ...

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Judge a completion. Never raises on any text."""
        ...

    def gold(self, problem: Problem, key: tuple[str | int, ...] = ()) -> str:
        """A text the verifier accepts; another key may give another such text."""
        ...

    def guess(self, problem: Problem) -> float:
        """Probability that one blind guess is correct (the chance baseline); NaN where unknown."""
        ...

    def traces(self, key: tuple[str | int, ...], level: int, split: str, count: int) -> list[tuple[str, str]]:
        """`count` pairs (prompt, accepted text) for supervised training."""
        ...


_TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Add a task to the registry under its name."""
    _TASKS[task.name] = task
    return task


def names() -> list[str]:
    """The registered task names."""
    return sorted(_TASKS)


def get(name: str) -> Task:
    """The task of this name; an InputError with the closest name otherwise."""
    if name not in _TASKS:
        raise unknown_name("task", name, _TASKS)
    return _TASKS[name]


def problems(task: Task, level: int, split: str, seed: int) -> Iterator[Problem]:
    """An endless sequence of distinct problems of one level and split; draw i depends on (task, seed, level, split, i)."""
    if level not in task.levels:
        raise InputError(f"task {task.name!r} has no level {level}; levels: {', '.join(map(str, task.levels))}")
    seen: set[str] = set()
    misses = 0
    i = 0
    while misses < 10_000:
        problem = task.generate((seed, i), level, split)
        i += 1
        if problem.id in seen:
            misses += 1
            continue
        misses = 0
        seen.add(problem.id)
        yield problem
    raise InputError(f"task {task.name!r} level {level} split {split!r} has only {len(seen)} distinct problems")
