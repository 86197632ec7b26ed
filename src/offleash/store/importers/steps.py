"""Logs that a trainer writes once a step: one step is read, the chosen one or the last."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store.importers.base import Chosen, Sample
from offleash.store.importers.reading import Entry, pick

Stepped = tuple[int, Sample]
STEP = re.compile(r"step_(\d+)")
"""The folder of a step."""


def step_of(value: Any, where: str) -> int:
    """A step as an integer."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer():
        return int(value)
    raise InputError(f"step: {value!r} in {where} is no step; give it a whole number")


def choose_file(files: Sequence[tuple[Path, int]], chosen: Chosen, notes: list[str]) -> Path:
    """Of files that each begin with a step, the one of the chosen or the last step.

    Raises:
        InputError: files of several folders or two of that step, or no such step.
    """
    if len(files) == 1:
        chosen.one_of("model", [_home(files[0][0], chosen.where)])
        return files[0][0]
    entries = [Entry(path, _home(path, chosen.where), "", step, str(step)) for path, step in files]
    taken = pick(entries, chosen, "step", notes)
    if len(taken) > 1:
        names = ", ".join(entry.path.name for entry in taken)
        raise InputError(f"step: several files are of step {taken[0].shown} ({names}); give one of them")
    return taken[0].path


def _home(path: Path, root: Path) -> str:
    """The folder of a run below the one given: that of the file, without the folder of the step."""
    if root == path:
        return path.parent.name
    return "/".join(part for part in path.parent.relative_to(root).parts if not STEP.fullmatch(part))


def choose_step(rows: Iterable[Stepped], chosen: Chosen, notes: list[str]) -> Iterator[Sample]:
    """The samples of the chosen or the last step; says which where there are several."""
    held = list(rows)
    steps = sorted({step for step, _ in held})
    if not steps:
        return
    step = int(chosen.one_of("step", map(str, steps), default=str(steps[-1])))
    if len(steps) > 1 and "step" not in chosen:
        notes.append(f"step {step}, the last; {len(steps) - 1} earlier left out (#step=... chooses)")
    yield from (sample for at, sample in held if at == step)
