"""`offleash train`: a recipe becomes a run folder."""

from __future__ import annotations

import difflib
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offleash.core import InputError, OffleashError
from offleash.jobs.display import console, progress, say, step_text
from offleash.jobs.inert import inert, wrong_demonstrations
from offleash.jobs.recipe import dump, load_recipe
from offleash.jobs.sides import GROUP
from offleash.jobs.tracking import check_tracker, tracked
from offleash.nn.load import EMBEDDED_MODELS
from offleash.store import RunFolder
from offleash.store.files import require_writable
from offleash.store.lock import lock
from offleash.training import Hooks, TrainSettings, check, train
from offleash.training.processes import Processes, start
from offleash.training.schedule import every_setting

LOCK = "run.lock"
OnStep = Callable[[int, dict[str, float], dict[str, float]], None]


def run(
    recipe: Path,
    overrides: list[str],
    *,
    resume: bool = False,
    dry_run: bool = False,
    out: Path | None = None,
    track: str | None = None,
) -> Path | None:
    """Train by a recipe; returns the run folder (None for a dry run, which prints what would be run)."""
    processes = start()
    settings = processes.share(lambda: _asked(recipe, overrides, track, dry_run))
    if dry_run and not processes.main:
        return None
    if dry_run:
        print(dump(settings), end="")
        said = inert(settings)
        for line in said:
            console().print(f"inert: {line}")
        for line in _explained(settings):
            console().print(f"note: {line}")
        _warn(settings, said)
        return None
    folder = out or Path("runs") / recipe.stem
    run_folder = processes.share(lambda: _opened(folder, settings, resume))
    with _alone_in(run_folder.path, processes):
        last = _train(settings, run_folder, processes, resume, track)
    if processes.main:
        console().print(f"run: {run_folder.path}\nmodel: {last}")
    return run_folder.path


def _train(
    settings: TrainSettings, run_folder: RunFolder, processes: Processes, resume: bool, track: str | None
) -> Path:
    """Train with a display and a tracker in the main process; the others work and say nothing."""
    if not processes.main:
        last = train(settings, run_folder, resume=resume, hooks=hooks_of(settings, run_folder, lambda *_: None))
        processes.share(lambda: None)
        return last
    with progress("training", settings.steps) as report, tracked(track, run_folder.path, settings) as send:

        def seen(step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
            report(step, step_text(metrics, timings))
            send(step, metrics)

        with _stopped_like_ctrl_c(processes.count == 1):
            last = train(settings, run_folder, resume=resume, hooks=hooks_of(settings, run_folder, seen))
    processes.share(lambda: finish(run_folder, last))
    return last


@contextmanager
def _alone_in(folder: Path, processes: Processes) -> Iterator[None]:
    """Hold the run's folder: a second run of the same folder would write between this one's lines."""
    handle = processes.share(lambda: lock(folder, LOCK, "training in this folder"))
    try:
        yield
    finally:
        if processes.main:
            os.close(handle)


@contextmanager
def _stopped_like_ctrl_c(alone: bool) -> Iterator[None]:
    """SIGTERM, as schedulers send it, saves a checkpoint as Ctrl-C does. Under a launcher it ends the process at once, as before."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT)) if alone else None
    except ValueError:  # not the main thread: signals are the caller's
        before = None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def one_voice() -> Iterator[Processes]:
    """Of several processes the main one tells how the work ended; the others leave with its exit code, in silence.

    What only one process knows of, such as a bug, it says itself.
    """
    try:
        processes = start()
    except InputError:  # all of them found it
        if os.environ.get("RANK", "0") == "0":
            raise
        raise SystemExit(2) from None
    try:
        yield processes
    except (OffleashError, KeyboardInterrupt) as error:
        stopped = isinstance(error, KeyboardInterrupt)
        if processes.ending or stopped:
            processes.end()
        if processes.main or not (processes.ending or stopped):
            raise
        raise SystemExit(130 if stopped else 2 if isinstance(error, InputError) else 1) from None
    processes.end()


def _asked(recipe: Path, overrides: list[str], track: str | None, dry_run: bool) -> TrainSettings:
    settings = load_recipe(recipe, TrainSettings, overrides)
    check_tracker(track)
    elsewhere = dry_run and settings.model not in EMBEDDED_MODELS and not Path(settings.model).exists()
    check(settings, without_model=elsewhere)
    if elsewhere:
        say(f"note: model: no folder {settings.model!r} here; whether it loads and the texts fit it was not checked")
    return settings


def _opened(folder: Path, settings: TrainSettings, resume: bool) -> RunFolder:
    require_writable(folder)
    run_folder = open_run(folder, settings, resume)
    _warn(settings)
    return run_folder


def run_seeds(
    recipe: Path,
    overrides: list[str],
    seeds: Sequence[int],
    *,
    resume: bool = False,
    out: Path | None = None,
    track: str | None = None,
) -> Path:
    """Train the same recipe with several seeds, one after another, into `out`/seed_N; `compare` takes the folder as one method."""
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds: {','.join(map(str, seeds))} names one twice; give different seeds")
    folder = out or Path("runs") / recipe.stem
    start().share(lambda: _same_recipe(recipe, overrides, seeds, folder) if resume else None)
    for seed in seeds:
        if start().main:
            say(f"seed {seed}")
        done = start().share((folder / f"seed_{seed}" / "summary.json").is_file)
        if not (resume and done):
            run(recipe, [*overrides, f"seed={seed}"], resume=resume, out=folder / f"seed_{seed}", track=track)
    if not start().main:
        return folder
    before = json.loads((folder / GROUP).read_text())["runs"] if resume and (folder / GROUP).is_file() else []
    names = list(dict.fromkeys([*before, *(f"seed_{seed}" for seed in seeds)]))
    (folder / GROUP).write_text(json.dumps({"kind": "seeds", "runs": names}) + "\n")
    console().print(f"seeds: {folder}\ncompare with: offleash compare base {folder} --task ... --n ... --out ...")
    return folder


def _same_recipe(recipe: Path, overrides: list[str], seeds: Sequence[int], folder: Path) -> None:
    """Refuse a changed recipe before anything runs, also where a seed is done and would not be opened again."""
    for seed in seeds:
        if (folder / f"seed_{seed}" / "run.json").is_file():
            open_run(folder / f"seed_{seed}", load_recipe(recipe, TrainSettings, [*overrides, f"seed={seed}"]), True)


def hooks_of(settings: TrainSettings, run_folder: RunFolder, on_step: OnStep) -> Hooks:
    """The display, and the probe and the guard that the recipe asks for."""
    if not settings.probe.every:
        return Hooks(on_step, on_event=_tell)
    from offleash.jobs.guard import make_guard
    from offleash.jobs.probe import make_probe

    return Hooks(on_step, make_probe(settings, run_folder), make_guard(settings), _tell)


def _tell(event: Mapping[str, Any]) -> None:
    """Warnings, resets and what the guard does, as they happen."""
    if event["kind"] in ("warning", "guard", "reset", "stage"):
        what = f"guard: {event['do']}" if event["kind"] == "guard" else event["kind"]
        say(f"step {event['step']}: {what}: {event['message']}")


def open_run(folder: Path, settings: TrainSettings, resume: bool) -> RunFolder:
    """A new run folder, with the recipe's warnings as events; with `resume`, an existing one whose recipe is the same.

    Raises:
        InputError: the folder holds something, or (resuming) the recipe has changed: shows the difference.
    """
    text = dump(settings)
    if not resume or not (folder / "run.json").is_file():
        info = {"kind": "train", "objective": settings.objective.name, "model": settings.model}
        created = RunFolder.create(folder, text, info)
        for line in warnings(settings):
            created.append_event({"kind": "warning", "message": line})
        return created
    run_folder = RunFolder.open(folder)
    if run_folder.recipe_text() != text:
        lines = difflib.unified_diff(
            run_folder.recipe_text().splitlines(), text.splitlines(), "run", "recipe", lineterm="", n=0
        )
        changes = "; ".join(line for line in lines if line[0] in "+-" and not line.startswith(("+++", "---")))
        raise InputError(
            f"--resume: the recipe differs from the run in {folder}: {changes}; undo the change or use another --out"
        )
    return run_folder


def finish(run_folder: RunFolder, last: Path) -> None:
    """Write the run's summary: its last metrics and where the model lies."""
    metrics = run_folder.metrics()
    run_folder.write_json(
        "summary.json", {"model": str(last.relative_to(run_folder.path)), "last": metrics[-1] if metrics else {}}
    )


def warnings(settings: TrainSettings) -> list[str]:
    """What makes the run's results doubtful."""
    found = wrong_demonstrations(settings)
    if settings.task.split == "test":
        found.append(
            f"task.split is test: the model trains on problems of {settings.task.name} that it is measured on, so comparisons "
            "on its test problems are contaminated; use train"
        )
    return found


def _explained(settings: TrainSettings) -> list[str]:
    """What a run whose completions a server draws will do; said once of each server."""
    rollouts = [part.rollout for part in every_setting(settings) if part.rollout.engine == "server"]
    if not rollouts:
        return []
    from offleash.training.server import explained  # its HTTP client is an extra

    return list(dict.fromkeys(line for rollout in rollouts for line in explained(rollout)))


def _warn(settings: TrainSettings, said: Sequence[str] = ()) -> None:
    for line in warnings(settings):
        if line not in said:
            say(f"warning: {line}")
