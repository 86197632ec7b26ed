"""The requests dealt to worker threads, one a core, each with one thread of its own inside torch.

Small products do not fill two cores, two threads with a product each do: torch releases the interpreter while it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from itertools import pairwise
from threading import Event
from types import NoneType
from typing import TypeVar

import torch

from offleash.engines.native.cache import Ids

Found = TypeVar("Found")
WAVES = 8
"""A share holds at most this many times the rows of a worker. More shares than workers even out what takes longer; each share ends
with a few rows that wait for the longest."""


class Cancelled(Exception):
    """Another worker failed, or the user stopped."""


def split(prompts: Sequence[Ids], workers: int, rows: int) -> list[list[int]]:
    """Request numbers of each share: prompts dealt in turn, of similar length in one place, those of one prompt together.

    It depends on its arguments alone, never on time: which rows are multiplied together decides the last bit of a number.

    >>> split([(1,), (1,), (2,), (2,), (3, 4), (3, 4), (5, 6), (5, 6)], 2, 8)
    [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    groups: dict[Ids, list[int]] = {}
    for i, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(i)
    by_length = [groups[p] for p in sorted(groups, key=len)]
    count = min(len(prompts), workers * -(-len(prompts) // (WAVES * max(rows, workers))))
    order = [i for first in range(count) for group in by_length[first::count] for i in group]
    cuts = [len(order) * s // count for s in range(count + 1)]
    return [order[a:b] for a, b in pairwise(cuts)]


def in_threads(work: Callable[[list[int], Event], Found], shares: Sequence[list[int]], workers: int) -> list[Found]:
    """The work of every share, in order; the first error stops all workers."""
    stop = Event()
    if workers == 1 or len(shares) == 1:
        return [work(share, stop) for share in shares]
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, "native", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(work, share, stop) for share in shares]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done() and not isinstance(future.exception(), Cancelled | NoneType):
                    future.result()  # the error of the worker that failed, not that of one which was told to stop
            return [future.result() for future in futures]
        finally:
            stop.set()
            for future in futures:
                future.cancel()
            torch.set_num_threads(threads)
