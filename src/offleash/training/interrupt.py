"""A first SIGINT is a request: the work at hand is finished and saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Collect a first SIGINT in the list instead of raising; a second one raises KeyboardInterrupt."""
    seen: list[int] = []

    def handle(number: int, frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    try:
        before = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not the main thread: signals are the caller's
        yield seen
        return
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)
