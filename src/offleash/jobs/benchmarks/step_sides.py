"""Two trainers taking turns: each runs its own loop, whole, in a thread that waits between two of its steps."""

from __future__ import annotations

import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from offleash.engines import Request
from offleash.engines.native import NativeEngine
from offleash.store import RunFolder
from offleash.training import Hooks, TrainSettings, train


@dataclass(frozen=True)
class Told:
    """What a trainer says of a step it has done."""

    step: int
    """Optimizer steps so far."""
    tokens: int
    """Completion tokens it sampled, end tokens included, padding not."""
    completions: int
    rollout_s: float
    """Sampling and verifying."""
    reward: float
    model: Any
    tokenizer: Any = None


class Step(NamedTuple):
    """One optimizer step with its rollout; seconds of the wall and of the processor (all threads)."""

    seconds: float
    cpu: float
    told: Told


Pause = Callable[[Told], None]
Work = Callable[[Pause], None]


class _Stopped(BaseException):
    """Ends a trainer's loop from between two steps."""


class Side:
    """A trainer's loop that goes on for a step whenever it is told to.

    Args:
        work: runs the whole loop and calls what it is given at the end of each step.
        threads: torch's threads while it works.
    """

    def __init__(self, work: Work, threads: int) -> None:
        self._work, self._threads = work, threads
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._told: Told | None = None
        self._error: BaseException | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def step(self) -> Step:
        """One step, timed; the first one includes what the loop does before it."""
        start, cpu = time.perf_counter(), time.process_time()
        self._go.release()
        self._done.acquire()
        end, busy = time.perf_counter(), time.process_time()
        if self._error is not None:
            raise self._error
        if self._told is None:
            raise RuntimeError("the loop ended without another step")
        told, self._told = self._told, None
        return Step(end - start, busy - cpu, told)

    def close(self) -> None:
        """End the loop and forget the trainer."""
        self._stop = True
        self._go.release()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._wait()
            self._work(self._pause)
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error
        self._done.release()

    def _pause(self, told: Told) -> None:
        self._told = told
        self._done.release()
        self._wait()

    def _wait(self) -> None:
        self._go.acquire()
        if self._stop:
            raise _Stopped
        torch.set_num_threads(self._threads)  # a number of each thread's own, but MKL's is everybody's


def ours(settings: TrainSettings, lengths: Sequence[int] | None = None) -> Work:
    """`offleash.training.train`, logs and all; with imposed lengths, tokens of each completion of a step."""

    def work(pause: Pause) -> None:
        count = settings.rollout.num_prompts * settings.rollout.num_generations
        held: dict[str, Any] = {}

        def probe(step: int, model: Any, tokenizer: Any) -> dict[str, Any]:
            held.update(model=model, tokenizer=tokenizer)  # at step 0: the only look at the model that hooks are given
            return {}

        def on_step(step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
            tokens, seconds = int(timings["tokens"]), timings["rollout_s"]
            pause(Told(step, tokens, count, seconds, metrics["reward"], held["model"], held["tokenizer"]))

        with tempfile.TemporaryDirectory() as folder, _imposed(lengths):
            run = RunFolder.create(Path(folder) / "run", "", {"kind": "bench"})
            looking = replace(settings, probe=replace(settings.probe, every=settings.steps))
            train(looking, run, hooks=Hooks(on_step, probe))

    return work


@contextmanager
def _imposed(lengths: Sequence[int] | None) -> Iterator[None]:
    """While it lasts, native engines draw these lengths."""
    own = NativeEngine.generate

    def generate(engine: NativeEngine, requests: Sequence[Request], told: Any = None, given: Any = None) -> Any:
        return own(engine, requests, told, lengths or given)

    NativeEngine.generate = generate  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        NativeEngine.generate = own  # type: ignore[method-assign]


def resident_mib() -> float:
    """Of this process, now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def peak_mib() -> float:
    """The highest resident size of this process so far; getrusage would count what its parent had when it was started."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 2**10
