"""What is in force at a step: the recipe, its stage, and what the guard has changed since.

All of it is read from the recipe and the run's events, so a resumed run finds the same.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from offleash.core import InputError, unknown_name
from offleash.training.settings import TrainSettings

CHANGEABLE = ("task", "objective", "rollout", "reward", "external", "optimizer")
"""Parts of a recipe that may change in the middle of a run."""

Events = Iterable[Mapping[str, Any]]
FIELD = re.compile(r"(unknown )?([a-z_.]+)[: ]")
"""How a complaint names a field: `rollout.engine: ...`, or `unknown rollout.engine 'x'`."""


class Part(NamedTuple):
    """What can be in force at some step, and the change of a stage or of the guard that makes it."""

    settings: TrainSettings
    where: str = ""
    """The change's place in the recipe; empty for the recipe itself."""
    change: Mapping[str, Any] = {}


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
    return [part.settings for part in _parts(settings)]


def check_every(settings: TrainSettings, check: Callable[[TrainSettings], None]) -> None:
    """Check whatever can be in force at some step.

    Raises:
        InputError: the first one of `check`; with its place in the recipe, where a stage or the guard is the cause.
    """
    for part in _parts(settings):
        try:
            check(part.settings)
        except InputError as error:
            if not part.change or (part.where.startswith("stages") and _said(check, settings) == str(error)):
                raise
            raise located(error, part.where, part.change) from error


def _parts(settings: TrainSettings) -> list[Part]:
    stages = []
    for i, stage in enumerate(settings.stages):
        where = f"stages.{i}.change"
        stages.append(Part(changed(settings, stage.change, where), where, stage.change))
    found = stages = stages or [Part(settings)]
    for i, rule in enumerate(settings.guard):
        where = f"guard.{i}.change"
        if rule.change:
            found = found + [Part(changed(base.settings, rule.change, where), where, rule.change) for base in stages]
    return found


def _said(check: Callable[[TrainSettings], None], settings: TrainSettings) -> str:
    """The complaint of the recipe without its stages; empty where there is none."""
    try:
        check(settings)
    except InputError as error:
        return str(error)
    return ""


def located(error: InputError, where: str, change: Mapping[str, Any]) -> InputError:
    """The error with its place in the recipe: of the field it names, where the change has that, else of the change.

    >>> print(located(InputError("reward.gamma: 2 is no probability"), "stages.1.change", {"reward": {"gamma": 2}}))
    stages.1.change.reward.gamma: 2 is no probability
    """
    said = str(error)
    if said.startswith(where):
        return error
    named = FIELD.match(said)
    if named is None:
        return InputError(f"{where}: {said}")
    value: Any = change
    for name in named[2].split(".")[:2]:
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None:
        return InputError(f"{where}: {said}")
    return InputError(f"{where}.{named[2]}: {said}" if named[1] else f"{where}.{said}")


def changed(settings: TrainSettings, change: Mapping[str, Any], where: str) -> TrainSettings:
    """The settings with some fields changed; an objective that is replaced starts without overrides.

    Raises:
        InputError: a field that there is not, that may not change, a value of the wrong type, or one that does not go with the others.
    """
    for name in change:
        if name not in CHANGEABLE:
            raise InputError(f"{where}: {unknown_name('field', name, CHANGEABLE)}")
    objective = change.get("objective")
    if isinstance(objective, Mapping) and "name" in objective:
        change = dict(change) | {"objective": {"overrides": {}} | dict(objective)}
    try:
        return typing.cast(TrainSettings, _merged(settings, change, where))
    except InputError as error:  # of a combination that the recipe itself does not have
        raise located(error, where, change) from error


def _merged(value: Any, change: Mapping[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(type(value))
    new: dict[str, Any] = {}
    for name, inner in change.items():
        if name not in hints:
            raise InputError(f"{where}: {unknown_name('field', name, hints)}")
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
