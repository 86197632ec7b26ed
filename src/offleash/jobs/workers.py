"""A few worker processes, one torch thread each, that train and measure; progress flows back through a queue.

Two single-threaded processes do more on two cores than one process with two threads does: small models leave threads waiting
for each other at every operation.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, TypeAlias

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from offleash.jobs.display import PLAIN_SECONDS, console, say
from offleash.jobs.stopping import interruptible, obey, obeying, sigint_blocked, stop

Event = tuple[str, int, int, str]  # job, done, total, text
Events: TypeAlias = "SimpleQueue[Event]"
_events: Events  # of a worker process


@dataclass(frozen=True)
class Job:
    """A piece of work: `kind` is `train` or `measure`; it starts when the job named `after` is done."""

    name: str
    kind: str
    work: dict[str, Any]
    after: str = ""


@dataclass
class Crew:
    """Runs jobs on a few workers. One measurement at a time: a store has one writer."""

    workers: int
    jobs: list[Job] = field(default_factory=list)

    def add(self, job: Job) -> None:
        """Queue a job; earlier ones are preferred."""
        self.jobs.append(job)

    def run(self) -> dict[str, str]:
        """Run everything; returns the model id of every measured label. An error of a job stops the crew.

        After a first SIGINT every training finishes its step and saves a checkpoint, then KeyboardInterrupt is raised; a
        second one ends the workers at once.
        """
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):  # read by the workers' OpenMP when they start
            os.environ.setdefault(name, {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}[name])
        context = multiprocessing.get_context("spawn")
        events = context.SimpleQueue()
        others = multiprocessing.active_children()
        with interruptible() as interrupted:
            pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_start, initargs=(events,))
            try:
                return self._drive(pool, events, interrupted)
            finally:
                stop(pool, [child for child in multiprocessing.active_children() if child not in others], interrupted)

    def _drive(self, pool: ProcessPoolExecutor, events: Events, interrupted: list[int]) -> dict[str, str]:
        waiting, done, models = list(self.jobs), {""}, {}
        running: dict[Future[dict[str, str]], Job] = {}
        show = _display()
        with show:
            while waiting or running:
                if interrupted:
                    raise KeyboardInterrupt(
                        "interrupted; what was finished is on disk, the same command goes on from there"
                    )
                for job in _ready(waiting, done, running, self.workers):
                    waiting.remove(job)
                    with sigint_blocked():  # it may start a worker
                        running[pool.submit(_do, job)] = job
                finished, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                show.drain(events)
                for future in finished:
                    job = running.pop(future)
                    models.update(future.result())
                    done.add(job.name)
                    show.finish(job.name)
        return models


def _ready(waiting: list[Job], done: set[str], running: dict[Future[dict[str, str]], Job], workers: int) -> list[Job]:
    """The jobs to start now: trainings first (they hold up others), measurements one at a time."""
    free = workers - len(running)
    measuring = any(job.kind == "measure" for job in running.values())
    chosen: list[Job] = []
    for job in sorted((j for j in waiting if j.after in done), key=lambda j: j.kind != "train"):
        if len(chosen) == free:
            break
        if job.kind == "measure":
            if measuring:
                continue
            measuring = True
        chosen.append(job)
    return chosen


def _start(events: Events) -> None:
    """The beginning of a worker process."""
    global _events
    _events = events
    obey()
    import torch

    torch.set_num_threads(1)


def _do(job: Job) -> dict[str, str]:
    def tell(done: int, total: int, text: str = "") -> None:
        _events.put((job.name, done, total, text))

    with obeying():
        return (_train if job.kind == "train" else _measure)(job.work, tell)


def _train(work: dict[str, Any], tell: Callable[..., None]) -> dict[str, str]:
    from offleash.jobs.display import step_text
    from offleash.jobs.recipe import load_recipe
    from offleash.jobs.train import finish, hooks_of, open_run
    from offleash.training import TrainSettings, train

    settings = load_recipe(Path(work["recipe"]), TrainSettings, [])
    folder = Path(work["folder"])
    if (folder / "summary.json").is_file():
        return {}
    run_folder = open_run(folder, settings, resume=True)
    hooks = hooks_of(settings, run_folder, lambda s, m, t: tell(s, settings.steps, step_text(m, t)))
    finish(run_folder, train(settings, run_folder, resume=(folder / "run.json").is_file(), hooks=hooks))
    return {}


def _measure(work: dict[str, Any], tell: Callable[..., None]) -> dict[str, str]:
    import json

    from offleash.jobs import sample

    model = work["model"]
    summary = Path(model) / "summary.json"
    if summary.is_file():
        model = str(Path(model) / json.loads(summary.read_text())["model"])
    identity, _ = sample.fill_store(
        model=model,
        task="countdown",
        level=work["level"],
        problems=work["problems"],
        n=work["samples"],
        out=Path(work["store"]),
        label=work["label"],
        tell=tell,
    )
    return {work["label"]: identity}


def _display() -> _Bars | _Lines:
    return _Bars() if console().is_terminal else _Lines()


class _Bars:
    """A bar for every job that has begun."""

    def __init__(self) -> None:
        self.bars = Progress(
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[seen]}"),
            console=console(),
        )
        self.ids: dict[str, Any] = {}

    def __enter__(self) -> _Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def drain(self, events: Events) -> None:
        while not events.empty():
            name, done, total, text = events.get()
            if name not in self.ids:
                self.ids[name] = self.bars.add_task(name, total=total, seen="")
            self.bars.update(self.ids[name], completed=done, total=total, seen=text)

    def finish(self, name: str) -> None:
        if name in self.ids:
            bar = self.bars.tasks[self.ids[name]]
            self.bars.update(self.ids[name], completed=bar.total)


class _Lines:
    """A line for every job now and then."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.start = time.monotonic()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def drain(self, events: Events) -> None:
        while not events.empty():
            name, done, total, text = events.get()
            now = time.monotonic()
            if now - self.last.get(name, 0.0) >= PLAIN_SECONDS:
                self.last[name] = now
                say(f"{now - self.start:5.0f} s  {name}: {done}/{total}  {text}")

    def finish(self, name: str) -> None:
        say(f"{time.monotonic() - self.start:5.0f} s  {name}: done")
