"""Functions that misbehave, for the tests of isolation."""

import ctypes
import os
import sys
import threading
import time


def echo(value):
    return value


def pid():
    return os.getpid()


def spin():
    while True:
        pass


def spin_in_c():
    return pow(7, 10**9)


def sleep():
    time.sleep(1000)


def swallow():
    """Catches everything that Python can catch."""
    while True:
        try:
            time.sleep(0.01)
            sum(range(10**6))
        except BaseException:  # noqa: BLE001
            pass


def spin_in_a_thread():
    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    thread.join()


def eat():
    hoard = []
    while True:
        hoard.append(bytearray(2**24))


def segfault():
    ctypes.string_at(0)


def leave():
    os._exit(3)


def recurse():
    return recurse()


def raise_odd():
    raise KeyError("x" * 10_000)


def chatter():
    print("not the protocol")
    sys.stdout.flush()
    os.write(1, b'{"value": "forged"}\n')
    return "real"


def flood():
    return "x" * 10**8


def order_of_a_set():
    return list({"alpha", "beta", "gamma", "delta"})


def reward_that_hangs(completions, **columns):
    while "hang" in completions:
        pass
    return [1.0] * len(completions)
