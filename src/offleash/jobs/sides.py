"""One side of a comparison: where its counts are found.

runs/store#GRPO          a store; the model by label, id, or the beginning of an id
runs/demo#GRPO           a study; an arm by its label, on the study's first set of problems unless others are chosen
runs/demo/runs/grpo      a run that belongs to a study: its final model, as the study measured it
counts.jsonl             lines of {"id": ..., "c": correct, "n": samples}
logs#step=20             a log of another tool, and what to take of it: NAME=VALUE,... (docs/inputs.md)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from offleash.boundary import Counts, load_counts
from offleash.boundary.temperature import Heat
from offleash.core import InputError, rng
from offleash.jobs import heat
from offleash.jobs.display import say
from offleash.store import Arm, CountRow, Store, Study, importers, read_study
from offleash.store.files import read_json

GROUP = "group.json"
"""Names the runs of several training seeds of one recipe."""


@dataclass(frozen=True)
class Selection:
    """Which samples of a store count; None takes all there are."""

    task: str | None = None
    level: int | None = None
    split: str | None = None
    seed: int | None = None
    sampler: str | None = None
    temperature: float | None = None

    def of_store(self) -> dict[str, Any]:
        """As `Store.counts` takes it: a temperature is chosen by its sampler."""
        return {name: value for name, value in vars(self).items() if name != "temperature"}


@dataclass(frozen=True, eq=False)
class Side:
    """One side: what to call it, its counts, the prompts by problem id where they are known, what to say of it.

    `groups` are the problems' tasks, levels and splits where they are known; `temperature` is that of the counts and `heats` gives the samples at all temperatures, for a model in a store.
    """

    name: str
    counts: Counts
    prompts: Mapping[str, str]
    notes: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    temperature: float = math.nan
    several: bool = False
    heats: Callable[[], dict[float, Heat]] | None = None


def members(text: str) -> list[str]:
    """The runs of a folder of training seeds; of anything else itself."""
    path = Path(text)
    if not (path / GROUP).is_file():
        return [text]
    return [str(path / name) for name in read_json(path / GROUP, "train the seeds again with --resume")["runs"]]


def refuse_unused(selection: Selection, sides: Sequence[str]) -> None:
    """A selection needs a store to select from: files of counts say nothing of levels, splits or seeds."""
    chosen = [f"--{name}" for name, value in vars(selection).items() if value is not None]
    if chosen and all(is_plain(place(text)[0]) for text in sides):
        raise InputError(
            f"{', '.join(chosen)}: files of counts ({{id, c, n}}) and logs of other tools do not say it of a problem; leave it "
            "out and give files that hold only those problems, or compare stores"
        )


def is_plain(path: Path) -> bool:
    """Whether this is a file, or a folder of logs of another tool."""
    if any((path / name).is_file() for name in ("study.json", "store.json", "run.json")):
        return False
    return path.is_file() or (path.is_dir() and importers.recognise(path) is not None)


def place(text: str) -> tuple[Path, str]:
    """The path in PATH or PATH#CHOICE, and the choice."""
    if not Path(text).exists() and "#" in text:
        head, _, choice = text.rpartition("#")
        return Path(head), choice
    return Path(text), ""


def read_side(text: str, selection: Selection, reading: importers.Reading | None = None) -> Side:
    """The counts of `PATH` or `PATH#MODEL`.

    Raises:
        InputError: there is nothing of use at the path, or no such model in it.
    """
    path, model = place(text)
    if not path.exists():
        raise InputError(f"{text!r}: no file or folder {str(path)!r}; give PATH or PATH#MODEL")
    try:
        if path.is_file():
            return _read_log(path, model, reading) or _read_file(path, model)
        if (path / "study.json").is_file():
            return _read_study(read_study(path), model, selection)
        if (path / "store.json").is_file():
            return _read_store(Store.open(path), model, selection)
        if (path / "run.json").is_file():
            return _read_run(path, model, selection)
        if log := _read_log(path, model, reading):
            return log
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f"{text!r}: {error}") from error
    raise InputError(
        f"{text!r}: {what_it_is(path)}; compare reads a store, a study, a run of a study, a jsonl file, or logs of "
        f"{', '.join(importer.name for importer in importers.IMPORTERS)}"
    )


def _read_log(path: Path, chosen: str, reading: importers.Reading | None) -> Side | None:
    """The counts in a log of another tool; None where this is none."""
    found = importers.read(path, chosen, reading)
    return None if found is None else Side(found.name, Counts.from_rows(found.rows), found.prompts, found.notes)


def _read_file(path: Path, model: str) -> Side:
    if model:
        raise InputError(f"#{model}: a file of counts holds one model; leave it out")
    return Side(path.name, load_counts(path), {})


def _read_store(store: Store, model: str, selection: Selection) -> Side:
    models = store.models()
    if not model and len(models) != 1:
        labels = ", ".join(str(m["label"]) for m in models)
        raise InputError(
            f"the store holds {len(models)} models; choose one, as {store.path}#LABEL ({labels or 'none yet'})"
        )
    record = store.model(model) if model else models[0]
    everything = selection.of_store()
    selection, temperature, several = heat.choose(store, record, selection)
    rows = store.counts(record["id"], **selection.of_store())
    look_for_verdicts(str(record["label"]), rows, store)
    if not rows:
        chosen = ", ".join(f"{name} {value}" for name, value in vars(selection).items() if value is not None)
        raise InputError(f"model {record['label']!r} has no verified samples{f' with {chosen}' if chosen else ''}")
    stored = store.problems(task=selection.task, level=selection.level, split=selection.split)
    return Side(
        str(record["label"]),
        Counts.from_rows(rows),
        {s.problem.id: s.problem.prompt for s in stored},
        groups={s.problem.id: f"{s.problem.task} level {s.problem.level} {s.problem.split}" for s in stored},
        temperature=temperature,
        several=several,
        heats=lambda: heat.by_temperature(store, record["id"], everything),
    )


def look_for_verdicts(label: str, rows: Sequence[CountRow], store: Store) -> None:
    """Say how many samples have no verdict; an InputError where none is decided."""
    unverified, none = sum(row.unverified for row in rows), bool(rows) and not any(row.n for row in rows)
    if unverified:
        what = f"model {label!r}: {unverified} of its samples are unverified"
        mend = f"run the same `offleash sample --out {store.path}` again: it verifies what is there"
        if none:
            raise InputError(f"{what} and none has a verdict; {mend}")
        say(f"{what} and left out; {mend}")
    elif none:
        raise InputError(f"model {label!r}: the verifier could decide none of its samples")


def _read_study(study: Study, label: str, selection: Selection) -> Side:
    """An arm of a study; on the first set of problems where the selection does not say which."""
    if selection.task is None and selection.level is None and selection.split is None:
        main = study.strata[0]
        selection = replace(selection, task=main.task, level=main.level, split=main.split)
    store = Store.open(study.store)
    arms = {arm.label: arm for arm in study.arms}
    if not label:
        raise InputError(f"the study has {len(arms)} arms; choose one, as {study.folder}#LABEL ({', '.join(arms)})")
    if label in arms:
        return replace(_read_store(store, arms[label].model, selection), name=label)
    return _read_store(store, label, selection)


def _read_run(path: Path, checkpoint: str, selection: Selection) -> Side:
    """A run's final model, or its checkpoint `#20`, as the study it belongs to measured it."""
    found = study_of(path)
    if found is None:
        raise InputError(
            f"the run {str(path)!r} has not been measured; `offleash sample --model {path}/checkpoints/step_N ... --out STORE`, "
            "then compare STORE#LABEL"
        )
    study, arm = found
    if not checkpoint:
        return _read_study(study, arm.label, selection)
    models = {str(point.step): point.model for point in arm.checkpoints}
    step = checkpoint.removeprefix("step_")
    if step not in models:
        raise InputError(
            f"#{checkpoint}: the study measured no such checkpoint; measured: {', '.join(models) or 'none'}"
        )
    side = _read_study(study, models[step], selection)
    return replace(side, name=f"{arm.label} at step {step}")


def study_of(run: Path) -> tuple[Study, Arm] | None:
    """The study in one of the folders above that has this run as an arm."""
    where = run.resolve()
    for folder in list(where.parents)[:3]:
        if (folder / "study.json").is_file():
            study = read_study(folder)
            arm = next((arm for arm in study.arms if arm.run is not None and arm.run.resolve() == where), None)
            return (study, arm) if arm else None
    return None


def what_it_is(path: Path) -> str:
    """What lies at a path that is no side."""
    if (path / "config.json").is_file():
        return f"is a model; measure it first: offleash sample --model {path} ... --out STORE"
    return "is neither a store nor a study nor a run"


def enough(side: Side, n: int) -> Side:
    """Only problems with n decided samples; says how many that leaves out."""
    kept = side.counts.at_least(n)
    if len(kept) < len(side.counts):
        say(f"{side.name}: left out {len(side.counts) - len(kept)} problems with fewer than {n} decided samples")
    return replace(side, counts=kept)


def same_problems(a: Side, b: Side) -> tuple[Side, Side]:
    """Both sides keyed alike: by id where they share one, else by prompt where both know theirs."""
    if set(a.counts.ids) & set(b.counts.ids) or not (a.prompts and b.prompts):
        return a, b
    say("the sides share no problem id; matching problems by their prompts")
    return _by_prompt(a), _by_prompt(b)


def _by_prompt(side: Side) -> Side:
    known = [i for i, name in enumerate(side.counts.ids) if name in side.prompts]
    kept = side.counts.take(np.array(known, dtype=np.int64))
    keys = {name: rng.digest("prompt", side.prompts[name].strip()).hex() for name in kept.ids}
    groups = {keys[name]: group for name, group in side.groups.items() if name in keys}
    return replace(side, counts=Counts(tuple(keys[name] for name in kept.ids), kept.c, kept.n), groups=groups)
