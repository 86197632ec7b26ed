"""Experiment trackers beside metrics.jsonl, through accelerate: trackio, wandb, tensorboard."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offleash.core import InputError, unknown_name
from offleash.training.processes import ALONE, start

TRACKERS = ("trackio", "wandb", "tensorboard")
Send = Callable[[int, Mapping[str, float]], None]


def check_tracker(name: str | None) -> None:
    """Raise an InputError for a tracker that there is not, or whose package is not installed."""
    if name is None:
        return
    if name not in TRACKERS:
        raise unknown_name("tracker", name, TRACKERS)
    if importlib.util.find_spec(name) is None:
        raise InputError(f"--track: {name} is not installed; pip install 'offleash[{name}]'")


@contextmanager
def tracked(name: str | None, folder: Path, settings: Any) -> Iterator[Send]:
    """A function that sends a step's metrics to the tracker; one that does nothing without a tracker.

    Args:
        name: one of TRACKERS, or None.
        folder: of the run: its name is the project's, and tensorboard's files lie in it.
        settings: the recipe, sent as the run's configuration.

    Raises:
        InputError: no such tracker, or its package is not installed.
    """
    if name is None:
        yield lambda step, metrics: None
        return
    check_tracker(name)
    from accelerate import Accelerator

    # Under a launcher accelerate's state is there already, and the process group outlives this run.
    accelerator = Accelerator(log_with=name, project_dir=str(folder), cpu=start() is ALONE)
    accelerator.init_trackers(folder.resolve().name, config=_flat(settings))
    try:
        yield lambda step, metrics: accelerator.log(dict(metrics), step=step)
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Fields by their dotted names; lists and mappings as text, which every tracker takes."""
    out: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            out |= _flat(value, f"{prefix}{field.name}.")
        else:
            out[prefix + field.name] = value if isinstance(value, int | float | str | bool) else str(value)
    return out
