"""Limits, loads and failures of the sandbox itself."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from offleash.core import InputError
from offleash.tasks.code import Limits, Sandbox
from offleash.tasks.code import sandbox as module
from offleash.tasks.code.inside import wire

ONE = {"form": "calls", "name": "f", "tests": [{"args": [2], "expected": 3}]}
RIGHT = "def f(x): return x + 1"
STDIO = {"form": "stdio", "tests": [{"input": "2 3\n", "output": "6\n"}, {"input": "4 5", "output": "20"}]}

GREEDY = {
    # On a busy machine the wall clock comes first.
    "loops": ("def f(x):\n    while True: pass", "processor time|did not finish"),
    "loops and ignores signals": (
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "def f(x):\n    while True: pass",
        "processor time|did not finish",
    ),
    "memory": ("def f(x): return len([0] * 10**9)", "MemoryError"),
    "memory bit by bit": ("def f(x):\n    a = []\n    while True: a.append(bytearray(1 << 20))", "MemoryError"),
    "large number": ("def f(x): return 10 ** (10 ** 9)", "processor time|did not finish|MemoryError|crashed"),
    "large answer": ("def f(x): return 'a' * 10**7", "cannot be|more than"),
    "large file": ("def f(x): open('x', 'wb').write(bytes(10**7))", "OSError|large"),
    "many files": ("def f(x): return [open(str(i), 'w') for i in range(100)]", "OSError"),
    "full folder": ("def f(x):\n    for i in range(64): open(str(i), 'wb').write(bytes(10**6))", "OSError"),
    "recursion": ("def f(x): return f(x)", "RecursionError"),
    "overflown stack": ("import sys\nsys.setrecursionlimit(10**9)\ndef f(x):\n    return eval('(' * 50 + 'f(x)' + ')' * 50)", "crashed|MemoryError|RecursionError|processor time"),
    "threads": (
        "import threading, time\ndef f(x):\n    for _ in range(100): threading.Thread(target=time.sleep, args=(9,)).start()",
        "can't start new thread",
    ),
    "null bytes": ("def f(x):\0 return 3", "does not load"),
    "surrogates": ("def f(x): return '\ud800'", "."),
    "deep source": ("def f(x): return " + "(" * 5000 + "3" + ")" * 5000, "does not load|crashed"),
    "deeper source": ("x = " + "-" * 500_000 + "1", "does not load|crashed"),
    "nothing": ("", "defines no function `f`"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", GREEDY)
def test_what_takes_too_much_is_wrong_and_costs_one_verdict(sandbox: Sandbox, name: str) -> None:
    source, reason = GREEDY[name]
    outcome = sandbox.judge(source, ONE)
    assert outcome.correct is False
    assert re.search(reason, outcome.reason), outcome.reason
    assert sandbox.judge(RIGHT, ONE) == (True, "")


def test_sleeping_meets_the_wall_clock() -> None:
    sandbox = Sandbox(Limits(wall_seconds=0.5))
    began = time.monotonic()
    outcome = sandbox.judge("import time\ndef f(x): time.sleep(60)", ONE)
    assert outcome == (False, "did not finish within 0.5 s") and time.monotonic() - began < 20
    sandbox.close()


@pytest.mark.slow
def test_a_fork_bomb_meets_the_wall_clock(sandbox: Sandbox) -> None:
    own = Sandbox(Limits(cpu_seconds=1, wall_seconds=1.0))
    bomb = "import os\ndef f(x):\n    while True:\n        try: os.fork()\n        except OSError: pass"
    began = time.monotonic()
    outcome = own.judge(bomb, ONE)
    assert outcome.correct is False and time.monotonic() - began < 20
    assert own.judge(RIGHT, ONE).correct is True
    own.close()


def nested() -> set[int]:
    """Processes of this machine that live in a process namespace below this one and run a judging interpreter."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            command = (status.parent / "cmdline").read_bytes()
            line = next(x for x in status.read_text().splitlines() if x.startswith("NSpid"))
        except (OSError, StopIteration):
            continue
        if b"tasks/code/inside" in command and len(line.split()) > 2:
            found.add(int(status.parent.name))
    return found


def test_daemons_end_with_their_verdict(sandbox: Sandbox) -> None:
    program = """
import os, time
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
        os._exit(0)
    return x + 1"""
    before = nested()
    assert sandbox.judge(program, ONE).correct is True
    left = nested() - before  # tests that run beside this one may have some too, but not for 1000 s
    end = time.monotonic() + 20
    while left and time.monotonic() < end:
        time.sleep(0.1)
        left &= nested()
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "correct", "reason"),
    [
        ("a, b = map(int, input().split())\nprint(a * b)", True, ""),
        ("import sys\na, b = map(int, sys.stdin.read().split())\nsys.stdout.write(f'{a * b}  \\n\\n')", True, ""),
        ("a, b = map(int, open(0).read().split())\nprint(a * b)", True, ""),
        ("if __name__ == '__main__':\n    print(eval(input().replace(' ', '*')))\n    exit()", True, ""),
        ("print(6)", False, "fails test 2"),
        ("print(input())\ninput()", False, "exit code 1 \\(EOFError"),
        ("print('a' * 10**8)", False, "printed more than"),
        ("while True: print('a' * 1000)", False, "printed more than"),
        ("while True: pass", False, "processor time"),
        ("import os\nos.abort()", False, "crashed"),
        ("print(6", False, "SyntaxError"),
    ],
)
def test_standard_input_and_output(sandbox: Sandbox, program: str, correct: bool, reason: str) -> None:
    outcome = sandbox.judge(program, STDIO)
    assert outcome.correct is correct and re.search(reason, outcome.reason), outcome


def test_scripts_cannot_speak_to_each_other(sandbox: Sandbox) -> None:
    """What one test's run leaves behind in memory is gone; files of the folder stay for the verdict, and no longer."""
    tests = {"form": "stdio", "tests": [{"input": "1", "output": "1"}, {"input": "2", "output": "1"}]}
    assert (
        sandbox.judge("import sys\nsys.count = getattr(sys, 'count', 0) + 1\nprint(sys.count)", tests).correct is True
    )
    leave = "import os\nprint(1)\nopen(f'/tmp/{len(os.listdir())}', 'w').close()"
    assert sandbox.judge(leave, tests).correct is True
    assert sandbox.judge("import os\nprint(1 + len(os.listdir()))", tests).correct is True


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**200),
        1.5,
        float("inf"),
        "é\ud800",
        b"\0\xff",
        1j,
        [],
        [1, (2, {3}), {"a": {(1, 2): None}}],
        frozenset({1}),
    ],
)
def test_values_travel_as_they_are(value: object) -> None:
    back = wire.unpack(wire.pack(value))
    assert back == value and type(back) is type(value)


def test_subclasses_arrive_as_builtins() -> None:
    class Flat(list):
        pass

    class Number(int):
        pass

    back = wire.unpack(wire.pack([Flat([Number(3)])]))
    assert type(back[0]) is list and type(back[0][0]) is int


@pytest.mark.parametrize(
    "bad",
    [b"", b"[1]", b"{}", b'{"a": 1, "b": 2}', b'{"eval": 1}', b'{"bytes": "x"}', b"[" * 10**6, b'{"list":[' * 10**5],
)
def test_what_is_no_value_is_refused(bad: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.unpack(bad)


def test_a_dead_interpreter_is_undecided_and_replaced(sandbox: Sandbox) -> None:
    own = Sandbox(sandbox.limits)
    assert own.judge(RIGHT, ONE).correct is True
    judge = own._idle.queue[0]
    os.killpg(judge.process.pid, 9)
    judge.process.wait()
    assert own.judge(RIGHT, ONE).correct is None
    assert own.judge(RIGHT, ONE).correct is True
    own.close()


def test_where_isolation_is_refused_nothing_runs(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "visible", lambda: (["/no/such/folder"], []))
    own = Sandbox(sandbox.limits)
    outcome = own.judge(RIGHT, ONE)
    own.close()
    assert outcome.correct is None and outcome.reason.startswith("no isolation: mount")
    module.unavailable.cache_clear()
    assert "unprivileged user namespaces" in module.unavailable()
    with pytest.raises(InputError, match="code: no isolation"):
        module.require()
    module.unavailable.cache_clear()


def test_no_folder_is_left_behind(sandbox: Sandbox) -> None:
    own = Sandbox(sandbox.limits, workers=2)
    own.judge_all([(RIGHT, ONE)] * 4)
    folders = [Path(judge.folder) for judge in own._idle.queue]
    assert folders and all(list(folder.iterdir()) == [] for folder in folders)
    own.close()
    assert not any(folder.exists() for folder in folders)


def test_many_at_once_keep_their_order(sandbox: Sandbox) -> None:
    own = Sandbox(sandbox.limits, workers=3)
    programs = [RIGHT if i % 3 else "def f(x): return x" for i in range(30)]
    assert [o.correct for o in own.judge_all([(p, ONE) for p in programs])] == [bool(i % 3) for i in range(30)]
    own.close()


def test_sets_are_ordered_alike_in_every_interpreter(sandbox: Sandbox) -> None:
    program = "def f(x): return ''.join({'alpha', 'beta', 'gamma', 'delta', 'eps', 'zeta'})"
    reasons = set()
    for _ in range(3):
        own = Sandbox(sandbox.limits)
        tests = {"form": "code", "setup": "", "test": "assert f(1) == '', f(1)", "names": ["f"]}
        reasons.add(own.judge(program, tests).reason)
        own.close()
    assert len(reasons) == 1


@pytest.mark.parametrize(
    "field", ["cpu_seconds", "wall_seconds", "processes", "file_bytes", "scratch_bytes", "memory_bytes"]
)
def test_bad_limits_are_named(field: str) -> None:
    with pytest.raises(InputError, match=f"limits.{field}"):
        Limits(**{field: 0})
    with pytest.raises(InputError, match="workers"):
        Sandbox(workers=0)
