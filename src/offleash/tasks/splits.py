"""Which split a problem belongs to: a hash of its content, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from offleash.core import InputError, rng

SIGNS = re.compile(r"[\s.,?!'\"‘’“”]+")


def canonical(text: str) -> str:
    """A question without case, spaces and the punctuation of sentences; what an equation consists of stays.

    >>> canonical("What is  2 + 3?") == canonical("what is 2+3")
    True
    """
    return SIGNS.sub("", text.casefold())


def split_of(task: str, content: str, shares: Mapping[str, float]) -> str:
    """The split of a problem.

    Args:
        task: its task's name; two tasks divide the same content independently.
        content: its canonical form.
        shares: of each split, in order; they sum to 1.
    """
    where, edge = rng.fraction(f"{task} split", content), 0.0
    for name, share in shares.items():
        edge += share
        if where < edge:
            return name
    return name


def check_split(task: str, split: str, known: Mapping[str, object]) -> None:
    """Raise an InputError for a split that a task does not have."""
    if split not in known:
        raise InputError(f"split {split!r}: {task} has none of that name; its splits: {', '.join(known)}")
