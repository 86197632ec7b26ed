"""A toy task, a deterministic fake engine, and a process that fills stores on request so that a test can kill it.

Run as a script it reads one JSON request a line, forks a child that fills, and says the child's pid; after a further line it
waits for the child and says how it ended (until then the pid is the child's, dead or alive). A child that has filled the store
STORE makes the file STORE.done. The fork costs milliseconds where a new interpreter costs a second, and it is a real process all the same.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb  # noqa: F401  loaded here once, so that children have it
import numpy as np
import pyarrow.parquet  # noqa: F401

from offleash.core import Completion, Problem, Verdict, rng
from offleash.engines.base import Request
from offleash.sampling.fill import Filled, fill
from offleash.store import open_or_create

MODEL = {"id": "m" * 64, "label": "base", "path": "models/base"}


class Toy:
    """A text is a number; right where it is divisible by 3, undecided where it ends in 7."""

    name = "toy"
    version = "1"
    levels = (1, 2)

    def __init__(self, verifier_version: str = "toy-1") -> None:
        self.verifier_version = verifier_version
        self.verified = 0
        self.guessed: list[str] = []

    def generate(self, key: tuple[str | int, ...], level: int, split: str) -> Problem:
        return Problem(self.name, self.version, "n? " + " ".join(map(str, key)), str(level), level, split, {"key": key})

    def verify(self, problem: Problem, text: str) -> Verdict:
        self.verified += 1
        correct = None if text.endswith("7") else int(text) % 3 == 0
        return Verdict(correct, float(correct or 0), text, "number", "", self.verifier_version)

    def gold(self, problem: Problem, key: tuple[str | int, ...] = ()) -> str:
        return "3"

    def guess(self, problem: Problem) -> float:
        self.guessed.append(problem.id)
        return 1 / 3

    def traces(self, key: tuple[str | int, ...], level: int, split: str, count: int) -> list[tuple[str, str]]:
        return [("n?", "3")] * count


class Fake:
    """Draws a number from the request's key alone; `pause` makes each call take that long."""

    def __init__(self, pause: float = 0.0, **settings: Any) -> None:
        self.pause = pause
        self.asked: list[tuple[str, int]] = []
        self.calls: list[int] = []
        self._settings = {"engine": "fake", "temperature": 1.0, **settings}

    def settings(self) -> dict[str, Any]:
        return self._settings

    def generate(
        self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None
    ) -> list[Completion]:
        time.sleep(self.pause)
        self.asked += [(r.problem_id, r.index) for r in requests]
        self.calls.append(len(requests))
        completions = [self._complete(request) for request in requests]
        if on_finished:
            on_finished(len(requests))
        return completions

    def _complete(self, request: Request) -> Completion:
        uniform = rng.uniforms([request.key], 0, 4)[0]
        ids = tuple(int(u * 10) for u in uniform)
        logprobs = tuple(float(x) for x in np.log(uniform + 1e-9).astype(np.float32))
        return Completion(
            request.problem_id, request.index, "".join(map(str, ids)), ids, logprobs, (0.5,) * len(ids), "stop"
        )


def problems(count: int, level: int = 1) -> list[Problem]:
    return [Toy().generate((i,), level, "test") for i in range(count)]


def run(path: str | Path, *, count: int = 6, n: int = 8, batch: int = 16, pause: float = 0.0, **more: Any) -> Filled:
    """Fill the store at `path` with n samples of the first `count` problems."""
    engine, task = more.pop("engine", None) or Fake(pause), more.pop("task", None) or Toy()
    options = {"model": MODEL, "seed": 0, "settings": engine.settings(), **more}
    return fill(open_or_create(path), engine, task, problems(count), n=n, batch=batch, **options)


def slow_disk() -> None:
    """Make this process write slowly in small pieces, so that a kill at a random moment mostly lands inside a write."""
    real = os.write

    def write(handle: int, data: bytes) -> int:
        time.sleep(0.0003)
        return real(handle, bytes(data)[:256])

    os.write = write


def serve(requests: Iterator[str]) -> None:
    for line in requests:
        child = os.fork()
        if child == 0:
            slow_disk()
            try:
                request = json.loads(line)
                run(**request)
                Path(f"{request['path']}.done").touch()
            except KeyboardInterrupt:
                os._exit(130)
            os._exit(0)
        print(child, flush=True)
        next(requests)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve(iter(sys.stdin.readline, ""))
