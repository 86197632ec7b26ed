"""A study: several models of one question, measured on the same sets of problems; `study.json` says which.

    {"title": str, "store": "store", "baseline": "base", "ks": [1, 8, 64],
     "strata": [{"name": "five numbers", "task": "countdown", "level": 2, "split": "test"}, ...],
     "arms": [{"label": "base", "model": ID, "run": null, "checkpoints": []},
              {"label": "GRPO", "model": ID, "run": "runs/grpo", "checkpoints": [{"step": 20, "model": ID}, ...]}, ...]}

Paths in the file are relative to the study's folder, so the folder can be moved.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from offleash.core import InputError, unknown_name
from offleash.store.files import atomic_write, make_folder, read_json, to_json

FILE = "study.json"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model on the way of a run."""

    step: int
    model: str


@dataclass(frozen=True, slots=True)
class Arm:
    """One line of the study: a model, the run folder that made it (None for the base), and checkpoints of that run."""

    label: str
    model: str
    run: Path | None = None
    checkpoints: tuple[Checkpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Stratum:
    """A set of problems every arm is measured on; the first of a study is the main one."""

    name: str
    task: str
    level: int
    split: str


@dataclass(frozen=True, slots=True)
class Study:
    """A study with its paths resolved. The baseline stands first among the arms, ks and steps in ascending order.

    Raises:
        InputError: a field that cannot be used.
    """

    folder: Path
    title: str
    store: Path
    baseline: str
    ks: tuple[int, ...]
    strata: tuple[Stratum, ...]
    arms: tuple[Arm, ...]

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise InputError(f"ks: {list(self.ks)}; give at least one k, each 1 or more")
        if not self.strata:
            raise InputError("strata: empty; give at least one set of problems")
        _refuse_twice("strata", "name", [stratum.name for stratum in self.strata])
        labels = [arm.label for arm in self.arms]
        _refuse_twice("arms", "label", labels)
        if self.baseline not in labels:
            raise unknown_name("baseline", self.baseline, labels)
        for arm in self.arms:
            _refuse_twice(f"arms: {arm.label}: checkpoints", "step", [point.step for point in arm.checkpoints])
        object.__setattr__(self, "ks", tuple(sorted(set(self.ks))))
        object.__setattr__(self, "arms", tuple(sorted(self.arms, key=lambda arm: arm.label != self.baseline)))

    @property
    def base(self) -> Arm:
        """The arm all others are compared with."""
        return self.arms[0]


def read_study(folder: str | Path) -> Study:
    """Read `folder`/study.json.

    Raises:
        InputError: the file is missing, is not JSON, or a field is missing, unknown or of the wrong kind; names the field.
    """
    folder = Path(folder)
    path = folder / FILE
    top = _Object(read_json(path, "give the folder of a study, which `offleash demo` makes"), f"{path}: ")
    try:
        study = Study(
            folder=folder,
            title=top.take("title", str),
            store=folder / top.path("store"),
            baseline=top.take("baseline", str),
            ks=tuple(top.numbers("ks")),
            strata=tuple(_stratum(item) for item in top.objects("strata")),
            arms=tuple(_arm(folder, item) for item in top.objects("arms")),
        )
    except InputError as error:
        raise error if str(error).startswith(str(path)) else InputError(f"{path}: {error}") from error
    top.done()
    return study


def write_study(study: Study) -> Path:
    """Write a study's `study.json` into its folder, whole or not at all; returns its path."""

    def relative(path: Path) -> str:
        return Path(os.path.relpath(path, study.folder)).as_posix()

    arms = [
        {
            "label": arm.label,
            "model": arm.model,
            "run": None if arm.run is None else relative(arm.run),
            "checkpoints": [{"step": point.step, "model": point.model} for point in arm.checkpoints],
        }
        for arm in study.arms
    ]
    strata = [{"name": s.name, "task": s.task, "level": s.level, "split": s.split} for s in study.strata]
    content = {"title": study.title, "store": relative(study.store), "baseline": study.baseline, "ks": list(study.ks)}
    make_folder(study.folder)
    path = study.folder / FILE
    atomic_write(path, (to_json({**content, "strata": strata, "arms": arms}, indent=1) + "\n").encode())
    return path


def _stratum(item: _Object) -> Stratum:
    stratum = Stratum(item.take("name", str), item.take("task", str), item.take("level", int), item.take("split", str))
    item.done()
    return stratum


def _arm(folder: Path, item: _Object) -> Arm:
    label, model = item.take("label", str), item.take("model", str)
    run = None if item.content.get("run", None) is None else folder / item.path("run")
    item.used.add("run")
    points = []
    for point in item.objects("checkpoints"):
        points.append(Checkpoint(point.take("step", int), point.take("model", str)))
        point.done()
    item.done()
    return Arm(label, model, run, tuple(sorted(points, key=lambda point: point.step)))


def _refuse_twice(where: str, field: str, values: list[Any]) -> None:
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise InputError(f"{where}: two have the {field} {twice[0]!r}; rename or delete one")


class _Object:
    """A JSON object whose fields are taken one by one, each checked; `where` is how errors begin."""

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        self.content, self.where = content, where
        self.used: set[str] = set()

    def take(self, name: str, kind: type[_T]) -> _T:
        """A field of this kind."""
        self.used.add(name)
        if name not in self.content:
            raise InputError(f"{self.where}field {name!r} is missing; add it")
        value = self.content[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}[kind]
            raise InputError(f"{self.where}{name}: {value!r} is not {wanted}")
        return value

    def path(self, name: str) -> str:
        """A relative path."""
        value = self.take(name, str)
        if not value or Path(value).is_absolute():
            raise InputError(f"{self.where}{name}: {value!r} is not a path relative to the study's folder")
        return value

    def numbers(self, name: str) -> list[int]:
        """A list of whole numbers."""
        values = self.take(name, list)
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool):
                raise InputError(f"{self.where}{name}: {value!r} is not a whole number")
        return values

    def objects(self, name: str) -> list[_Object]:
        """A list of objects."""
        values = self.take(name, list)
        for value in values:
            if not isinstance(value, dict):
                raise InputError(f"{self.where}{name}: {value!r} is not an object")
        return [_Object(value, f"{self.where}{name}[{position}]: ") for position, value in enumerate(values)]

    def done(self) -> None:
        """Refuse fields that nobody took."""
        for name in self.content:
            if name not in self.used:
                raise InputError(f"{self.where}{unknown_name('field', name, self.used)}")
