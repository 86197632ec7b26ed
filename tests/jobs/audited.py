"""Small stores for the tests of `offleash audit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offleash.core import Problem
from offleash.store import SampleRow, Store, VerdictRow

Json = dict[str, Any]


@dataclass(frozen=True)
class S:
    """One sample and its verdict; entropies are per token, so their number is the length."""

    text: str
    correct: bool | None = False
    answer: str = ""
    format: str = "number"
    entropies: tuple[float, ...] = (0.5, 0.5)
    finish: str = "stop"

    @property
    def logprobs(self) -> tuple[float, ...]:
        return tuple(-2 * e for e in self.entropies)


# p0: 2 of 4 right, guessable; p1: 1 of 4 right, hard to guess.
BASE = [
    [
        S("1+2", True, "3", entropies=(0.25, 0.75)),
        S("1+2", True, "3"),
        S(" 1+2", False, "3"),
        S("x", False, "", "none", (1.0, 1.0, 1.0, 1.0)),
    ],
    [
        S("2+3", True, "5"),
        S("3+2", False, "5"),
        S("def solve(x):", False, "6", "code"),
        S("1+1+5+", False, "7", "number", (2.0,) * 6, "length"),
    ],
]
# The same, but always one text and one answer.
FLAT = [[S("1+2", True, "3", entropies=(2.0, 2.0, 2.0))] * 4, [S("1+2", False, "3", entropies=(1.0, 1.0, 1.0))] * 4]
GUESS = (0.25, 0.001)


def problem(i: int) -> Problem:
    return Problem("toy", "1", f"problem {i}", str(i), level=1, meta={"operations": 2} if i == 0 else {})


def write(
    store: Store,
    label: str,
    samples: list[list[S]],
    *,
    version: str | None = "v1",
    first: int = 0,
    order: Callable[[int], np.ndarray] = np.arange,
) -> Store:
    """Add one model's samples, the first of each problem at index `first`, in any order; judged unless `version` is None."""
    chosen = [problem(i) for i in range(len(samples))]
    guess = [GUESS[i] if i < len(GUESS) else 0.01 for i in range(len(chosen))]
    with store.writer() as writer:
        writer.add_model({"id": label * 8, "label": label})
        sampler = writer.add_sampler({"temperature": 1.0})
        known = {stored.problem.id for stored in store.problems()}
        fresh = [i for i, p in enumerate(chosen) if p.id not in known]
        writer.add_problems([chosen[i] for i in fresh], [guess[i] for i in fresh])
        keys = [
            (label * 8, p.id, first + j, 0, sampler)
            for p, own in zip(chosen, samples, strict=True)
            for j in range(len(own))
        ]
        flat = [sample for own in samples for sample in own]
        mixed = [(keys[i], flat[i]) for i in order(len(flat))]
        rows = [
            SampleRow(*k, s.text, tuple(range(len(s.entropies))), s.logprobs, s.entropies, s.finish) for k, s in mixed
        ]
        writer.add_samples(rows)
        if version is not None:
            writer.add_verdicts(
                [VerdictRow(*k, version, s.correct, float(s.correct or 0), s.answer, s.format, "") for k, s in mixed]
            )
    return store


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def at(i: int, index: int, **more: Any) -> Json:
    return {"problem": problem(i).id, "index": index, **more}


def side(store: Store, label: str = "a") -> str:
    return f"{store.path}#{label}"
