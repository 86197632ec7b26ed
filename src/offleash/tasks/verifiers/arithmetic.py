"""Parse `+ - * / ( )` over non-negative integers with exact rational values. Never `eval`, never recursion on input.

The grammar is the usual one: `*` and `/` bind tighter than `+` and `-`, operators of one level associate to the left, and
there is no unary minus. The parser is the shunting-yard algorithm with explicit stacks, so its depth is bounded by memory,
and the length of what it will read is bounded by the caller.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_TOKEN = re.compile(r"[0-9]+|[-+*/()]")
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}
MAX_DIGITS = 9


class Parsed(NamedTuple):
    """An expression that parsed: its exact value and the integers it uses, in reading order."""

    value: Fraction
    numbers: tuple[int, ...]


class ExpressionError(ValueError):
    """The text is not an expression, or its value is undefined; the message says why."""


def tokenize(text: str) -> list[str]:
    """Split into integers, operators and brackets; raises ExpressionError on anything else."""
    tokens = _TOKEN.findall(text)
    if not text.isascii() or sum(map(len, tokens)) != len(text) - text.count(" "):
        raise ExpressionError("a character outside 0-9 + - * / ( )")
    if any(len(token) > MAX_DIGITS for token in tokens):
        raise ExpressionError(f"a number of more than {MAX_DIGITS} digits")
    return tokens


def _apply(values: list[Fraction], operator: str) -> None:
    if len(values) < 2:
        raise ExpressionError("an operator without two operands")
    b, a = values.pop(), values.pop()
    if operator == "+":
        values.append(a + b)
    elif operator == "-":
        values.append(a - b)
    elif operator == "*":
        values.append(a * b)
    elif b == 0:
        raise ExpressionError("a division by zero")
    else:
        values.append(a / b)


def parse(text: str, max_chars: int = 256) -> Parsed:
    """The exact value and the numbers of an arithmetic expression.

    Args:
        text: the candidate.
        max_chars: longer texts are refused unread, which bounds time and memory.

    Raises:
        ExpressionError: with the reason.

    >>> parse("(3+7)*2")
    Parsed(value=Fraction(20, 1), numbers=(3, 7, 2))
    """
    if len(text) > max_chars:
        raise ExpressionError(f"longer than {max_chars} characters")
    values: list[Fraction] = []
    operators: list[str] = []
    numbers: list[int] = []
    expect_operand = True
    for token in tokenize(text):
        if token == "(":
            if not expect_operand:
                raise ExpressionError("an opening bracket where an operator belongs")
            operators.append(token)
        elif token == ")":
            if expect_operand:
                raise ExpressionError("a closing bracket where a number belongs")
            while operators and operators[-1] != "(":
                _apply(values, operators.pop())
            if not operators:
                raise ExpressionError("a closing bracket without an opening one")
            operators.pop()
        elif token in _RANK:
            if expect_operand:
                raise ExpressionError("an operator where a number belongs")
            while operators and operators[-1] != "(" and _RANK[operators[-1]] >= _RANK[token]:
                _apply(values, operators.pop())
            operators.append(token)
            expect_operand = True
        else:
            if not expect_operand:
                raise ExpressionError("two numbers without an operator")
            values.append(Fraction(int(token)))
            numbers.append(int(token))
            expect_operand = False
    if expect_operand:
        raise ExpressionError("nothing, or an operator, at the end")
    while operators:
        if operators[-1] == "(":
            raise ExpressionError("an opening bracket without a closing one")
        _apply(values, operators.pop())
    return Parsed(values[0], tuple(numbers))
