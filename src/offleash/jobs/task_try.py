"""A task, tried: some of its problems with their golds, and the verdict on a text. What is wrong with a task of one's own is one line.

Problems are numbered from 1 in the order of `offleash sample --seed 0`, so number 3 here is the third one that is sampled.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from offleash.core import InputError, OffleashError, Problem, Verdict
from offleash.tasks import Finite, Task, get, loading, main_level, problems, verdicts, verify_all

SEARCHED = 1000
"""Problems of a level and split among which an id is looked for, where they are drawn and not listed."""
SPLITS = ("test", "probe", "train", "pretrain")
"""In the order in which one with problems is looked for, where none is named."""
Value = TypeVar("Value")


class Numbered(NamedTuple):
    """A problem, and which one it is of its level and split, from 1."""

    number: int
    problem: Problem


def guarded(task: Task, method: str, work: Callable[[], Value]) -> Value:
    """What `work` returns; where a task of somebody's own raises in it, an InputError with the line."""
    try:
        return work()
    except OffleashError:
        raise
    except loading.FAILURES as error:
        raise InputError(f"task {task.name!r}: {method} raised {loading.told(error)}") from error


def opened(name: str) -> Task:
    """The task of a name, with levels.

    Raises:
        InputError: there is none, it cannot be read, or it has no levels.
    """
    if name.endswith(".py"):
        loading.load(name, "task")  # says what is missing behind it
    task = get(name)
    levels: Any = guarded(task, "levels", lambda: task.levels)
    if not isinstance(levels, Sequence) or not levels or not all(isinstance(level, int) for level in levels):
        raise verdicts.wrong(task, "levels", f"is {levels!r}; give a tuple of whole numbers, such as (1,)")
    return task


def some(task: Task, level: int, split: str, count: int) -> list[Numbered]:
    """The first problems of a level and split, at most `count`.

    Raises:
        InputError: there are none, or what the task gives is no problem of this level and split.
    """
    if isinstance(task, Finite):
        found = list(itertools.islice(guarded(task, "listed", lambda: task.listed(level, split, 0)), count))
    else:
        _check(task, guarded(task, "generate", lambda: task.generate((0, 0), level, split)), level, split)
        found = []
        with_end = problems(task, level, split, 0)
        while len(found) < count:
            try:
                found.append(guarded(task, "generate", lambda: next(with_end)))
            except InputError:
                if not found:
                    raise
                break  # it has no more
    if not found:
        raise InputError(f"split: {task.name!r} has no problem of level {level} in split {split!r}")
    for problem in found:
        _check(task, problem, level, split)
    return [Numbered(number, problem) for number, problem in enumerate(found, 1)]


def _check(task: Task, problem: Any, level: int, split: str) -> None:
    method = "listed" if isinstance(task, Finite) else "generate"
    if not isinstance(problem, Problem):
        what = f"gave a {type(problem).__name__} as a problem; return an offleash.core.Problem"
        raise verdicts.wrong(task, method, what)
    for field in ("prompt", "answer"):
        if not isinstance(value := getattr(problem, field), str):
            raise verdicts.wrong(task, method, f"gave a problem with {field}={value!r}; give a text")
    if (problem.level, problem.split) != (level, split):
        what = (
            f"asked for level {level}, split {split!r}, gave a problem of level {problem.level}, split {problem.split!r}; make it as "
            "Problem(..., level=level, split=split)"
        )
        raise verdicts.wrong(task, method, what)


def place(task: Task, level: int | None, split: str | None) -> tuple[int, str]:
    """The level and split to look at: those given, else the main level and test; of a data set, else the first that has problems."""
    if level is not None and level not in task.levels:
        raise InputError(f"--level: {task.name!r} has no level {level}; levels: {', '.join(map(str, task.levels))}")
    main = main_level(task)
    levels = [main, *(each for each in task.levels if each != main)] if level is None else [level]
    splits = [split] if split else list(SPLITS)
    if isinstance(task, Finite):
        for one, other in itertools.product(levels, splits):
            try:
                some(task, one, other, 1)
            except InputError:
                continue  # said below, where no other has any
            return one, other
    return levels[0], splits[0]


def judged(task: Task, problem: Problem, text: str) -> Verdict:
    """The verdict on a completion. "undecided" with the reason where the verifier raises."""
    return guarded(task, "verify", lambda: verify_all(task, [(problem, text)])[0])


def gold(task: Task, problem: Problem) -> tuple[str, Verdict | None, str]:
    """The gold, its verdict, and why there is none (then the others are "" and None)."""
    try:
        text: Any = guarded(task, "gold", lambda: task.gold(problem))
    except InputError as error:
        return "", None, str(error)
    if not isinstance(text, str):
        raise verdicts.wrong(task, "gold", f"returned a {type(text).__name__}; return the text that is right")
    return text, judged(task, problem, text), ""


def find(task: Task, level: int | None, split: str | None, which: str) -> Numbered:
    """The problem of a number, of an id or of the beginning of one, or of the data set's own name for it.

    Raises:
        InputError: there is none, or there are several.
    """
    if which.isascii() and which.isdecimal() and len(which) < 7:
        return _nth(task, *place(task, level, split), int(which))
    found = [each for each in everything(task, level, split) if _named(each.problem, which)]
    distinct = {each.problem.id: each for each in found}
    if len(distinct) == 1:
        return found[0]
    many = f"{len(distinct)} problems have" if distinct else "no problem has"
    raise InputError(
        f"--problem: {many} an id that begins with {which!r}; give one that --show prints, four of its signs or more, and the "
        "--level and --split that it was printed with"
    )


def _nth(task: Task, level: int, split: str, number: int) -> Numbered:
    found = some(task, level, split, max(1, number))
    if number < 1 or number > len(found):
        there = f"level {level} of {split} has {len(found)}" if number else "they count from 1"
        raise InputError(f"--problem: there is no number {number}; {there}")
    return found[number - 1]


def _named(problem: Problem, which: str) -> bool:
    return (len(which) > 3 and problem.id.startswith(which)) or str(problem.meta.get("key", "")) == which


def everything(task: Task, level: int | None = None, split: str | None = None) -> list[Numbered]:
    """All problems of a data set; of those that are drawn, the first of the level and split."""
    if not isinstance(task, Finite):
        return some(task, *place(task, level, split), SEARCHED)
    found: list[Numbered] = []
    for one, other in itertools.product([level] if level is not None else task.levels, [split] if split else SPLITS):
        try:
            found += some(task, one, other, 10**9)
        except InputError:
            continue  # none there
    return found
