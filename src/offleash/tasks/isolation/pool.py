"""A pool of worker processes that outlives its workers.

A worker is an interpreter of its own (`worker.py`), not a fork: the caller may hold an accelerator, threads and gigabytes. They
speak JSON lines, never pickles: what a process that read hostile text sends is data. Workers start when first needed, stay,
and end with the pipe that feeds them.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from offleash.core import OffleashError

Kind = Literal["timeout", "memory", "crash", "error"]
LOAD_SECONDS = 300.0
"""To import a verifier: sympy takes one second, torch on a cold disk a hundred."""
MAX_REPLY = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take."""

    seconds: float = 5.0
    """Of processor time, which does not depend on what else the machine does."""
    wall_seconds: float = 30.0
    """For what waits instead of working."""
    megabytes: int = 1024
    """Of address space beyond what the worker has mapped once the function is imported."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call has no value."""

    kind: Kind
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


class _Dead(Exception):
    """The worker ended, or did not answer in time."""

    def __init__(self, kind: Kind, reason: str) -> None:
        self.failure = Failure(kind, reason)


class _Worker:
    """One process and its pipes."""

    def __init__(self) -> None:
        # The same order of sets in every worker: what a verifier says must not depend on the hash seed of its process.
        environment = {
            **os.environ,
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path),
        }
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "offleash.tasks.isolation.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
            start_new_session=True,  # Ctrl-C is the caller's to handle
        )  # fmt: skip
        self.loaded: set[str] = set()
        self.megabytes = 0

    def call(self, function: str, arguments: Sequence[Any], limits: Limits, imports: Sequence[str]) -> Any | Failure:
        new = [name for name in (*imports, function) if name not in self.loaded]
        for name in new or ([] if self.megabytes == limits.megabytes else [function]):
            reply = self._ask({"load": name, "megabytes": limits.megabytes}, LOAD_SECONDS)
            if "failed" in reply:
                raise OffleashError(reply["reason"])
            self.loaded.add(name)
            self.megabytes = limits.megabytes
        request = {
            "call": function, "arguments": list(arguments), "seconds": limits.seconds, "wall_seconds": limits.wall_seconds,
        }  # fmt: skip
        reply = self._ask(request, limits.wall_seconds + 5.0)
        return Failure(reply["failed"], reply["reason"]) if "failed" in reply else reply["value"]

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise _Dead("crash", self._why()) from None
        return json.loads(self._line(time.monotonic() + seconds))

    def _line(self, deadline: float) -> bytes:
        assert self.process.stdout is not None
        pipe, found = self.process.stdout.fileno(), bytearray()
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN | select.POLLHUP)
        while not found.endswith(b"\n"):
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise _Dead("timeout", "no answer within the wall time")
            piece = os.read(pipe, 65536)
            found += piece
            if not piece:
                timed_out = self.process.wait() in (-signal.SIGPROF, -signal.SIGALRM)
                raise _Dead("timeout" if timed_out else "crash", "" if timed_out else self._why())
            if len(found) > MAX_REPLY:
                raise _Dead("error", f"an answer of more than {MAX_REPLY} bytes")
        return bytes(found)

    def _why(self) -> str:
        code = self.process.wait()
        return f"the worker died of {signal.Signals(-code).name}" if code < 0 else f"the worker ended with code {code}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                if pipe:
                    pipe.close()
            except OSError:
                pass  # what was not yet written to a dead worker


class Pool:
    """Up to `workers` processes; calls from any number of threads."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._owner = os.getpid()
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(workers)

    def call(
        self, function: str, arguments: Sequence[Any], limits: Limits = Limits(), imports: Sequence[str] = ()
    ) -> Any | Failure:
        """The function's value, or why there is none.

        Args:
            function: `module:name` or `file.py:name`, imported once in each worker.
            arguments: what JSON holds.
            limits: of this call.
            imports: what the function itself imports by such names; imported before the limits hold.

        Raises:
            OffleashError: the function cannot be imported.
        """
        with self._free:
            worker = self._take()
            try:
                value = worker.call(function, arguments, limits, imports)
            except _Dead as dead:
                worker.end()
                return dead.failure
            except BaseException:
                worker.end()  # interrupted in the middle of an answer: what it sends next is not the next call's
                raise
            if isinstance(value, Failure) and value.kind == "memory":
                worker.end()
            else:
                with self._lock:
                    self._idle.append(worker)
            return value

    def map(self, function: str, calls: Sequence[Sequence[Any]], limits: Limits = Limits()) -> list[Any | Failure]:
        """The values of many calls, in order, over all workers."""
        if len(calls) < 2 or self.workers == 1:
            return [self.call(function, arguments, limits) for arguments in calls]
        threads = ThreadPoolExecutor(min(self.workers, len(calls)))
        try:
            return list(threads.map(lambda arguments: self.call(function, arguments, limits), calls))
        finally:
            threads.shutdown(cancel_futures=True)  # an interrupt waits for the calls that run, not for all

    def _take(self) -> _Worker:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.process.poll() is None:
                    return worker
                worker.end()  # died while it was idle: of no call's doing
        return _Worker()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the idle workers; a later call starts new ones. Nothing in a forked child: they are its parent's."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            while self._idle:
                self._idle.pop().end()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_POOLS: dict[int, Pool] = {}


def shared() -> Pool:
    """This process's pool, one worker a processor. After a fork the child gets its own: two must not talk on one pipe."""
    if os.getpid() not in _POOLS:
        _POOLS[os.getpid()] = pool = Pool(_processors())
        atexit.register(pool.close)
    return _POOLS[os.getpid()]
