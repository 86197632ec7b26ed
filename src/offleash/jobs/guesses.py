"""The chance that one blind guess is right, by task and level: measured, or as recorded for the tasks that come with the package.

The worlds' chances take seconds of summing over all ways to play, so `offleash tasks` reads them from `guesses.json`. A record counts
for one version of a task and its verifier, and for MEASURED_ON problems; whatever else is asked for is measured.
"""

from __future__ import annotations

import itertools
import json
import math
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from offleash.core import InputError, OffleashError, Problem
from offleash.store.files import atomic_write
from offleash.tasks import Task, get, names, problems, verdicts

MEASURED_ON = 5
"""Problems a level."""


def of(task: Task, level: int, measured_on: int) -> dict[str, Any]:
    """The mean chance over the first problems of the probe split, or of another where there is none; recorded or measured."""
    record = recorded().get(task.name, {})
    known = measured_on == MEASURED_ON and record.get("versions") == [task.version, task.verifier_version]
    guess = record["levels"].get(str(level)) if known else None
    return (
        measure(task, level, measured_on)
        if guess is None
        else _row(level, guess, "", measured_on, first(task, level, 1)[0])
    )


def measure(task: Task, level: int, measured_on: int) -> dict[str, Any]:
    """The same, measured now; None with a reason where the level has no problems."""
    found, why = first(task, level, measured_on)
    mean = sum(_chance(task, problem) for problem in found) / len(found) if found else math.nan
    unknown = why if not found else "the chance of a blind guess is not known for this task"
    return _row(level, None if math.isnan(mean) else mean, unknown if math.isnan(mean) else "", len(found), found)


def _chance(task: Task, problem: Problem) -> float:
    chance: Any = task.guess(problem)
    if not isinstance(chance, int | float) or not (0 <= chance <= 1 or math.isnan(chance)):
        raise verdicts.wrong(task, "guess", f"returned {chance!r}; return a probability from 0 to 1, or nan")
    return chance


def first(task: Task, level: int, count: int) -> tuple[list[Problem], str]:
    """The first problems of a level, and why there are not so many."""
    found: list[Problem] = []
    why = ""
    for split in ("probe", "test", "train", "pretrain"):
        try:
            for problem in itertools.islice(problems(task, level, split, 0), count):
                found.append(problem)
        except InputError as error:  # no such problems, or fewer than that
            why = str(error)
        except OffleashError as error:
            return found, str(error)
        if found:
            break
    return found, why


def _row(level: int, guess: float | None, reason: str, count: int, found: list[Problem]) -> dict[str, Any]:
    example = found[0].prompt if found else ""
    return {"level": level, "guess": guess, "reason": reason, "measured_on": count, "example": example}


@cache
def recorded() -> dict[str, Any]:
    """By task; {} where nothing was recorded."""
    file = resources.files("offleash") / "tasks" / "guesses.json"
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def record(out: Path, only: str | None = None) -> None:
    """Measure the tasks that come with the package, or one of them, and write `out` after each; other rows of it stay."""
    rows = read(out)
    for task in [get(name) for name in names() if only in (None, name)]:
        levels = {str(level): measure(task, level, MEASURED_ON)["guess"] for level in task.levels}
        rows[task.name] = {"versions": [task.version, task.verifier_version], "levels": levels}
        atomic_write(out, (json.dumps(rows, indent=1) + "\n").encode())


def read(out: Path) -> dict[str, Any]:
    """The rows of an earlier record, of tasks that there still are; InputError where the file is none."""
    try:
        found = dict(json.loads(out.read_text())) if out.exists() else {}
        return {
            name: {"versions": row["versions"], "levels": row["levels"]}
            for name, row in found.items()
            if name in names()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--measure: beside FILE, {out} is no record of chance baselines; name a FILE elsewhere"
        ) from error
