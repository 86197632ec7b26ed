"""The process that runs calls: reads a JSON line, calls, writes a JSON line, until its input ends.

It limits itself before each call, with timers whose default action is death by the kernel, so that no handler, thread or C
code can outlive them. The pool that started it watches the wall clock besides.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from offleash.core import InputError
from offleash.tasks import loading


def main() -> None:
    """Serve calls on standard input; whatever the called function prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    functions: dict[str, Callable[..., Any]] = {}
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            if "load" in request:
                reply = _load(functions, request["load"])
                _limit_memory(request["megabytes"])
            else:
                reply = _call(
                    functions[request["call"]], request["arguments"], request["seconds"], request["wall_seconds"]
                )
        except MemoryError:
            reply = {"failed": "memory", "reason": "out of memory"}
        answers.write(json.dumps(reply).encode() + b"\n")
        answers.flush()


def _load(functions: dict[str, Callable[..., Any]], name: str) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        functions[name] = loading.load(name, "verifier")
    except InputError as error:
        return {"failed": "load", "reason": str(error)}
    return {"value": None}


def _limit_memory(megabytes: int) -> None:
    """What is mapped now, and so much more."""
    try:
        with open("/proc/self/statm") as statm:
            mapped = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return  # not Linux: elsewhere the limit on addresses is not kept by the kernel either
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = mapped + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _call(function: Callable[..., Any], arguments: list[Any], seconds: float, wall_seconds: float) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, wall_seconds)
    try:
        return {"value": function(*arguments)}
    except MemoryError:
        return {"failed": "memory", "reason": "out of memory"}
    except RecursionError:
        return {"failed": "error", "reason": "nested too deeply"}
    except Exception as error:  # noqa: BLE001 - whatever a verifier raises is an answer
        return {"failed": "error", "reason": f"{type(error).__name__}: {str(error)[:200]}"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
