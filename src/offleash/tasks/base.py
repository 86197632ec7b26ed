"""The Task protocol and its registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from offleash.core import InputError, OffleashError, Problem, Verdict, unknown_name
from offleash.tasks import loading, verdicts

GROUP = "offleash.tasks"
"""The entry point group through which an installed package offers tasks."""


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


@runtime_checkable
class Batched(Protocol):
    """A task that judges many completions faster than one by one."""

    def verify_many(self, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """The verdicts of `verify`, in order."""
        ...


@runtime_checkable
class Finite(Protocol):
    """A task whose problems can be listed, so that none is drawn twice and all are drawn."""

    def listed(self, level: int, split: str, seed: int) -> Sequence[Problem]:
        """Every problem of a level and split, in the seed's order."""
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """Tasks that need data or an extra: `NAME`, `NAME/MEMBER` or `NAME:PLACE` makes one."""

    name: str
    about: str
    needs: str
    """What has to be there, in words: an extra to install, a folder of data."""
    source: str
    """Where the problems come from, with their license."""
    make: Callable[[str, str], Task]
    """(member, place) -> task; both "" where the name has none."""
    members: Callable[[], list[str]] | None = None
    """The members' names; InputError where what the family needs is missing. None for a family of one."""


_TASKS: dict[str, Task] = {}
_FAMILIES: dict[str, Family] = {}
_MADE: dict[str, Task] = {}
Registered = TypeVar("Registered")


def register(task: Registered) -> Registered:
    """Add a task to the registry under its name. Decorates a class, of which one instance is registered, or takes a task."""
    made: Any = loading.instance(task)
    if missing := loading.missing(made, Task):
        raise InputError(
            f"task {getattr(made, 'name', type(made).__name__)!r}: has no {', '.join(missing)}; see tasks.Task"
        )
    there = _TASKS.get(made.name)
    # A user's object may be of a class of ours, such as RewardFunctions.
    if there is not None and _home(there) == "offleash" and type(made) is not type(there):
        raise InputError(f"task {made.name!r}: the package has one of this name; give yours another")
    _TASKS[made.name] = made
    return task


def _home(task: Task) -> str:
    return type(task).__module__.partition(".")[0]


def register_family(family: Family) -> Family:
    """Add a family to the registry under its name."""
    _FAMILIES[family.name] = family
    return family


def names() -> list[str]:
    """The tasks that stand on their own: those registered here, and those of installed packages."""
    return sorted({*_TASKS, *loading.entry_points(GROUP)})


def families() -> list[Family]:
    """The families, by name."""
    return [_FAMILIES[name] for name in sorted(_FAMILIES)]


def get(name: str) -> Task:
    """The task of a name.

    Args:
        name: a registered one (`countdown`), a family's (`gsm8k`, `gsm8k:FOLDER`, `reasoning-gym/chain_sum`), a dotted path
            (`my_module:MyTask`) or a file (`path/to/file.py:MyTask`) with a task, a class of tasks or a function that makes one.

    Raises:
        InputError: there is none; names the closest one.
    """
    if name not in _TASKS and name not in _MADE:
        _MADE[name] = _make(name)
    return _TASKS.get(name) or _MADE[name]


def _make(name: str) -> Task:
    head, colon, place = name.partition(":")
    family, _, member = head.partition("/")
    if family in _FAMILIES and not head.endswith(".py"):
        return _FAMILIES[family].make(member, place)
    if name in (offered := loading.entry_points(GROUP)):
        made = loading.instance(loading.offered(offered[name], GROUP))
    elif colon or name.endswith(".py"):
        made = loading.instance(loading.load(name, "task"))
    else:
        raise unknown_name("task", name, [*names(), *_FAMILIES])
    if missing := loading.missing(made, Task):
        raise InputError(f"task {name!r}: {type(made).__name__} has no {', '.join(missing)}; see offleash.tasks.Task")
    return made


def main_level(task: Task) -> int:
    """The level that is measured where none is asked for: the task's own `main_level`, else 5 where it has one, else its first."""
    return int(getattr(task, "main_level", 5 if 5 in task.levels else task.levels[0]))


def verify_all(task: Task, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
    """The verdicts of many (problem, text), in order; in one batch where the task can."""
    if not isinstance(task, Batched):
        return [_verified(task, problem, text) for problem, text in pairs]
    try:
        found: Any = task.verify_many(pairs)
    except OffleashError:
        raise
    except loading.FAILURES:  # one text may have been too much: only that one is undecided, with the reason
        return [_verified(task, problem, text) for problem, text in pairs]
    if not isinstance(found, list | tuple) or len(found) != len(pairs):
        size = len(found) if isinstance(found, list | tuple) else f"a {type(found).__name__}"
        raise verdicts.wrong(
            task, "verify_many", f"returned {size} for {len(pairs)} completions; return a list of one verdict each"
        )
    return [verdicts.checked(task, "verify_many", verdict) for verdict in found]


def _verified(task: Task, problem: Problem, text: str) -> Verdict:
    """A verdict; "undecided" with the reason where a task of somebody's own raises."""
    try:
        verdict = task.verify(problem, text)
    except OffleashError:
        raise
    except loading.FAILURES as error:  # a stranger's verifier may raise anything; the sample is masked and says why
        reason = f"verify raised {type(error).__name__}: {error}"[:200]
        return Verdict(None, 0.0, "", "none", reason, task.verifier_version)
    return verdicts.checked(task, "verify", verdict)


def problems(task: Task, level: int, split: str, seed: int) -> Iterator[Problem]:
    """A sequence of distinct problems of one level and split; draw i depends on (task, seed, level, split, i).

    Endless for a generator of problems; for a task that lists its problems (`Finite`), all of them and then an InputError.
    """
    if level not in task.levels:
        raise InputError(f"task {task.name!r} has no level {level}; levels: {', '.join(map(str, task.levels))}")
    seen: set[str] = set()
    if isinstance(task, Finite):
        for problem in task.listed(level, split, seed):
            seen.add(problem.id)
            yield problem
    else:
        misses = 0
        i = 0
        while misses < 10_000:
            try:
                problem = task.generate((seed, i), level, split)
            except SystemExit as stop:
                raise InputError(f"task {task.name!r}: generate raised {loading.told(stop)}") from stop
            i += 1
            if problem.id in seen:
                misses += 1
                continue
            misses = 0
            seen.add(problem.id)
            yield problem
    raise InputError(f"task {task.name!r} level {level} split {split!r} has only {len(seen)} distinct problems")
