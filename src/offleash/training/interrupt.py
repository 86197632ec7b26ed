"""A first SIGINT is a request: the work at hand is finished and saved."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(pause: float = 0.0) -> Iterator[list[int]]:
    """Collect a first SIGINT in the list instead of raising; a second one raises KeyboardInterrupt.

    Args:
        pause: seconds after the first in which another one is the same: a launcher passes on what the terminal sent already.
    """
    seen: list[int] = []
    first = 0.0

    def handle(number: int, frame: object) -> None:
        nonlocal first
        if seen and time.monotonic() - first >= pause:
            raise KeyboardInterrupt
        if not seen:
            seen.append(number)
            first = time.monotonic()

    try:
        before = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not the main thread: signals are the caller's
        yield seen
        return
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)
