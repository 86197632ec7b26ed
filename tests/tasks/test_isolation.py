"""A verifier that hangs, crashes or eats memory costs one call, never the caller."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offleash.core import OffleashError
from offleash.tasks.isolation import Failure, Limits, Pool, shared

HOSTILE = f"{Path(__file__).parent / 'hostile.py'}:"
TIGHT = Limits(seconds=0.5, wall_seconds=2.0, megabytes=200)


@pytest.fixture(scope="module")
def pool():
    pool = Pool(2)
    yield pool
    pool.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("spin", "timeout", ""),
        ("spin_in_c", "timeout", ""),  # no signal handler of Python's runs in there
        ("spin_in_a_thread", "timeout", ""),
        ("swallow", "timeout", ""),  # catches whatever Python can catch
        ("sleep", "timeout", ""),
        ("eat", "memory", "out of memory"),
        ("segfault", "crash", "SIGSEGV"),
        ("leave", "crash", "code 3"),
        ("recurse", "error", "nested too deeply"),
        ("raise_odd", "error", "KeyError"),
    ],
)
def test_each_way_to_misbehave_is_a_failure_with_its_reason(pool, name, kind, reason):
    start = time.monotonic()
    failure = pool.call(HOSTILE + name, [], TIGHT)
    assert isinstance(failure, Failure) and failure.kind == kind and reason in failure.reason
    assert len(failure.reason) < 300 and time.monotonic() - start < 15
    assert pool.call(HOSTILE + "echo", ["still here"], TIGHT) == "still here"


def test_what_a_function_prints_is_not_its_answer(pool):
    assert pool.call(HOSTILE + "chatter", [], TIGHT) == "real"


def test_an_answer_without_end_is_cut(pool):
    failure = pool.call(HOSTILE + "flood", [], Limits(5, 10, 2000))
    assert isinstance(failure, Failure) and failure.kind in ("error", "crash")


def test_workers_stay_and_serve_in_order(pool):
    values = pool.map(HOSTILE + "echo", [[i] for i in range(300)], TIGHT)
    assert values == list(range(300))
    assert len({pool.call(HOSTILE + "pid", [], TIGHT) for _ in range(20)}) == 1


def test_one_bad_call_among_many_costs_one_value(pool):
    calls = [[i] for i in range(10)]
    good = pool.map(HOSTILE + "echo", calls, TIGHT)
    bad = pool.call(HOSTILE + "leave", [], TIGHT)
    assert good == list(range(10)) and isinstance(bad, Failure)


def test_a_worker_killed_while_idle_is_replaced(pool):
    os.kill(pool.call(HOSTILE + "pid", [], TIGHT), signal.SIGKILL)
    time.sleep(0.2)
    assert pool.call(HOSTILE + "echo", [1], TIGHT) == 1


@pytest.mark.parametrize("text", ["", "\x00", "\ud800", "é☃\u202e", "\n\r\u2028", "(" * 10**6], ids=ascii)
def test_any_text_travels_unchanged(pool, text):
    assert pool.call(HOSTILE + "echo", [text], TIGHT) == text


def test_every_worker_orders_sets_alike():
    orders = []
    for _ in range(3):
        pool = Pool(1)
        orders.append(pool.call(HOSTILE + "order_of_a_set", [], TIGHT))
        pool.close()
    assert orders[0] == orders[1] == orders[2]


def test_a_forked_child_has_workers_of_its_own():
    parents = shared()
    mine = parents.call(HOSTILE + "pid", [])
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, str(shared().call(HOSTILE + "pid", [])).encode())
        os.close(write)
        shared().close()
        parents.close()  # as at the child's exit: it must not end the workers of its parent
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        theirs = int(answer.read())
    os.wait()
    assert theirs != mine and shared().call(HOSTILE + "pid", []) == mine


@pytest.mark.slow
def test_an_interrupt_does_not_wait_for_the_calls_that_have_not_begun():
    code = (
        "import os, signal, threading, time\nfrom offleash.tasks.isolation import Limits, Pool\npool = Pool(2)\n"
        f"pool.map({HOSTILE!r} + 'echo', [[1], [2]])\n"
        "threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()\nstart = time.monotonic()\n"
        f"try:\n    pool.map({HOSTILE!r} + 'spin', [[]] * 500, Limits(0.3, 5.0))\n"
        "except KeyboardInterrupt:\n    print(time.monotonic() - start)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert float(done.stdout) < 20  # all of them take 75 seconds


def test_a_verifier_that_cannot_be_imported_is_an_error(pool):
    with pytest.raises(OffleashError, match="no module 'no_such_module'"):
        pool.call("no_such_module:judge", [])


def test_a_call_costs_less_than_the_promised_fifth_of_a_millisecond(pool):
    pool.call(HOSTILE + "echo", ["x"], TIGHT)

    def seconds() -> float:
        start = time.perf_counter()
        for _ in range(500):
            pool.call(HOSTILE + "echo", ["x" * 100], TIGHT)
        return (time.perf_counter() - start) / 500

    assert min(seconds() for _ in range(5)) < 2e-4
