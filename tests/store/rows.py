"""Rows for the tests of the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from offleash.core import Problem
from offleash.store import SampleRow, Store, VerdictRow, sampler_id

SETTINGS = {"engine": "fake", "temperature": 1.0}
SAMPLER = sampler_id(SETTINGS)


def problem(i: int, **more: Any) -> Problem:
    return Problem(
        **{"task": "toy", "version": "1", "prompt": f"{i}?", "answer": str(i), "level": 1, "split": "test", **more}
    )


def sample(of: Problem, index: int, **more: Any) -> SampleRow:
    row = SampleRow("m", of.id, index, 0, SAMPLER, f"text {index}", (1, 2), (-0.5, -1.5), (0.25, 0.75), "stop")
    return replace(row, **more)


def verdict(of: SampleRow, correct: bool | None = True, **more: Any) -> VerdictRow:
    row = VerdictRow(
        of.model, of.problem_id, of.index, of.seed, of.sampler, "v1", correct, float(correct or 0), "3", "number", ""
    )
    return replace(row, **more)


def filled(path: Path, *, count: int = 2, n: int = 3) -> Store:
    """A store with `count` problems and n samples of each; sample 0 is right, sample 1 undecided, the others wrong."""
    store = Store.create(path)
    problems = [problem(i) for i in range(count)]
    samples = [sample(p, i) for p in problems for i in range(n)]
    with store.writer() as writer:
        writer.add_model({"id": "m", "label": "base"})
        writer.add_sampler(SETTINGS)
        writer.add_problems(problems, [0.5] * count)
        writer.add_samples(samples)
        writer.add_verdicts([verdict(s, {0: True, 1: None}.get(s.index, False)) for s in samples])
    return store


def part(store: Store, table: str) -> Path:
    """The first part of a table."""
    return min((store.path / table).glob("*.parquet"))
