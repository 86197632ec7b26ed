"""verl: the generations that its trainers dump, `trainer.validation_data_dir`/STEP.jsonl (and `rollout_data_dir`).

A line holds input, output, gts, score, step, and what the reward function gave besides (acc, ...). The trainers of 0.9 add
`uid`, PROMPT_SESSION_TURN: a session of several turns has a line for each, all with the score of its last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store.importers.base import Chosen, Log, Sample, Shape, digest, is_score, number, question
from offleash.store.importers.reading import json_lines
from offleash.store.importers.steps import Stepped, choose_file, choose_step, step_of

_KEYS = frozenset({"input", "output", "score", "step"})
_UID = re.compile(r"(.+_\d+)_(\d+)")


class Verl:
    """Lines of one step a file; the problem is the input with its ground truth, the score is acc where there is one."""

    name = "verl generations"
    sign = "JSON lines with input, output, score, step"
    choices = ("step", "metric", "model")
    suffixes = (".jsonl",)

    def fits(self, shape: Shape) -> bool:
        """Whether a file of this shape is of this format."""
        return shape.kind == "lines" and shape.fields >= _KEYS

    def read(self, paths: Sequence[Path], chosen: Chosen) -> Log:
        """The log of the chosen or the last step."""
        notes: list[str] = []
        path = choose_file([(path, _first_step(path)) for path in paths], chosen, notes)
        metric = chosen.one_of("metric", *_metrics(path))
        samples = choose_step(_samples(path, metric, notes), chosen, notes)
        return Log(f"{path.parent.name}/{path.name}".lstrip("/"), metric, samples, notes)


def _first_step(path: Path) -> int:
    where, row = next(json_lines(path, []))
    return step_of(row.get("step"), where)


def _metrics(path: Path) -> tuple[list[str], str]:
    """The fields that hold scores; acc first where there is one, as in verl's own validation metrics."""
    _, row = next(json_lines(path, []))
    names = [name for name, value in row.items() if name != "step" and (is_score(value) or name in ("score", "acc"))]
    return names, "acc" if "acc" in names else "score"


def _samples(path: Path, metric: str, notes: list[str]) -> Iterator[Stepped]:
    """One sample a line; of a session of several turns, one in all, with the input of its first turn."""
    first: dict[tuple[int, str], tuple[int, Stepped]] = {}
    turns: set[tuple[int, str]] = set()
    again: list[Stepped] = []
    for where, row in json_lines(path, notes):
        for name in ("input", "step", metric):
            if name not in row:
                raise InputError(f"{name}: missing in {where}; keep to the lines that verl wrote")
        step, uid = step_of(row["step"], where), str(row.get("uid", ""))
        parts = _UID.fullmatch(uid)
        if parts is None:
            yield step, _sample(row, metric, where, None)
            continue
        session = (step, parts[1])
        sample = (step, _sample(row, metric, where, session))
        if (step, uid) in turns:
            again.append(sample)
        elif session not in first or int(parts[2]) < first[session][0]:
            first[session] = (int(parts[2]), sample)
        turns.add((step, uid))
    yield from (sample for _, sample in first.values())
    yield from again
    if len(turns) > len(first):
        notes.append(f"{len(turns)} lines of {len(first)} sessions of several turns; each session counts once")


def _sample(row: dict[str, Any], metric: str, where: str, key: tuple[int, str] | None) -> Sample:
    problem = f"verl:{digest(row['input'], row.get('gts'))}"
    return Sample(problem, number(row[metric], metric, where), question(row["input"]), key)
