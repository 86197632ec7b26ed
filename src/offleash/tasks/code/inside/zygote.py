"""A process that forks a judge for every job: an interpreter is started once, not for each verdict."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import traceback

from offleash.tasks.code.inside import judge, wire

_ANSWERS = 3


def serve() -> None:
    """Answer jobs on standard input until it is closed. This process reads none of them: only its children do."""
    os.dup2(1, _ANSWERS, inheritable=False)
    empty = os.open("/dev/null", os.O_RDWR)
    os.dup2(empty, 1)
    os.dup2(empty, 2)
    while True:
        select.select([0], [], [])
        try:
            child = os.fork()
        except OSError as error:
            _undecided(f"no process for a judge: {error}")
            return
        if child == 0:
            _child()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code in (judge.CLOSED, judge.REPORTED):
            return
        if code == -signal.SIGXCPU:
            wire.send(_ANSWERS, json.dumps({"correct": False, "reason": "its answers took too long to judge"}).encode())
            return
        if code:
            # What it has read of its job is unknown: the next job may begin anywhere.
            _undecided(f"the judge ended with {code}")
            return


def _child() -> None:
    try:
        judge.run_job(0, _ANSWERS)
    except BaseException:  # noqa: BLE001 - any fault of ours is a verdict that says nothing of the candidate
        with contextlib.suppress(OSError):
            _undecided(traceback.format_exc(limit=-1)[-300:])
    finally:
        os._exit(judge.REPORTED)


def _undecided(reason: str) -> None:
    wire.send(_ANSWERS, json.dumps({"correct": None, "reason": reason}).encode())
