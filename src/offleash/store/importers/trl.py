"""TRL: the completions that `GRPOTrainer` logs with `log_completions=True`, `output_dir/completions/*.parquet`.

A file holds the last generation batch before its step: step, prompt, completion, one column for each reward function, what
the reward functions logged besides, and the advantage. Evaluation at the same step overwrites it, and where it generates less
than a batch the rest of the file is still the training's. Nothing in a file tells its two kinds of rows apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from offleash.store.importers.base import Chosen, Log, Sample, Shape, digest, number, question
from offleash.store.importers.reading import parquet_numbers, parquet_rows
from offleash.store.importers.steps import Stepped, choose_file, choose_step, step_of

_COLUMNS = frozenset({"step", "prompt", "completion"})
_ONE_BATCH = (
    "TRL keeps the last generation batch alone; an evaluation then overwrites it, or mixes with it where it is smaller"
)
_TWICE = (
    "every row is held at least twice (prompt, completion, score): one batch written twice, or a model that repeats itself; "
    "TRL gives samples no id, so each row counts"
)


class Trl:
    """Parquet files of one step each; the problem is the prompt, the score a reward column."""

    name = "TRL completions"
    sign = "parquet with the columns step, prompt, completion"
    choices = ("step", "metric", "model")
    suffixes = (".parquet",)

    def fits(self, shape: Shape) -> bool:
        """Whether a file of this shape is of this format."""
        return shape.kind == "parquet" and shape.fields >= _COLUMNS

    def read(self, paths: Sequence[Path], chosen: Chosen) -> Log:
        """The log of the chosen or the last step."""
        notes: list[str] = []
        path = choose_file([(path, _first_step(path)) for path in paths], chosen, notes)
        metric = chosen.one_of("metric", (c for c in parquet_numbers(path) if c not in ("step", "advantage")))
        folder = path.parent.parent if path.parent.name == "completions" else path.parent
        notes.append(_ONE_BATCH)
        samples = choose_step(_samples(path, metric, notes), chosen, notes)
        return Log(f"{folder.name}/{path.name}".lstrip("/"), metric, samples, notes)


def _first_step(path: Path) -> int:
    for where, row in parquet_rows(path, ["step"]):
        return step_of(row["step"], where)
    return -1


def _samples(path: Path, metric: str, notes: list[str]) -> Iterator[Stepped]:
    held: Counter[str] = Counter()
    for where, row in parquet_rows(path, ["step", "prompt", "completion", metric]):
        prompt = row["prompt"]
        held[digest(row["step"], prompt, row["completion"], row[metric])] += 1
        sample = Sample(f"trl:{digest(prompt)}", number(row[metric], metric, where), question(prompt))
        yield step_of(row["step"], where), sample
    if held and min(held.values()) > 1:
        notes.append(_TWICE)
