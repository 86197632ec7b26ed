"""Repetition inside one completion: the share of repeated n-grams, and loops.

A loop is one block of words said verbatim again and again without a word between. An enumeration ("case 1: ...; case 2: ...")
repeats its template, not itself, so a share of repeated n-grams confuses the two and the loop detector does not. A loop that
counts its rounds up is an enumeration to it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.core import InputError

GRAM = 8
LEAST_REPEATS = 4
LEAST_SPAN = 24

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]|_")


@dataclass(frozen=True)
class Loop:
    """A block of tokens said again and again.

    Attributes:
        start: first token of it.
        period: tokens of the block.
        repeats: how often the block is said; not whole where it breaks off.
        span: tokens from the first to the last repetition.
    """

    start: int
    period: int
    repeats: float
    span: int


def words(text: str) -> list[str]:
    """Words, numbers and signs, in lower case.

    >>> words("Wait, 3.5 + x_1 = 4!")
    ['wait', ',', '3.5', '+', 'x', '_', '1', '=', '4', '!']
    """
    return _WORD.findall(text.lower())


def repeated_share(tokens: Sequence[Hashable], n: int = GRAM) -> float:
    """Share of the n-grams that occurred before in the same sequence: 1 - distinct / all; NaN with fewer than n tokens.

    >>> repeated_share("a b c a b c".split(), 2)
    0.4
    """
    if n < 1:
        raise InputError(f"n: {n} is no length of an n-gram; give at least 1")
    total = len(tokens) - n + 1
    if total < 1:
        return float("nan")
    return 1 - len(set(_grams(tokens, n))) / total


def find_loop(
    tokens: Sequence[Hashable], *, least_repeats: int = LEAST_REPEATS, least_span: int = LEAST_SPAN
) -> Loop | None:
    """The longest loop: a block said at least `least_repeats` times in a row over at least `least_span` tokens; None if none.

    A block without a letter or digit is layout (a rule, a table's border), not a loop.

    Args:
        tokens: e.g. `words(text)`, or token ids.
        least_repeats: of the block, the first time included; at least 2.
        least_span: tokens from the first to the last repetition.
    """
    if least_repeats < 2 or least_span < 1:
        raise InputError(f"least_repeats: {least_repeats} with least_span {least_span}; give at least 2 and 1")
    codes: dict[Hashable, int] = {}
    ids = np.array([codes.setdefault(token, len(codes)) for token in tokens], dtype=np.int64)
    # In a loop of period p and span s, position i and i + p agree s - p times in a row; so short grams recur at distance p.
    gram = max(1, min(GRAM, least_span - least_span // least_repeats))
    found: Loop | None = None
    for period in _distances(ids, gram):
        if period * least_repeats > len(ids):  # they come in order: no longer one has room
            break
        least = max(least_span, least_repeats * period, found.span + 1 if found else 0)
        for start, length in _runs(ids[period:] == ids[:-period], least - period):
            span = length + period
            if found is not None and span <= found.span:
                continue
            if any(_speaks(token) for token in tokens[start : start + period]):
                found = Loop(start, period, span / period, span)
    return found


def _grams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


def _distances(ids: NDArray[np.int64], n: int) -> list[int]:
    """Distances between one occurrence of an n-gram and the next, the least first."""
    last: dict[tuple[int, ...], int] = {}
    out: set[int] = set()
    for i, gram in enumerate(zip(*(ids[k:].tolist() for k in range(n)), strict=False)):
        if gram in last:
            out.add(i - last[gram])
        last[gram] = i
    return sorted(out)


def _runs(same: NDArray[np.bool_], least: int) -> list[tuple[int, int]]:
    """(start, length) of the runs of at least `least` True."""
    breaks = np.flatnonzero(~same)
    starts, ends = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(same)]])
    long = np.flatnonzero(ends - starts >= max(1, least))
    return [(int(starts[i]), int(ends[i] - starts[i])) for i in long]


def _speaks(token: Hashable) -> bool:
    return not isinstance(token, str) or any(char.isalnum() for char in token)
