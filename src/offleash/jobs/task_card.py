"""What one task is: levels, splits, formats, chance, verifier, source, needs; and whether its verifier accepts its own solution."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from offleash.core import SPLITS, InputError
from offleash.jobs import guesses, task_try
from offleash.tasks import Family, Finite, Task, families, get, loading, main_level
from offleash.tasks.base import GROUP

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
        if family is None or ":" in name or _no_member(family, name):
            raise
        return {"name": name, "asked": name, **_origin(family), "missing": str(error), "levels": []}
    return {
        **row(task, measured_on, measured),
        "asked": name,
        **(_origin(family) if family else _own(task, name)),
        "missing": "",
        "main_level": main_level(task),
        "splits": _splits(task, level),
        **_golds(task, first),
    }


def _origin(family: Family) -> Json:
    return {"about": family.about, "needs": family.needs, "source": family.source}


def _no_member(family: Family, name: str) -> bool:
    """Whether what a name says behind the family's is at fault, and not data or an extra that are missing."""
    head, _, member = name.partition("/")
    try:
        if not member and "/" not in name:
            return False
        if family.members:
            return member not in family.members()
        get(head)
    except InputError:
        return False  # it needs something that is not here
    try:
        get(name)
    except InputError:
        return True
    return False


def _own(task: Task, name: str) -> Json:
    """Of a task without a family: its line `about`, or the first of its class."""
    kind = type(task)
    ours = kind.__module__.startswith("offleash.")
    about = getattr(task, "about", "") or ("" if ours else (inspect.getdoc(kind) or "").partition("\n")[0])
    return {"about": about, "needs": "nothing", "source": _source(kind.__module__, name)}


def _source(module: str, name: str) -> str:
    """The file of a task's class; where that is ours, the file that makes an object of it, if the name is of one."""
    if module.startswith("offleash."):
        offered = loading.entry_points(GROUP).get(name)
        module = (offered.value if offered else name).rpartition(":")[0] or module
    if module.endswith(".py"):
        return str(Path(module).resolve())
    ours = module.startswith("offleash.")
    return GENERATED.partition(";")[0] if ours else str(getattr(sys.modules.get(module), "__file__", None) or "yours")


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
    """Whether the first gold that there is is right, and the shares of formats among solutions: as the task declares them, else of the first golds."""
    found = [task_try.gold(task, each.problem) for each in first]
    seen = [verdict.format for _, verdict, _ in found if verdict]
    observed = {form: seen.count(form) / len(seen) for form in dict.fromkeys(seen)}
    _, verdict, missing = found[0]
    if verdict is None and isinstance(task, Finite):  # some of a data set may have solutions, others not
        tried = (task_try.gold(task, each.problem)[1] for each in task_try.everything(task))
        verdict = next((each for each in tried if each), None)
    return {
        "formats": dict(getattr(task, "format_shares", None) or observed),
        "gold": {
            "given": verdict is not None,
            "correct": verdict.correct if verdict else None,
            "reason": verdict.reason if verdict else missing,
        },
    }
