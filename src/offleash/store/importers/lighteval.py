"""lighteval: `details/MODEL/DATE/details_TASK_DATE.parquet`, written with `--save-details`.

A row holds one document: doc, model_response (text: every response), metric (the metrics by name). Metrics are one number a
document: of its one response, or of n responses where they are called avg@n or pass@k.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store.importers.base import (
    Chosen,
    Log,
    Sample,
    Shape,
    digest,
    is_score,
    number,
    question,
    solved,
    spread,
)
from offleash.store.importers.reading import Entry, parquet_rows, pick

_COLUMNS = frozenset({"doc", "metric", "model_response"})
_READ = ("doc.query", "doc.id", "doc.task_name", "metric", "model_response.text")
_DATE = r"\d{4}-\d\d-\d\dT[\d.-]+"
_NAME = re.compile(rf"details_(.+)_({_DATE})\.parquet")


class Lighteval:
    """Details of one task a file; the problem is the document, found by task, id and query."""

    name = "lighteval details"
    sign = "parquet with the columns doc, metric, model_response"
    choices = ("metric", "task", "date", "model")
    suffixes = (".parquet",)

    def fits(self, shape: Shape) -> bool:
        """Whether a file of this shape is of this format."""
        return shape.kind == "parquet" and shape.fields >= _COLUMNS

    def read(self, paths: Sequence[Path], chosen: Chosen) -> Log:
        """The newest details of each task, or those of the chosen date."""
        notes: list[str] = []
        entries = pick([_entry(path) for path in paths], chosen, "date", notes)
        metric = _metric(entries, chosen)
        if len({entry.task for entry in entries}) > 1:
            notes.append(
                f"{len(entries)} tasks together: {', '.join(entry.task for entry in entries)} (#task=... chooses)"
            )
        samples = (sample for entry in entries for sample in _samples(entry.path, metric))
        name, counted = entries[0].model or entries[0].path.name, _budget(metric, 1) is not None
        return Log(name, metric, samples, notes, counted)


def _entry(path: Path) -> Entry:
    """A file's model, task and date, from where lighteval puts it."""
    parts = _NAME.fullmatch(path.name)
    task, date = (parts[1], parts[2]) if parts else (path.stem, "")
    folder = path.parent.parent if re.fullmatch(_DATE, path.parent.name) else path.parent
    above = folder.parts
    at = len(above) - 1 - above[::-1].index("details") if "details" in above else len(above) - 2
    return Entry(path, "/".join(above[at + 1 :]), task, date, date)


def _metric(entries: Sequence[Entry], chosen: Chosen) -> str:
    names: dict[str, None] = {}
    for entry in entries:
        for _, row in parquet_rows(entry.path, ["metric"]):
            names |= {name: None for name, value in (row["metric"] or {}).items() if is_score(value)}
    counted = [name for name in names if _budget(name, 1) is not None]
    # Several of them say the same number of correct responses; pass@1 and averages say it best.
    default = min(counted, key=lambda name: (_budget(name, 1) or (0, 0))[0]) if len(counted) == len(names) > 0 else None
    return chosen.one_of("metric", names, default)


def _budget(metric: str, responses: int) -> tuple[int, int] | None:
    """k and n of a metric that tells the correct responses: pass@k:k=1&n=16, avg@n:n=16; None for another."""
    name, _, settings = metric.partition(":")
    given = dict(part.split("=", 1) for part in settings.split("&") if "=" in part)
    n = int(given["n"]) if given.get("n", "").isdigit() else responses
    if name.endswith("avg@n"):
        return 1, n
    if name.endswith("pass@k") and not name.endswith("g-pass@k") and given.get("k", "").isdigit():
        return int(given["k"]), n
    return None


def _samples(path: Path, metric: str) -> Iterator[Sample]:
    for where, row in parquet_rows(path, _READ):
        doc, texts = row["doc"], (row["model_response"] or {}).get("text") or []
        scores: dict[str, Any] = row["metric"] or {}
        value = number(scores.get(metric), metric, where)
        task, own = doc.get("task_name") or "", doc.get("id") or ""
        problem = f"lighteval:{task}:{own}:{digest(doc['query'])[:8]}"
        prompt, key = question(doc["query"]), (path.name, task, own) if own else None
        budget = _budget(metric, len(texts))
        if value is None or (budget is None and len(texts) <= 1):
            yield Sample(problem, value, prompt, key)
            continue
        if budget is None:
            raise InputError(
                f"{metric}: in {where} it is one number for {len(texts)} responses, which says nothing of each; choose "
                "pass@k:k=1&n=... or avg@n:n=... (#metric=...), or evaluate with one of them"
            )
        c = solved(value, budget[1], budget[0])
        if c is None:
            raise InputError(
                f"{metric}: {value:g} in {where} does not say how many of {budget[1]} responses are correct; "
                "evaluate with pass@k:k=1 or avg@n"
            )
        yield from spread(problem, c, budget[1], prompt, key)
