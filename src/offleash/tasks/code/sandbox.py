"""Judge candidate programs against tests in disposable Linux namespaces.

**What the isolation covers.** Each verdict gets new user, process, mount, network, IPC and host-name namespaces, entered by the
kernel's own calls, and is refused where they are not allowed; nothing is run with less.

- *Files*: the program sees Python's standard library and the shared libraries, read-only, three devices and an empty folder
  of `scratch_bytes` that vanishes with it. Site-packages, home folders, the tests, shells and the interpreter's executable are not there.
- *Network*: none, not even loopback to this machine.
- *Processes*: it sees and signals its own only, of which it may have `processes`, threads included. Whatever it forks, detaches or
  daemonises is gone before the verdict is returned.
- *Resources*: `cpu_seconds` and `memory_bytes` of each process, `file_bytes` of each file and of standard output, `wall_seconds` in all.
- *Privileges*: an unprivileged user (nobody where offleash runs as root), no capabilities, none to be gained. The environment is empty.
- *The verdict*: tests and expected results are read by a judge outside the candidate's process namespace, after it was forked. The
  candidate sends returned values or prints; they arrive as plain builtins and are compared there. There is nothing to forge, patch or read.

**What it does not.** It is as strong as the Linux kernel: there is no system-call filter and no virtual machine. Memory is
bounded for each process, not for their sum (the worst case is about `processes` x (`memory_bytes` + 32 x `file_bytes`) for each verdict at
once), System V shared memory not at all before the wall-clock limit; use a control group around the whole run where that matters.
Time and load are visible, and a program whose behaviour depends on them has no fixed verdict. Programs run with the standard library only.
"""

from __future__ import annotations

import atexit
import glob
import json
import os
import queue
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from offleash.core import InputError
from offleash.tasks.code.inside import wire

_INSIDE = Path(__file__).parent / "inside"
_GRACE = 10.0
"""Seconds past the wall-clock limit after which the judge itself is taken for stuck."""
MEND = (
    "code tasks need Linux with unprivileged user namespaces: set kernel.unprivileged_userns_clone=1 "
    "(and kernel.apparmor_restrict_unprivileged_userns=0), or start the container with --security-opt seccomp=unconfined"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one candidate may use. A program that needs more has failed: the limits are part of the task."""

    cpu_seconds: int = 4
    """Processor time of each process; of each test where tests are standard input and output."""
    wall_seconds: float = 12.0
    """From the start of the program to its verdict, all tests together."""
    memory_bytes: int = 512 << 20
    """Address space of each process."""
    processes: int = 8
    """Processes and threads at a time."""
    file_bytes: int = 1 << 20
    """Size of each file, and of standard output."""
    scratch_bytes: int = 16 << 20
    """Size of its folder."""

    def __post_init__(self) -> None:
        for name in ("cpu_seconds", "wall_seconds", "processes", "file_bytes", "scratch_bytes"):
            if getattr(self, name) <= 0:
                raise InputError(f"limits.{name}: is {getattr(self, name)}; give a number above 0")
        if self.memory_bytes < 64 << 20:
            raise InputError(f"limits.memory_bytes: is {self.memory_bytes}; an interpreter needs at least {64 << 20}")


class Outcome(NamedTuple):
    """Whether a program passed, or None where that could not be found out; and why not."""

    correct: bool | None
    reason: str


class Sandbox:
    """A pool of at most `workers` judging interpreters, started as needed; safe to use from several threads.

    Args:
        limits: what a candidate may use.
        workers: programs judged at a time.
    """

    def __init__(self, limits: Limits | None = None, workers: int = 1) -> None:
        if workers < 1:
            raise InputError(f"workers: is {workers}; give at least 1")
        self.limits, self.workers = limits or Limits(), workers
        self._idle: queue.LifoQueue[_Judge] = queue.LifoQueue()
        self._places = threading.BoundedSemaphore(workers)
        self._owner = os.getpid()

    def judge(self, program: str, tests: Mapping[str, Any]) -> Outcome:
        """Run a program against tests; never raises on any program.

        Args:
            program: Python source.
            tests: one of
                {"form": "code", "setup", "test": source, "names": functions of the program that the test calls},
                {"form": "calls", "name": function, "tests": [{"args", "kwargs", "expected"}], "tolerance": relative, 0 exact},
                {"form": "stdio", "tests": [{"input", "output"}]}.
        """
        scripts = tests["form"] == "stdio"
        header = {"program": program, "mode": "scripts" if scripts else "functions"} | self._settings()
        with self._judge() as judge:
            return judge.ask(json.dumps(header).encode(), json.dumps(tests).encode(), self.limits.wall_seconds + _GRACE)

    def judge_all(self, jobs: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Outcome]:
        """`judge` for many (program, tests), `workers` at a time; outcomes in the order given."""
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(lambda job: self.judge(*job), jobs))

    def _settings(self) -> dict[str, Any]:
        lim = self.limits
        # The judge and process 1 belong to the same user as the candidate.
        used = {"cpu_seconds": lim.cpu_seconds, "memory_bytes": lim.memory_bytes, "processes": lim.processes + 2}
        used |= {"file_bytes": lim.file_bytes, "open_files": 32}
        folders, hidden = visible()
        place = {"folders": folders, "hidden": hidden, "scratch_bytes": lim.scratch_bytes}
        return {"limits": used, "place": place, "wall_seconds": lim.wall_seconds}

    @contextmanager
    def _judge(self) -> Iterator[_Judge]:
        if self._owner != os.getpid():  # a forked child must not talk into its parent's pipes
            self.__init__(self.limits, self.workers)  # type: ignore[misc]
        with self._places:
            try:
                judge = self._idle.get_nowait()
            except queue.Empty:
                judge = _Judge()
            try:
                yield judge
            except BaseException:
                judge.close()  # in the middle of a job
                raise
            if judge.alive:
                self._idle.put(judge)

    def close(self) -> None:
        """End the idle interpreters."""
        while not self._idle.empty():
            self._idle.get_nowait().close()


class _Judge:
    """One judging interpreter and the empty folder that its children mount their file systems on."""

    def __init__(self) -> None:
        self.alive = True
        self.folder = tempfile.mkdtemp(prefix="offleash-")
        os.chmod(self.folder, 0o755)
        # As -I, but with a fixed hash seed: the order of a set of strings must not differ between two verdicts.
        command = [os.path.realpath(sys.executable), "-P", "-s", "-S", "-B", str(_INSIDE)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
            cwd=self.folder,
            start_new_session=True,
        )
        atexit.register(self.close)

    def ask(self, header: bytes, tests: bytes, timeout: float) -> Outcome:
        job = json.loads(header)
        job["place"]["root"] = self.folder
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            for frame in (json.dumps(job).encode(), tests):
                wire.send(self.process.stdin.fileno(), frame)
            answer = self._answer(self.process.stdout.fileno(), timeout)
        except (OSError, wire.WireError) as error:
            self.close()
            return Outcome(None, f"the judge ended: {error}")
        if answer is None:
            self.close()
            return Outcome(None, f"the judge gave no verdict within {timeout:g} s, or ended")
        if self.process.poll() is not None:
            self.close()
        verdict = json.loads(answer)
        return Outcome(verdict["correct"], verdict["reason"])

    def _answer(self, fd: int, timeout: float) -> bytes | None:
        end = time.monotonic() + timeout
        if not select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]:
            return None
        return wire.receive(fd)

    def close(self) -> None:
        """End the interpreter and whatever runs below it."""
        self.alive = False
        atexit.unregister(self.close)
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def visible() -> tuple[list[str], list[str]]:
    """The folders a candidate sees, and those below them that are hidden from it: libraries, without third-party packages."""
    stdlib = os.path.realpath(sysconfig.get_path("stdlib"))
    shared = [path for path in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib") if os.path.isdir(path)]
    own = os.path.join(os.path.realpath(sys.base_prefix), "lib")
    folders = list(dict.fromkeys([*shared, *([own] if os.path.isdir(own) else []), stdlib]))
    inside = [
        a for a in folders if not any(a != b and a.startswith(b + "/") and not os.path.islink(b) for b in folders)
    ]
    hidden: set[str] = set()
    for folder in inside:
        if not os.path.islink(folder):
            for name in ("site-packages", "dist-packages"):
                hidden |= {*glob.glob(f"{folder}/{name}"), *glob.glob(f"{folder}/python3*/{name}")}
    return inside, sorted(path for path in hidden if os.path.isdir(path) and not os.path.islink(path))


@cache
def unavailable() -> str:
    """Why candidates cannot be isolated on this machine; "" where they can. Tried once."""
    if sys.platform != "linux":
        return MEND
    sandbox = Sandbox()
    try:
        outcome = sandbox.judge("def f():\n    return 1", {"form": "calls", "name": "f", "tests": [{"expected": 1}]})
    except OSError as error:
        outcome = Outcome(None, str(error))
    finally:
        sandbox.close()
    return "" if outcome.correct else f"{outcome.reason}; {MEND}"


def require() -> None:
    """Raise an InputError that says how to mend it, where candidates cannot be isolated."""
    if reason := unavailable():
        raise InputError(f"code: {reason}")
