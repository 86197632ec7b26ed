"""Inspect: evaluation logs (`.eval`, or `.json`), read with its own library (the extra `inspect`).

A sample has an id, an epoch (epochs are the samples of a problem), its input, and scores by scorer: C, I, P, N, a number, or
several numbers by name.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store.importers.base import Chosen, Log, Sample, Shape, digest, is_score, number, question
from offleash.store.importers.reading import Entry, pick

_MEMBERS = frozenset({"header.json", "_journal/start.json"})
_KEYS = frozenset({"status", "eval"})
# What scorers write for correct, incorrect, partly correct and no answer; the values are those of Inspect's own accuracy.
_LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
_HEAVY = frozenset({"messages", "events", "store", "attachments", "output", "timelines"})


class Inspect:
    """Logs of one task each; the problem is the sample id with its input."""

    name = "Inspect log"
    sign = "an .eval archive, or JSON with the keys status, eval"
    choices = ("metric", "task", "date", "model")
    suffixes = (".eval", ".json")

    def fits(self, shape: Shape) -> bool:
        """Whether a file of this shape is of this format."""
        archive = shape.kind == "archive" and bool(shape.fields & _MEMBERS)
        return archive or (shape.kind == "json" and shape.fields >= _KEYS)

    def read(self, paths: Sequence[Path], chosen: Chosen) -> Log:
        """The newest log of each task, or that of the chosen date."""
        library = _library(paths[0])
        notes: list[str] = []
        entries = pick([_entry(library, path) for path in paths], chosen, "date", notes)
        metric = _metric(library, entries, chosen)
        if len({entry.task for entry in entries}) > 1:
            notes.append(
                f"{len(entries)} tasks together: {', '.join(entry.task for entry in entries)} (#task=... chooses)"
            )
        samples = (sample for entry in entries for sample in _samples(library, entry, metric, notes))
        return Log(entries[0].model, metric, samples, notes)


def _library(path: Path) -> Any:
    """`inspect_ai.log`.

    Raises:
        InputError: it is not installed; names the extra.
    """
    try:
        from inspect_ai import log
    except ImportError as error:
        raise InputError(
            f"{path}: an Inspect log, which Inspect's own library reads; install it: pip install 'offleash[inspect]' "
            f"({error})"
        ) from error
    return log


def _entry(library: Any, path: Path) -> Entry:
    try:
        header = library.read_eval_log(str(path), header_only=True)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        why = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(f"{path}: Inspect cannot read it ({why}); give a whole log, named .eval or .json") from error
    return Entry(path, header.eval.model, header.eval.task, str(header.eval.created), str(header.eval.created))


def _read(library: Any, path: Path) -> Iterator[Any]:
    """The samples a log holds, one after the other."""
    try:
        yield from library.read_eval_log_samples(str(path), all_samples_required=False, exclude_fields=set(_HEAVY))
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        why = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(f"{path}: Inspect cannot read its samples ({why}); give a whole log") from error


def _metric(library: Any, entries: Sequence[Entry], chosen: Chosen) -> str:
    """The scorer, or SCORER.NAME where it gives several numbers."""
    names: dict[str, None] = {}
    for entry in entries:
        for summary in library.read_eval_log_sample_summaries(str(entry.path)):
            names |= {name: None for name, _ in _scores(summary)}
    return chosen.one_of("metric", names)


def _scores(sample: Any) -> Iterator[tuple[str, Any]]:
    for name, score in (sample.scores or {}).items():
        if isinstance(score.value, Mapping):
            yield from ((f"{name}.{part}", value) for part, value in score.value.items())
        else:
            yield name, score.value


def _samples(library: Any, entry: Entry, metric: str, notes: list[str]) -> Iterator[Sample]:
    header = library.read_eval_log(str(entry.path), header_only=True)
    epochs, ids = header.eval.config.epochs or 1, header.eval.dataset.sample_ids or []
    seen = 0
    for sample in _read(library, entry.path):
        seen += 1
        where = f"{entry.path}, sample {sample.id}, epoch {sample.epoch}"
        asked = sample.input if isinstance(sample.input, str) else [m.model_dump() for m in sample.input]
        value = None if sample.error else dict(_scores(sample)).get(metric)
        problem = f"inspect:{entry.task}:{sample.id}:{digest(question(asked))[:8]}"
        yield Sample(problem, _value(value, metric, where), question(asked), (entry.path.name, sample.id, sample.epoch))
    if seen < epochs * len(ids) or header.status != "success":
        notes.append(f"{entry.path.name}: status {header.status}, {seen} of {epochs * len(ids)} samples")


def _value(value: Any, metric: str, where: str) -> float | None:
    if isinstance(value, str) and value in _LETTERS:
        return _LETTERS[value]
    if value is None or is_score(value) or isinstance(value, str):
        return number(value, metric, where)
    raise InputError(f"{metric}: {value!r} in {where} is no number; choose another with #metric=...")
