"""Countdown by exhaustive counting: how many valid expressions reach a value, and a uniformly random one of them.

For every subset of the numbers, a table value -> number of trees is built from the tables of its parts. The counts are exact
(every shape, order of the numbers and choice of operators once), so `chance` is the probability that one uniformly random
valid expression solves the problem, and `sample` draws uniformly among the solutions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offleash.tasks.expressions import INVALID, OPERATORS, Tree, combine


class Table(NamedTuple):
    """Distinct values, and in how many valid trees each arises."""

    value: NDArray[np.int64]
    trees: NDArray[np.float64]


class _Pairs(NamedTuple):
    left_mask: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    operator: NDArray[np.int64]
    value: NDArray[np.int64]
    trees: NDArray[np.float64]


class Counter:
    """All values reachable from a multiset of numbers."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self.numbers = numbers
        self._tables: dict[int, Table] = {}
        self._full = (1 << len(numbers)) - 1
        self._top: _Pairs | None = None

    def table(self, mask: int) -> Table:
        """The values of the numbers whose bits are set in `mask`."""
        if mask not in self._tables:
            if mask & (mask - 1) == 0:
                value = self.numbers[mask.bit_length() - 1]
                self._tables[mask] = Table(np.array([value]), np.array([1.0]))
            else:
                pairs = self._pairs(mask)
                values, inverse = np.unique(pairs.value, return_inverse=True)
                self._tables[mask] = Table(values, np.bincount(inverse, weights=pairs.trees).astype(np.float64))
        return self._tables[mask]

    def _pairs(self, mask: int) -> _Pairs:
        """Every valid (left part, operator, right part) over `mask`, with its value and tree count."""
        if mask == self._full and self._top is not None:
            return self._top
        parts: list[tuple[NDArray[np.int64], ...]] = []
        counts: list[NDArray[np.float64]] = []
        left_mask = (mask - 1) & mask
        while left_mask:
            a, b = self.table(left_mask), self.table(mask ^ left_mask)
            i, j = (x.ravel() for x in np.indices((len(a.value), len(b.value))))
            parts.append((np.full(len(i), left_mask), i, j, a.value[i], b.value[j]))
            counts.append(a.trees[i] * b.trees[j])
            left_mask = (left_mask - 1) & mask
        left_masks, i, j, a_value, b_value = (np.tile(np.concatenate(column), 4) for column in zip(*parts, strict=True))
        operator = np.repeat(np.arange(4), len(i) // 4)
        value = combine(a_value, b_value, operator)
        ok = value != INVALID
        count = np.tile(np.concatenate(counts), 4)
        pairs = _Pairs(left_masks[ok], i[ok], j[ok], operator[ok], value[ok], count[ok])
        if mask == self._full:
            self._top = pairs
        return pairs

    def chance(self, target: int) -> float:
        """Probability that a uniformly random valid expression has this value."""
        top = self._pairs(self._full)
        return float(top.trees[top.value == target].sum() / top.trees.sum())

    def sample(self, target: int, generator: np.random.Generator) -> Tree | None:
        """A uniformly random expression with this value, or None where there is none."""
        return self._sample(self._full, target, generator)

    def _sample(self, mask: int, target: int, generator: np.random.Generator) -> Tree | None:
        if mask & (mask - 1) == 0:
            return self.numbers[mask.bit_length() - 1]
        pairs = self._pairs(mask)
        hits = np.flatnonzero(pairs.value == target)
        if len(hits) == 0:
            return None
        weights = np.cumsum(pairs.trees[hits])
        hit = hits[np.searchsorted(weights, generator.random() * weights[-1], side="right")]
        left_mask = int(pairs.left_mask[hit])
        right_mask = mask ^ left_mask
        left = self._sample(left_mask, int(self.table(left_mask).value[pairs.left[hit]]), generator)
        right = self._sample(right_mask, int(self.table(right_mask).value[pairs.right[hit]]), generator)
        assert left is not None and right is not None, "a counted value has no tree"
        return left, OPERATORS[pairs.operator[hit]], right
