"""A side of a comparison that is a model: sampled into a store first, as far as samples are missing.

Importing this loads no torch; sampling does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from offleash.core import InputError
from offleash.jobs.display import progress
from offleash.jobs.sides import Selection, Side, read_side, study_of
from offleash.store import RunFolder

EMBEDDED = ("base", "base:families")


@dataclass(frozen=True)
class Order:
    """How models are sampled; `task` and `out` may be missing where no side is a model."""

    task: str | None
    out: Path | None
    level: int | None = None
    """None for the task's main one."""
    split: str = "test"
    seed: int = 0
    problems: int = 100
    temperature: float = 1.0
    max_completion_length: int = 32
    given: tuple[str, ...] = ()
    """Options that only sampling reads, as they were given."""

    @classmethod
    def of(
        cls, selection: Selection, out: Path | None, problems: int | None, max_completion_length: int | None
    ) -> Order:
        """What the options of `compare` say, with the defaults of `sample`."""
        known = {
            name: value
            for name in ("level", "split", "seed", "temperature")
            if (value := getattr(selection, name)) is not None
        }
        own = {"problems": problems, "max_completion_length": max_completion_length}
        known |= {name: value for name, value in own.items() if value is not None}
        given = tuple("--" + name.replace("_", "-") for name, value in own.items() if value is not None)
        return cls(selection.task, out, given=given, **known)

    def level_sampled(self) -> int:
        """Of the problems that are drawn."""
        from offleash import tasks

        assert self.task is not None
        return tasks.main_level(tasks.get(self.task)) if self.level is None else self.level


def is_model(text: str, *, measured: bool = False) -> bool:
    """Whether a side is a model: `base`, a model's folder, or a run that no study has measured (any run if `measured`)."""
    path = Path(text)
    if not path.exists():
        return text in EMBEDDED
    return (path / "config.json").is_file() or ((path / "run.json").is_file() and (measured or study_of(path) is None))


def folder_of(text: str) -> str:
    """What to load: of a run its last checkpoint.

    Raises:
        InputError: a run without a checkpoint.
    """
    path = Path(text)
    if text in EMBEDDED or (path / "config.json").is_file():
        return text
    found = RunFolder.open(path).latest_checkpoint()
    if found is None:
        raise InputError(f"{text}: the run has no checkpoint yet; `offleash train --resume` makes one")
    return str(found)


def complete(order: Order | None, n: int | None, text: str) -> tuple[Order, str, Path]:
    """The order, its task and its folder.

    Raises:
        InputError: something is missing, with what to give.
    """
    missing = [
        name
        for name, value in (
            ("--task", order and order.task),
            ("--n", n),
            ("--out", order and order.out),
        )
        if value is None
    ]
    if missing or order is None or order.task is None or order.out is None:
        raise InputError(
            f"{', '.join(missing)}: {text!r} is a model or a run that was not measured, and is sampled first; give a task of "
            "`offleash tasks`, the samples of each problem, and a folder for them: --task countdown --n 256 --out runs/compared"
        )
    return order, order.task, order.out


def labels(texts: Sequence[str]) -> dict[str, str]:
    """What to call models: the folder's name where that tells them apart, else the whole path."""
    names = {text: Path(text).name for text in texts}
    return {text: name if list(names.values()).count(name) == 1 else text for text, name in names.items()}


def sampled_side(text: str, order: Order | None, n: int | None, texts: Sequence[str]) -> Side:
    """Fill `out`/store to n samples of every problem and read the side from it.

    Args:
        text: the model.
        order: how to sample.
        n: samples of each problem.
        texts: all sides, so that two models called alike can be told apart.

    Raises:
        InputError: see `complete`, and whatever `offleash sample` refuses.
    """
    order, task, out = complete(order, n, text)
    from offleash import tasks
    from offleash.jobs.sample import fill_store

    store, name, wanted = out / "store", labels(texts)[text], n or 1
    with progress(f"sampling {name}", wanted * order.problems) as report:
        ids = fill_store(
            model=folder_of(text), task=task, level=order.level_sampled(), n=wanted, out=store, problems=order.problems, label=name,
            split=order.split, seed=order.seed, temperature=order.temperature,
            max_completion_length=order.max_completion_length, tell=lambda done, total: report(done),
        )  # fmt: skip
    chosen = Selection(tasks.get(task).name, order.level_sampled(), order.split, order.seed, ids.sampler)
    return replace(read_side(f"{store}#{ids.model}", chosen), name=name)
