"""What is in force at a step: the recipe, its stage, and what the guard has changed since.

All of it is read from the recipe and the run's events, so a resumed run finds the same.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from offleash.core import InputError, unknown_name
from offleash.training.settings import TrainSettings

CHANGEABLE = ("task", "objective", "rollout", "reward", "external", "optimizer")
"""Parts of a recipe that may change in the middle of a run."""

Events = Iterable[Mapping[str, Any]]


def in_force(settings: TrainSettings, step: int, events: Events = ()) -> TrainSettings:
    """The settings of rollout step `step`, counted from 0.

    Args:
        settings: the recipe.
        step: below `settings.steps`.
        events: of the run; changes of steps up to `step` count, in order, after the stage's own.

    Raises:
        InputError: a change that cannot be used.
    """
    found = settings
    stage, _ = stage_of(settings, step)
    if stage is not None:
        found = changed(found, settings.stages[stage].change, f"stages.{stage}.change")
    for event in events:
        if event.get("kind") == "guard" and event.get("do") == "change" and event["step"] <= step:
            found = changed(found, event["change"], "guard.change")
    return found


def stage_of(settings: TrainSettings, step: int) -> tuple[int | None, int]:
    """The stage of a step (None without stages) and its first step."""
    first = 0
    for i, stage in enumerate(settings.stages):
        if step < first + stage.steps:
            return i, first
        first += stage.steps
    return None, 0


def resets_at(settings: TrainSettings, step: int) -> tuple[str, ...]:
    """What is reset before rollout step `step`: `reference`, `optimizer`."""
    found: list[str] = []
    stage, first = stage_of(settings, step)
    if stage is not None and step == first:
        found += settings.stages[stage].reset
    for name, every in (("reference", settings.resets.reference_every), ("optimizer", settings.resets.optimizer_every)):
        if every and step and step % every == 0 and name not in found:
            found.append(name)
    return tuple(found)


def resets_reference(settings: TrainSettings) -> bool:
    """Whether the reference may ever move."""
    return bool(
        settings.resets.reference_every
        or any("reference" in stage.reset for stage in settings.stages)
        or any("reset_reference" in rule.do for rule in settings.guard)
    )


def every_setting(settings: TrainSettings) -> list[TrainSettings]:
    """What can be in force at some step: each stage, and each of the guard's changes on top of each stage."""
    firsts = [sum(stage.steps for stage in settings.stages[:i]) for i in range(len(settings.stages))] or [0]
    found = [in_force(settings, first) for first in firsts]
    for i, rule in enumerate(settings.guard):
        if rule.change:
            found += [changed(base, rule.change, f"guard.{i}.change") for base in found[: len(firsts)]]
    return found


def changed(settings: TrainSettings, change: Mapping[str, Any], where: str) -> TrainSettings:
    """The settings with some fields changed; an objective that is replaced starts without overrides.

    Raises:
        InputError: a field that there is not, that may not change, or a value of the wrong type.
    """
    for name in change:
        if name not in CHANGEABLE:
            raise unknown_name(f"{where}", name, CHANGEABLE)
    if "name" in change.get("objective", {}):
        change = dict(change) | {"objective": {"overrides": {}} | dict(change["objective"])}
    return typing.cast(TrainSettings, _merged(settings, change, where))


def _merged(value: Any, change: Mapping[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(type(value))
    new: dict[str, Any] = {}
    for name, inner in change.items():
        if name not in hints:
            raise unknown_name(where, name, hints)
        path = f"{where}.{name}"
        if dataclasses.is_dataclass(getattr(value, name)) and isinstance(inner, Mapping):
            new[name] = _merged(getattr(value, name), inner, path)
            continue
        try:
            new[name] = TypeAdapter(hints[name]).validate_json(json.dumps(inner), strict=True)
        except (ValidationError, TypeError) as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise InputError(f"{path}: is {inner!r}; {said[0].lower()}{said[1:]}") from error
    return dataclasses.replace(value, **new)
