"""lm-evaluation-harness: `samples_TASK_DATE.jsonl`, written with `--log_samples`.

A line holds one document under one filter: doc_id, doc, target, arguments, resps (every response), filtered_resps (what the
filter kept), filter, the metrics by name, and hashes of document, prompt and target. Metrics are one number a document: of one
response, or of all kept ones where they are called pass@k.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from offleash.store.importers.reading import Entry, json_lines, pick

_KEYS = frozenset({"doc_id", "doc", "arguments", "resps", "filtered_resps", "filter"})
_NAME = re.compile(r"samples_(.+)_(\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
_PASS = re.compile(r"pass@(\d+)")


class LmEval:
    """Sample files of one task each; the problem is the document, found by its hash."""

    name = "lm-evaluation-harness samples"
    sign = "JSON lines with doc_id, doc, arguments, resps, filtered_resps, filter"
    choices = ("filter", "metric", "task", "date", "model")
    suffixes = (".jsonl",)

    def fits(self, shape: Shape) -> bool:
        """Whether a file of this shape is of this format."""
        return shape.kind == "lines" and shape.fields >= _KEYS

    def read(self, paths: Sequence[Path], chosen: Chosen) -> Log:
        """The newest samples of each task, or those of the chosen date."""
        notes: list[str] = []
        entries = pick([_entry(path) for path in paths], chosen, "date", notes)
        kind = _kind(entries, chosen)
        several = len({entry.task for entry in entries}) > 1
        if several:
            notes.append(
                f"{len(entries)} tasks together: {', '.join(entry.task for entry in entries)} (#task=... chooses)"
            )
        samples = (s for e in entries for s in _samples(e.path, kind, f"{e.task}:" if several else "", notes))
        metric, counted = f"{kind.metric} (filter {kind.filter})", _PASS.fullmatch(kind.metric) is not None
        return Log(entries[0].model or entries[0].path.name, metric, samples, notes, counted)


@dataclass(frozen=True)
class _Kind:
    """Which rows and which number of them."""

    filter: str
    metric: str


def _entry(path: Path) -> Entry:
    parts = _NAME.fullmatch(path.name)
    task, date = (parts[1], parts[2]) if parts else (path.stem, "")
    return Entry(path, path.parent.name, task, date, date)


def _kind(entries: Sequence[Entry], chosen: Chosen) -> _Kind:
    """The filter and the metric of all files: the chosen ones, or the only ones."""
    filters: dict[str, None] = {}
    metrics: dict[str, None] = {}
    for entry in entries:
        for where, row in json_lines(entry.path, []):
            filters[_field(row, "filter", where)] = None
            if row["filter"] == chosen.get("filter", row["filter"]):
                metrics |= {name: None for name in row.get("metrics", ()) if is_score(row.get(name))}
    filter_ = chosen.one_of("filter", filters)
    passes = sorted((name for name in metrics if _PASS.fullmatch(name)), key=lambda name: int(name[5:]))
    # Several pass@k of one document say the same number of correct responses; the smallest k says it best.
    default = passes[0] if passes and len(passes) == len(metrics) else None
    return _Kind(filter_, chosen.one_of("metric", metrics, default))


def _field(row: dict[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise InputError(f"{name}: missing in {where}; keep to the lines that lm-evaluation-harness wrote")
    return row[name]


def _samples(path: Path, kind: _Kind, prefix: str, notes: list[str]) -> Iterator[Sample]:
    """The samples of one file; the responses that the metric does not judge are noted."""
    unjudged = 0
    for where, row in json_lines(path, notes):
        if _field(row, "filter", where) != kind.filter:
            continue
        doc = row.get("doc_hash")
        problem = f"lm-eval:{prefix}{str(doc)[:16] if doc else digest(_field(row, 'doc', where))}"
        key = (path.name, _field(row, "doc_id", where))
        prompt, value = question(_prompt(row)), number(_field(row, kind.metric, where), kind.metric, where)
        made, kept = _responses(row, kind, where)
        unjudged += made - kept
        at_k = _PASS.fullmatch(kind.metric)
        if at_k is None or value is None:
            yield Sample(problem, value, prompt, key)
            continue
        c = solved(value, kept, int(at_k[1]))
        if c is None:
            raise InputError(
                f"{kind.metric}: {value:g} of {kept} responses in {where} does not say how many are correct; evaluate with "
                "pass@1 among the metrics (k: [1, ...])"
            )
        yield from spread(problem, c, kept, prompt, key)
    if unjudged:
        notes.append(f"{unjudged} more responses that filter {kind.filter} leaves unjudged are not counted")


def _prompt(row: dict[str, Any]) -> Any:
    """What the model was asked: a text, or the messages as text where a chat template was applied."""
    arguments = row.get("arguments")
    first = arguments.get("gen_args_0") if isinstance(arguments, dict) else None
    return first.get("arg_0", "") if isinstance(first, dict) else ""


def _responses(row: dict[str, Any], kind: _Kind, where: str) -> tuple[int, int]:
    """How many responses a document has, and how many of them its metric judges.

    Raises:
        InputError: one number for several responses that is no pass@k.
    """
    made, kept = _field(row, "resps", where), _field(row, "filtered_resps", where)
    if len(made) != 1 or not isinstance(made[0], list) or len(made[0]) == 1:
        return 1, 1
    count = len(kept[0]) if kept and isinstance(kept[0], list) else 1
    if _PASS.fullmatch(kind.metric):
        return len(made[0]), count
    if count > 1 or kind.filter.startswith("maj"):
        raise InputError(
            f"{kind.metric}: in {where} it is one number for {max(count, len(made[0]))} responses under filter {kind.filter}, "
            "which says nothing of each; choose a filter that keeps one (#filter=...) or evaluate with pass@1"
        )
    return len(made[0]), 1
