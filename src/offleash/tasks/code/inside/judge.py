"""The judge of one job: it alone reads the tests, and it alone can write the verdict. The candidate cannot see or signal it."""

from __future__ import annotations

import builtins
import contextlib
import json
import math
import os
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from offleash.tasks.code.inside import host, isolate, wire

CLOSED, REPORTED = 3, 4
"""Exit codes: there is no job left; the verdict that is written says what went wrong."""
_GRACE_CPU = 2
"""Seconds of processor time that the judge itself may use beyond the wall-clock limit."""


class Wrong(BaseException):
    """The candidate has failed; the message says why. No `except Exception` of a test catches it."""


class Unfit(BaseException):
    """The tests cannot be run this way: no verdict about the candidate."""


def run_job(jobs: int, answers: int) -> NoReturn:
    """Read one job (a header, then the tests), judge it, write one verdict, end."""
    header = wire.receive(jobs, limit=1 << 30)
    if header is None:
        os._exit(CLOSED)
    job = json.loads(header)
    try:
        init, inbox, outbox = _start_candidate(job)
    except (OSError, isolate.IsolationError) as error:
        wire.receive(jobs, limit=1 << 30)
        wire.send(answers, json.dumps({"correct": None, "reason": f"no isolation: {error}"}).encode())
        os._exit(0)
    # From here on the candidate exists; what is read now is in this process alone.
    tests = json.loads(wire.receive(jobs, limit=1 << 30) or b"{}")
    os.close(jobs)
    wall = float(job["wall_seconds"])

    def finish(correct: bool | None, reason: str) -> NoReturn:
        signal.setitimer(signal.ITIMER_REAL, 0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(init, signal.SIGKILL)
        os.waitpid(init, 0)  # returns once no process of its namespace is left
        wire.send(answers, json.dumps({"correct": correct, "reason": reason[:400]}).encode())
        os._exit(0)

    signal.signal(signal.SIGALRM, lambda *_: finish(False, f"did not finish within {wall:g} s"))
    signal.setitimer(signal.ITIMER_REAL, wall)
    finish(*_judged(tests, Candidate(inbox, outbox, job["limits"])))


def _start_candidate(job: Mapping[str, Any]) -> tuple[int, int, int]:
    zygote = os.getppid()
    isolate.enter(**job["place"])
    isolate.protect(zygote)
    their_inbox, inbox = os.pipe()
    outbox, their_outbox = os.pipe()
    init = os.fork()
    if init == 0:
        try:
            isolate.protect(0)
            host.serve(job["program"], job["mode"], job["limits"], their_inbox, their_outbox)
        finally:
            os._exit(1)
    os.close(their_inbox)
    os.close(their_outbox)
    # Answers may be large and tests may loop over them.
    seconds = int(job["wall_seconds"]) + _GRACE_CPU
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    isolate_memory = 2 * job["limits"]["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (isolate_memory, isolate_memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return init, inbox, outbox


def _judged(tests: Mapping[str, Any], candidate: Candidate) -> tuple[bool | None, str]:
    try:
        FORMS[tests["form"]](tests, candidate)
        if candidate.gone:  # and a test has caught it
            raise Wrong(candidate.gone)
    except Unfit as error:
        return None, str(error)
    except Wrong as error:
        return False, str(error)
    except wire.WireError as error:
        return False, f"gave {error}"
    except BrokenPipeError:
        return False, "stopped before it had answered"
    except (MemoryError, RecursionError):
        return False, "its answer took too much memory to judge"
    return True, ""


class Candidate:
    """The judge's end of the two pipes."""

    def __init__(self, inbox: int, outbox: int, limits: Mapping[str, int]) -> None:
        self._inbox, self._outbox, self._limits = inbox, outbox, limits
        self.gone = ""
        """Why it will answer no more calls."""

    def receive(self) -> tuple[bytes, bytes]:
        """The next frame as (kind, body)."""
        frame = wire.receive(self._outbox, self._limits["file_bytes"] + wire.MAX_FRAME)
        if not frame:
            raise self._wrong("stopped before it had answered")
        return frame[:1], frame[1:]

    def load(self) -> None:
        """Wait until the program has defined its functions."""
        kind, body = self.receive()
        if kind == host.ERROR:
            name, text = _error(body)
            raise Wrong(f"does not load: {name}: {text}")
        if kind != host.READY:
            raise Wrong(self._ended(kind, body))

    def call(self, name: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """What the candidate's function returns, as plain builtins; raises what it raises, as a builtin exception."""
        try:
            request = wire.pack((name, list(arguments), dict(named)))
        except wire.WireError as error:
            raise Unfit(f"a test calls {name} with {error}") from None
        if self.gone:
            raise Wrong(self.gone)
        wire.send(self._inbox, request)
        kind, body = self.receive()
        if kind == host.VALUE:
            return wire.unpack(body)
        if kind == host.MISSING:
            raise self._wrong(f"the program defines no function `{name}`")
        if kind != host.ERROR:
            raise self._wrong(self._ended(kind, body))
        kind_of_error, text = _error(body)
        found = getattr(builtins, kind_of_error, None)
        if isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, UnicodeError):
            raise found(text)
        raise RuntimeError(f"{kind_of_error}: {text}")

    def run(self, given: str) -> str:
        """What the program prints to standard output for this standard input."""
        wire.send(self._inbox, given.encode())
        kind, body = self.receive()
        ended = self._ended(kind, body)
        if ended:
            raise Wrong(ended)
        return self.receive()[1].decode(errors="replace")

    def _wrong(self, reason: str) -> Wrong:
        self.gone = self.gone or reason or "stopped before it had answered"
        return Wrong(self.gone)

    def _ended(self, kind: bytes, body: bytes) -> str:
        """Why the process is gone; "" where a script ended well."""
        try:
            end: Any = json.loads(body) if kind == host.EXIT else None
            code, number, cpu = int(end["code"]), int(end["signal"]), float(end["cpu"])
            full, said = end.get("full", False), str(end.get("stderr", ""))[:300]
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return "stopped before it had answered"
        if full:
            return f"printed more than {self._limits['file_bytes']} bytes"
        if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu > 0.9 * self._limits["cpu_seconds"]):
            return f"used more than {self._limits['cpu_seconds']} s of processor time"
        if number:
            return f"crashed (signal {number})"
        if code or "full" not in end:
            return f"ended with exit code {code}" + (f" ({said})" if said else "")
        return ""


def _error(body: bytes) -> tuple[str, str]:
    try:
        name, text = json.loads(body)
        return str(name)[:60], str(text)[:300]
    except (ValueError, TypeError, RecursionError):
        return "Exception", ""


def _code(tests: Mapping[str, Any], candidate: Candidate) -> None:
    """Tests that are statements: `setup`, then `test` with the candidate's functions under their `names`."""
    candidate.load()
    calls: dict[str, Callable[..., Any]] = {}
    for name in tests["names"]:
        calls[name] = lambda *args, _name=name, **named: candidate.call(_name, args, named)
    space: dict[str, Any] = {"__name__": "tests"}
    try:
        exec(compile(tests["setup"], "setup", "exec"), space)
        space.update(calls)
        exec(compile(tests["test"], "test", "exec"), space)
    except (Wrong, Unfit, wire.WireError, BrokenPipeError, MemoryError):
        raise
    except AssertionError as error:
        raise Wrong(f"fails a test{': ' if str(error) else ''}{str(error)[:200]}") from None
    except BaseException as error:  # noqa: BLE001 - a failed test, however it fails
        raise Wrong(f"{type(error).__name__}: {str(error)[:200]}") from None


def _calls(tests: Mapping[str, Any], candidate: Candidate) -> None:
    """Tests that are arguments and results: `name`, and a list of {args, kwargs, expected}."""
    candidate.load()
    for i, test in enumerate(tests["tests"], 1):
        try:
            got = candidate.call(tests["name"], test.get("args", []), test.get("kwargs", {}))
        except (Wrong, Unfit, wire.WireError):
            raise
        except Exception as error:  # noqa: BLE001 - raised by the candidate
            raise Wrong(f"test {i} raises {type(error).__name__}: {str(error)[:200]}") from None
        if not same(got, test["expected"], tests.get("tolerance", 0.0)):
            raise Wrong(f"fails test {i}")


def same(got: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Whether a result is the expected one, which JSON wrote: a tuple counts as a list, True is not 1, 2 equals 2.0.

    >>> same((1, [2.0]), [1, [2]]), same(True, 1), same(0.1 + 0.2, 0.3), same(0.1 + 0.2, 0.3, 1e-9)
    (True, False, False, True)
    """
    if isinstance(expected, list):
        return isinstance(got, list | tuple) and len(got) == len(expected) and all(map(same, got, expected, [tolerance] * len(got)))  # fmt: skip
    if isinstance(expected, dict):
        return isinstance(got, dict) and got.keys() == expected.keys() and all(same(got[k], expected[k], tolerance) for k in got)  # fmt: skip
    if isinstance(expected, bool) or isinstance(got, bool) or not isinstance(expected, int | float):
        return type(got) is type(expected) and bool(got == expected)
    if not isinstance(got, int | float):
        return False
    return got == expected or (tolerance > 0 and math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance))


def _stdio(tests: Mapping[str, Any], candidate: Candidate) -> None:
    """Tests that are standard input and output: a list of {input, output}; blanks at the ends of lines do not count."""
    for i, test in enumerate(tests["tests"], 1):
        if lines(candidate.run(test["input"])) != lines(test["output"]):
            raise Wrong(f"fails test {i}")


def lines(text: str) -> list[str]:
    r"""The lines without blanks at their ends, and without empty lines at the end.

    >>> lines("a \nb\n\n")
    ['a', 'b']
    """
    return [line.rstrip() for line in text.rstrip().split("\n")]


FORMS: dict[str, Callable[[Mapping[str, Any], Candidate], None]] = {"code": _code, "calls": _calls, "stdio": _stdio}
