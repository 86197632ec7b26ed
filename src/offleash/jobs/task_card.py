"""What one task is: levels, splits, formats, chance, verifier, source, needs; and whether its verifier accepts its own solution."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from offleash.core import SPLITS, InputError
from offleash.jobs import guesses, task_try
from offleash.tasks import Family, Finite, Task, families, main_level

GENERATED = (
    "drawn by the package itself, Apache-2.0, no data; a task of an installed package or of your own is its author's"
)
GOLDS = 4
"""Problems whose golds are judged, to see in which formats they are."""
Json = dict[str, Any]


def family_of(name: str) -> Family | None:
    """The family that a name belongs to (`gsm8k:FOLDER`, `reasoning-gym/NAME`); None for other tasks."""
    head = name.partition(":")[0]
    known = {} if head.endswith(".py") else {family.name: family for family in families()}
    return known.get(head.partition("/")[0])


def row(task: Task, measured_on: int, measured: dict[str, Json]) -> Json:
    """A task's levels, with the chance of a guess and what was measured of the verifier by `false_positives`."""
    found = measured.get(task.name, {})
    # An old measurement says nothing of a new verifier.
    current = found.get("verifier_version") == task.verifier_version
    return {
        "name": task.name,
        "version": task.version,
        "verifier_version": task.verifier_version,
        "levels": [
            {
                **task_try.guarded(task, "guess", lambda level=level: guesses.of(task, level, measured_on)),  # type: ignore[misc]
                "false_positives": found if current and found["level"] == level else None,
            }
            for level in task.levels
        ],
    }


def card(name: str, measured_on: int, measured: dict[str, Json]) -> Json:
    """One task; of a family whose data or extra is missing, what it needs and why it is not here (`missing`).

    Raises:
        InputError: there is no such task, or its data were named and cannot be used.
    """
    family = family_of(name)
    try:
        task = task_try.opened(name)
        level, split = task_try.place(task, None, None)
        first = task_try.some(task, level, split, GOLDS)
    except InputError as error:
        if family is None or ":" in name:
            raise
        return {"name": name, "asked": name, **_origin(family), "missing": str(error), "levels": []}
    return {
        **row(task, measured_on, measured),
        "asked": name,
        **(_origin(family) if family else _own(task)),
        "missing": "",
        "main_level": main_level(task),
        "splits": _splits(task, level),
        **_golds(task, first),
    }


def _origin(family: Family) -> Json:
    return {"about": family.about, "needs": family.needs, "source": family.source}


def _own(task: Task) -> Json:
    """Of a task without a family: its line `about`, or the first of its class."""
    kind = type(task)
    ours = kind.__module__.startswith("offleash.")
    about = getattr(task, "about", "") or ("" if ours else (inspect.getdoc(kind) or "").partition("\n")[0])
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return {
        "about": about,
        "needs": "nothing",
        "source": GENERATED.partition(";")[0] if ours else str(Path(file or "yours")),
    }


def _splits(task: Task, level: int) -> dict[str, int | None]:
    """How many problems each split has over all levels; None where they are drawn, as many as are asked for."""
    found: dict[str, int | None] = {}
    for split in SPLITS:
        if isinstance(task, Finite):
            if count := sum(_count(task, each, split) for each in task.levels):
                found[split] = count
            continue
        try:
            task_try.some(task, level, split, 1)
        except InputError:
            continue  # it has no such split
        found[split] = None
    return found


def _count(task: Finite, level: int, split: str) -> int:
    try:
        return len(task.listed(level, split, 0))
    except InputError:
        return 0


def _golds(task: Task, first: list[task_try.Numbered]) -> Json:
    """Whether the first gold is right, and the shares of formats among solutions: as the task declares them, else of the first golds."""
    found = [task_try.gold(task, each.problem) for each in first]
    seen = [verdict.format for _, verdict, _ in found if verdict]
    observed = {form: seen.count(form) / len(seen) for form in dict.fromkeys(seen)}
    _, verdict, missing = found[0]
    return {
        "formats": dict(getattr(task, "format_shares", None) or observed),
        "gold": {
            "given": verdict is not None,
            "correct": verdict.correct if verdict else None,
            "reason": verdict.reason if verdict else missing,
        },
    }
