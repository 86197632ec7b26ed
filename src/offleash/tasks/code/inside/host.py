"""Process 1 of the candidate's namespace, and the candidate below it. Neither ever holds a test's expected answer."""

from __future__ import annotations

import builtins
import json
import os
import signal
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from offleash.tasks.code.inside import isolate, wire

VALUE, ERROR, EXIT, READY, MISSING = b"v", b"e", b"x", b"r", b"m"
"""First byte of a frame to the judge: a returned value, an exception, the end of the process, the program has loaded, it has no
function of that name."""
_MODULE = "solution"


def serve(program: str, mode: str, limits: Mapping[str, int], inbox: int, outbox: int) -> None:
    """Run the program as `mode` says until its judge is gone. Never returns; the kernel then ends whatever is left."""
    os.setsid()
    _only(inbox, outbox)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # to process 1 the kernel delivers from inside only what it handles
    if mode == "functions":
        _functions(program, limits, inbox, outbox)
    else:
        _scripts(program, limits, inbox, outbox)
    os._exit(0)


def _only(*kept: int) -> None:
    """Close every file but these; standard input, output and error become empty."""
    empty = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(empty, fd)
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 4096)


def _start(limits: Mapping[str, int], run: Callable[[], None]) -> int:
    """A child that does `run` under the limits and never returns; its exit status is that of a script."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        isolate.limit(**limits)
        os.environ.clear()
        # Programs use them; `site`, which is not loaded, defines them.
        vars(builtins).update(exit=sys.exit, quit=sys.exit)
        for name in [name for name in sys.modules if name.startswith("offleash")]:
            del sys.modules[name]
        run()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:  # noqa: BLE001 - whatever the program raises ends it
        os.write(2, f"{type(error).__name__}: {error}"[:400].encode(errors="replace"))
    finally:
        try:
            sys.stdout.flush()
        except (OSError, ValueError, AttributeError):
            code = code or 1
        os._exit(code & 0xFF)


def _wait(child: int) -> dict[str, Any]:
    """How the child ended; others that have been orphaned are reaped on the way."""
    while True:
        pid, status, usage = os.wait4(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return {"code": max(code, 0), "signal": max(-code, 0), "cpu": usage.ru_utime + usage.ru_stime}


def _clear() -> None:
    """End every process of this namespace but this one."""
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.wait()
    except (ProcessLookupError, ChildProcessError):
        pass


def _functions(program: str, limits: Mapping[str, int], inbox: int, outbox: int) -> None:
    child = _start(limits, lambda: _answer_calls(program, inbox, outbox))
    os.close(inbox)
    end = _wait(child)
    _clear()
    wire.send(outbox, EXIT + json.dumps(end).encode())


def _answer_calls(program: str, inbox: int, outbox: int) -> None:
    module = types.ModuleType(_MODULE)
    sys.modules[_MODULE] = module
    try:
        exec(compile(program, _MODULE + ".py", "exec"), module.__dict__)
    except BaseException as error:  # noqa: BLE001 - whatever the program raises
        wire.send(outbox, _error(error))
        return
    wire.send(outbox, READY)
    while (request := wire.receive(inbox)) is not None:
        name, arguments, named = wire.unpack(request)
        if name not in module.__dict__:
            wire.send(outbox, MISSING)
            continue
        try:
            answer = VALUE + wire.pack(module.__dict__[name](*arguments, **named))
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are answers like any other
            answer = _error(error)
        wire.send(outbox, answer)


def _error(error: BaseException) -> bytes:
    try:
        text = str(error)[:300]
    except BaseException:  # noqa: BLE001 - a program may define it
        text = ""
    return ERROR + json.dumps([type(error).__name__[:60], text]).encode()


def _scripts(program: str, limits: Mapping[str, int], inbox: int, outbox: int) -> None:
    while (given := wire.receive(inbox)) is not None:
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        with open(files[0], "wb", closefd=False) as file:
            file.write(given)
        os.lseek(files[0], 0, os.SEEK_SET)
        child = _start(limits, lambda files=files: _script(program, files, inbox, outbox))  # type: ignore[misc]
        end = _wait(child)
        _clear()
        stdout, stderr = (os.pread(fd, limits["file_bytes"], 0) for fd in files[1:])
        for fd in files:
            os.close(fd)
        end["full"] = len(stdout) >= limits["file_bytes"]
        end["stderr"] = stderr[-300:].decode(errors="replace")
        wire.send(outbox, EXIT + json.dumps(end).encode())
        wire.send(outbox, VALUE + (b"" if end["full"] else stdout))


def _script(program: str, files: list[int], inbox: int, outbox: int) -> None:
    for fd, target in zip(files, (0, 1, 2), strict=True):
        os.dup2(fd, target)
        os.close(fd)
    os.close(inbox)
    os.close(outbox)
    for name, mode, fd in (("stdin", "r", 0), ("stdout", "w", 1), ("stderr", "w", 2)):
        setattr(sys, name, open(fd, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115 - they live as long as the program
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(program, "main.py", "exec"), module.__dict__)
