"""The problems of a step: new ones, or a fixed pool gone through again and again. A function of (seed, step) alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offleash import tasks
from offleash.core import InputError, Problem, rng
from offleash.store import Store
from offleash.tasks import Task
from offleash.training.demonstrations import Demonstrations
from offleash.training.settings import TaskSettings, TrainSettings


@dataclass(frozen=True)
class Problems:
    """Where a run's problems come from; without a pool each step generates its own."""

    task: Task
    settings: TrainSettings
    pool: tuple[Problem, ...] = ()

    def of_step(self, step: int, round_: int = 0) -> list[Problem]:
        """`num_prompts` problems; further rounds of dynamic sampling give further ones."""
        count = self.settings.rollout.num_prompts
        slots = range(round_ * count, (round_ + 1) * count)
        if not self.pool:
            levels, seed = self.settings.task.levels, self.settings.seed
            return [
                self.task.generate((seed, "step", step, i), levels[i % len(levels)], self.settings.task.split)
                for i in slots
            ]
        first = step * count * self.settings.rollout.max_rounds
        return [self._drawn(first + i) for i in slots]

    def _drawn(self, i: int) -> Problem:
        """Problem i of an endless sequence that is the pool, shuffled anew each time round."""
        epoch, at = divmod(i, len(self.pool))
        if len(self.pool) == 1:
            return self.pool[0]
        return self.pool[_order(self.settings.seed, epoch, len(self.pool))[at]]


def _order(seed: int, epoch: int, size: int) -> list[int]:
    return sorted(range(size), key=lambda i: rng.key64("pool", seed, epoch, i))


def make_problems(task: Task, settings: TrainSettings, demonstrations: Demonstrations | None) -> Problems:
    """The source of problems that a recipe asks for.

    Raises:
        InputError: no problem is left.
    """
    pool: Sequence[Problem] = ()
    chosen = settings.task
    if demonstrations is not None and demonstrations.problems:
        pool = demonstrations.problems
        if chosen.problems:
            pool = pool[: chosen.problems]
    elif chosen.problems or chosen.measured:
        pool = _first(task, chosen, settings.seed)
    if chosen.measured:
        rates = _rates(chosen.measured)
        pool = [p for p in pool if p.id in rates and chosen.rates[0] <= rates[p.id] <= chosen.rates[1]]
        if not pool:
            raise InputError(
                f"task.measured: {chosen.measured} has no problem of task.levels and task.split with a success rate in "
                f"{list(chosen.rates)}; sample the base on them first: offleash sample --model base --task {task.name} --split "
                f"{chosen.split} ..., or widen task.rates"
            )
    return Problems(task, settings, tuple(pool))


def _first(task: Task, chosen: TaskSettings, seed: int) -> list[Problem]:
    """The first problems of each level; of a measured model, as many as may have been measured."""
    if not chosen.problems:
        place, model = store_of("task.measured", chosen.measured)
        known = {s.problem.id: s.problem for s in place.problems(task=task.name, split=chosen.split)}
        have = [row.id for row in place.counts(model, task=task.name, split=chosen.split)]
        return [known[i] for i in have if i in known and known[i].level in chosen.levels]
    return [
        problem
        for level in chosen.levels
        for problem in itertools.islice(tasks.problems(task, level, chosen.split, seed), chosen.problems)
    ]


def _rates(text: str) -> Mapping[str, float]:
    place, model = store_of("task.measured", text)
    return {row.id: row.c / row.n for row in place.counts(model) if row.n}


def store_of(field: str, text: str) -> tuple[Store, str]:
    """The store and the model in STORE#MODEL.

    Raises:
        InputError: no such store or model, named by the field.
    """
    path, mark, model = text.rpartition("#")
    if not mark:
        raise InputError(
            f"{field}: {text!r}; give STORE#MODEL, a store that `offleash sample` filled and a model in it"
        )
    try:
        store = Store.open(path)
        store.model(model)
    except InputError as error:
        raise InputError(f"{field}: {error}") from error
    return store, model
