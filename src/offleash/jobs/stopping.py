"""How a crew of worker processes is stopped, by Ctrl-C or by a SIGINT to the parent alone.

Workers do not hear SIGINT, which a terminal sends to all of them: the parent counts its own and sends SIGTERM, once. A worker
takes that as SIGINT would be taken at the place where it is, so a training finishes its step and saves a checkpoint.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

# ------------------------------------------------------------------------------------------------ in the parent


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Collect SIGINTs in the list instead of raising KeyboardInterrupt."""
    seen: list[int] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    except ValueError:  # not the main thread: signals are the caller's
        yield seen
        return
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """A process that is started inside is deaf to SIGINT; one that this process gets meanwhile comes afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop(pool: ProcessPoolExecutor, workers: Sequence[BaseProcess], interrupted: Sequence[int]) -> None:
    """Tell the workers to stop and wait until they have; a second SIGINT kills them."""
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()
    while any(worker.is_alive() for worker in workers):
        if len(interrupted) > 1:
            for worker in workers:
                worker.kill()
        time.sleep(0.05)


# ------------------------------------------------------------------------------------------------ in a worker

_busy = False
_told = False


def obey() -> None:
    """From now on SIGTERM interrupts this process's work; between pieces of work it only forbids the next one."""
    signal.signal(signal.SIGTERM, _hear)


def _hear(number: int, frame: object) -> None:
    global _told
    _told = True
    handler = signal.getsignal(signal.SIGINT)
    if _busy and callable(handler):
        handler(signal.SIGINT, None)


@contextmanager
def obeying() -> Iterator[None]:
    """A piece of work; KeyboardInterrupt if this process has been told to stop."""
    global _busy
    _busy = True
    try:
        if _told:
            raise KeyboardInterrupt
        yield
    finally:
        _busy = False
