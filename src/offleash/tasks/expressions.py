"""Random arithmetic expressions, drawn uniformly and many at a time.

An expression over n numbers is a binary tree: one of Catalan(n - 1) shapes, an order of the numbers at its leaves, and one of
`+ - * /` at each inner node. A tree is *valid* when every value in it is an integer: no division by zero, none with a
remainder. Trees and their printed forms correspond one to one (brackets are kept wherever dropping them would give another
tree).
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

OPERATORS = "+-*/"
LEAF = -1
INVALID = -(2**62)
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}

Tree = int | tuple["Tree", str, "Tree"]


@cache
def shapes(n: int) -> tuple[tuple[int, ...], ...]:
    """Every binary tree shape of n leaves in postfix order: LEAF for a leaf, 0 for an inner node."""
    if n == 1:
        return ((LEAF,),)
    return tuple((*left, *right, 0) for k in range(1, n) for left in shapes(k) for right in shapes(n - k))


def render(tree: Tree) -> str:
    """The text of a tree, with no bracket that the reading order already implies.

    >>> render(((3, "+", 7), "*", 2))
    '(3+7)*2'
    >>> render((3, "-", (7, "-", 2)))
    '3-(7-2)'
    """
    return _render(tree)[0]


def _render(tree: Tree) -> tuple[str, int]:
    if isinstance(tree, int):
        return str(tree), 3
    left, operator, right = tree
    rank = _RANK[operator]
    left_text, left_rank = _render(left)
    right_text, right_rank = _render(right)
    if left_rank < rank:
        left_text = f"({left_text})"
    if right_rank <= rank:
        right_text = f"({right_text})"
    return left_text + operator + right_text, rank


class Draw(NamedTuple):
    """N random trees over the same count of numbers, and their values (INVALID for an invalid tree)."""

    shape_N: NDArray[np.int64]
    leaves_Nn: NDArray[np.int64]
    operators_Nm: NDArray[np.int64]
    value_N: NDArray[np.int64]

    def tree(self, i: int) -> Tree:
        """The i-th tree."""
        stack: list[Tree] = []
        leaves, operators = iter(self.leaves_Nn[i].tolist()), iter(self.operators_Nm[i].tolist())
        for item in shapes(self.leaves_Nn.shape[1])[int(self.shape_N[i])]:
            if item == LEAF:
                stack.append(next(leaves))
            else:
                right, left = stack.pop(), stack.pop()
                stack.append((left, OPERATORS[next(operators)], right))
        return stack[0]


def draw(numbers_Nn: NDArray[np.int64], generator: np.random.Generator) -> Draw:
    """One uniformly random tree over each row of numbers.

    Args:
        numbers_Nn: (N, n) non-negative integers; values and intermediate products must fit in int64.
        generator: where the randomness comes from.
    """
    count, n = numbers_Nn.shape
    leaves = generator.permuted(numbers_Nn, axis=1)
    operators = generator.integers(4, size=(count, n - 1))
    shape = generator.integers(len(shapes(n)), size=(count,))
    value = np.zeros(count, np.int64)
    for index, postfix in enumerate(shapes(n)):
        rows = np.flatnonzero(shape == index)
        value[rows] = _evaluate(postfix, leaves[rows], operators[rows])
    return Draw(shape, leaves, operators, value)


def draw_flat(numbers_Nn: NDArray[np.int64], generator: np.random.Generator) -> Draw:
    """One uniformly random tree without brackets over each row of numbers: an order and n - 1 operators, read as written."""
    count, n = numbers_Nn.shape
    leaves = generator.permuted(numbers_Nn, axis=1)
    operators = generator.integers(4, size=(count, n - 1))
    tight = operators >= OPERATORS.index("*")
    shape = np.zeros(count, np.int64)
    order = {postfix: i for i, postfix in enumerate(shapes(n))}
    node = np.zeros_like(operators)
    for pattern in itertools.product((False, True), repeat=n - 1):
        rows = np.flatnonzero((tight == pattern).all(axis=1))
        postfix, places = _read(pattern)
        shape[rows] = order[postfix]
        node[rows] = operators[rows][:, places]
    return Draw(shape, leaves, node, _value_flat(leaves, operators, tight))


def _value_flat(leaves: NDArray[np.int64], operators: NDArray[np.int64], tight: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Values read from left to right, all rows at a time: a sum so far, and a product that waits to be added to it."""
    plus = np.full(len(leaves), OPERATORS.index("+"))
    total, waiting, term = np.zeros(len(leaves), np.int64), plus, leaves[:, 0]
    for i in range(operators.shape[1]):
        binds, leaf = tight[:, i], leaves[:, i + 1]
        # One combination a row: with the product where the operator binds tightly, of product and sum elsewhere.
        found = combine(
            np.where(binds, term, total), np.where(binds, leaf, term), np.where(binds, operators[:, i], waiting)
        )
        total, term = np.where(binds, total, found), np.where(binds, found, leaf)
        waiting = np.where(binds, waiting, operators[:, i])
    return combine(total, term, waiting)


@cache
def _read(pattern: tuple[bool, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of a text without brackets whose operators bind tightly or not, and its operators' places in postfix order."""
    postfix: list[int] = [LEAF]
    places: list[int] = []
    waiting: list[int] = []
    for i, tight in enumerate(pattern):
        while waiting and pattern[waiting[-1]] >= tight:
            places.append(waiting.pop())
            postfix.append(0)
        waiting.append(i)
        postfix.append(LEAF)
    for i in reversed(waiting):
        places.append(i)
        postfix.append(0)
    return tuple(postfix), tuple(places)


def _evaluate(postfix: tuple[int, ...], leaves: NDArray[np.int64], operators: NDArray[np.int64]) -> NDArray[np.int64]:
    stack: list[NDArray[np.int64]] = []
    leaf = node = 0
    for item in postfix:
        if item == LEAF:
            stack.append(leaves[:, leaf])
            leaf += 1
        else:
            b, a = stack.pop(), stack.pop()
            stack.append(combine(a, b, operators[:, node]))
            node += 1
    return stack[0]


def combine(a: NDArray[np.int64], b: NDArray[np.int64], operator: NDArray[np.int64]) -> NDArray[np.int64]:
    """Elementwise a (operator) b, where operator indexes OPERATORS; INVALID where a part is, or the result would be."""
    divisor = np.where(b == 0, 1, b)
    value = np.select([operator == 0, operator == 1, operator == 2], [a + b, a - b, a * b], a // divisor)
    broken = (a == INVALID) | (b == INVALID) | ((operator == 3) & ((b == 0) | (divisor * value != a)))
    return np.where(broken, INVALID, value)
