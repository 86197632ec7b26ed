"""Fill a store until every problem has n verified samples. It can be stopped at any moment and called again.

    missing (problem, index) -> chunk of requests -> engine -> samples on disk -> verifier -> verdicts on disk -> next chunk

What is on disk is never drawn again: a sample's uniform numbers depend on (seed, problem, index) alone, so it does not matter
in which call, chunk or order it was drawn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offleash.core import Completion, InputError, OffleashError, Problem, rng
from offleash.engines.base import Request, Sampler, Unfinished
from offleash.engines.episodes import sampler_for
from offleash.store import SampleRow, Store, Unverified, VerdictRow, Writer, same_record
from offleash.tasks import Task, verify_all

Progress = Callable[[int, int], None]
"""Called with the samples done and the samples wanted; also between the slower problems' chance baselines."""

# Chance baselines that took this long are written before more are computed: a kill loses seconds.
_SAVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Filled:
    """What a call did."""

    sampled: int
    verified: int


def fill(
    store: Store,
    sampler: Sampler,
    task: Task,
    problems: Sequence[Problem],
    *,
    model: Mapping[str, Any],
    n: int,
    settings: Mapping[str, Any],
    seed: int,
    batch: int,
    progress: Progress | None = None,
) -> Filled:
    """Complete the store to samples 0 ... n - 1 of every problem, each with a verdict of the task's verifier.

    Args:
        store: where to; it may hold other models, problems and settings.
        sampler: the engine; for a world it stops at `turn_end`, its limit of tokens is that of a turn, and a sample is an episode.
        task: verifies; its `guess` gives each new problem's chance baseline.
        problems: a problem named twice counts once.
        model: {"id", "label", ...}; the id says which samples are this model's.
        n: samples for each problem.
        settings: the sampler's resolved settings (`sampler.settings()`), stored as its identity.
        seed: which streams the samples are drawn from.
        batch: requests for each call of the engine; the samples of a problem stay together where they fit.
        progress: see `Progress`.

    Raises:
        InputError: a value that cannot be used, or another process is writing to the store.
        OffleashError: the disk is full, or the engine gave up or does not answer what it was asked; what was written before
            stays, and so does what an engine that gave up had finished.
    """
    check_numbers(n, batch, seed)
    wanted = {problem.id: problem for problem in problems}
    for problem in wanted.values():
        if problem.task != task.name:
            raise InputError(f"problems: {problem.id} is of task {problem.task!r}; give problems of {task.name!r}")
    drawer = sampler_for(task, sampler, wanted)
    with store.writer() as writer:
        name = writer.add_model(model)
        identity = writer.add_sampler(settings)
        have = store.have(name, identity, seed)
        todo = {key: [i for i in range(n) if i not in have.get(key, ())] for key in wanted}
        count = _Count(n * len(wanted), n * len(wanted) - sum(map(len, todo.values())), progress)
        _add_problems(store, writer, task, wanted, count)
        verified = _verify_leftovers(store, writer, task, wanted, (name, identity, seed), batch, count)
        for chunk in _chunks(todo, batch):
            requests = [Request(key, wanted[key].prompt, i, rng.key64("sample", seed, key, i)) for key, i in chunk]
            gave_up: Unfinished | None = None
            try:
                completions = drawer.generate(requests, count.more)
                _check(requests, completions)
            except Unfinished as error:
                gave_up, completions = error, error.finished
            rows = [SampleRow.of(c, model=name, seed=seed, sampler=identity) for c in completions]
            writer.add_samples(rows)
            writer.add_verdicts(_judge(task, wanted, rows))
            count.wrote(len(rows))
            if gave_up:
                raise gave_up
    return Filled(count.written, verified + count.written)


def check_numbers(n: int, batch: int, seed: int) -> None:
    """Raise an InputError for numbers that `fill` cannot use."""
    if n < 1 or batch < 1:
        raise InputError(f"n, batch: {n} and {batch}; both must be at least 1")
    if not -(2**63) <= seed < 2**63:
        raise InputError(f"seed: {seed} does not fit 64 bits; give a smaller one")


class _Count:
    """How far the filling is; an engine that does not say when completions finish is heard of when they are written."""

    def __init__(self, total: int, present: int, progress: Progress | None) -> None:
        self.total, self.present, self.progress = total, present, progress
        self.written = 0
        self.flying = 0
        self.tell()

    def tell(self) -> None:
        if self.progress:
            self.progress(min(self.total, self.present + self.written + self.flying), self.total)

    def more(self, finished: int) -> None:
        self.flying += finished
        self.tell()

    def wrote(self, rows: int) -> None:
        self.written += rows
        self.flying = 0
        self.tell()


def _add_problems(store: Store, writer: Writer, task: Task, wanted: Mapping[str, Problem], count: _Count) -> None:
    """Store the problems that are new, each with its chance baseline, which is computed this once.

    A problem that is stored under another level, split or meta than it has now is stored again: the last record holds.
    """
    known = {stored.problem.id: stored.problem for stored in store.problems(task=task.name)}
    new: list[Problem] = []
    guess: list[float] = []
    start = time.monotonic()
    for problem in wanted.values():
        if problem.id in known and same_record(problem, known[problem.id]):
            continue
        chance = float(task.guess(problem))
        if not (math.isnan(chance) or 0 <= chance <= 1):
            raise OffleashError(f"task {task.name!r}: guess of problem {problem.id} is {chance}, not a probability")
        new.append(problem)
        guess.append(chance)
        if time.monotonic() - start >= _SAVE_SECONDS:
            writer.add_problems(new, guess)
            new, guess, start = [], [], time.monotonic()
        count.tell()
    writer.add_problems(new, guess)


def _verify_leftovers(
    store: Store,
    writer: Writer,
    task: Task,
    wanted: Mapping[str, Problem],
    key: tuple[str, str, int],
    batch: int,
    count: _Count,
) -> int:
    """Judge samples that are on disk without a verdict of the task's present verifier; returns how many."""
    model, identity, seed = key
    rows = store.unverified(model, task.verifier_version, sampler=identity, seed=seed)
    rows = [row for row in rows if row.problem_id in wanted]
    for start in range(0, len(rows), batch):
        writer.add_verdicts(_judge(task, wanted, rows[start : start + batch]))
        count.tell()
    return len(rows)


def _judge(task: Task, wanted: Mapping[str, Problem], rows: Sequence[SampleRow | Unverified]) -> list[VerdictRow]:
    verdicts = verify_all(task, [(wanted[row.problem_id], row.text) for row in rows])
    odd = next((v.verifier_version for v in verdicts if v.verifier_version != task.verifier_version), None)
    if odd is not None:
        raise OffleashError(
            f"task {task.name!r}: a verdict of version {odd!r}, the task says {task.verifier_version!r}"
        )
    return [VerdictRow.of(row, verdict) for row, verdict in zip(rows, verdicts, strict=True)]


def _chunks(todo: Mapping[str, list[int]], batch: int) -> Iterator[list[tuple[str, int]]]:
    """Chunks of at most `batch` (problem id, index); a problem is split only where it alone exceeds a chunk."""
    chunk: list[tuple[str, int]] = []
    for key, indices in todo.items():
        for start in range(0, len(indices), batch):
            piece = [(key, i) for i in indices[start : start + batch]]
            if len(chunk) + len(piece) > batch:
                yield chunk
                chunk = []
            chunk += piece
    if chunk:
        yield chunk


def _check(requests: Sequence[Request], completions: Sequence[Completion]) -> None:
    """Refuse an engine's answer that is not one completion for each request, in order."""
    asked = [(r.problem_id, r.index) for r in requests]
    given = [(c.problem_id, c.index) for c in completions]
    if asked != given:
        odd = next((pair for pair in zip(asked, given, strict=False) if pair[0] != pair[1]), (len(asked), len(given)))
        raise OffleashError(f"engine: its completions are not those asked for, in order: asked {odd[0]}, got {odd[1]}")
