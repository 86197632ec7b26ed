"""Programs of a few lines over integers, interpreted here: no loops, so each run ends after as many operations as lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

OPERATORS = ("+", "-", "*", "max", "min")
MAX_DIGITS = 3
_NAME = r"[a-z][a-z0-9]?"
_LINE = re.compile(
    rf"(return|{_NAME} =) ({_NAME}|\d{{1,{MAX_DIGITS}}}) (\+|-|\*|max|min) ({_NAME}|\d{{1,{MAX_DIGITS}}})"
)


class LineError(ValueError):
    """A line that is none of the language, or that uses a name without a value; the message says which."""


class Line(NamedTuple):
    """`target = left operator right`, or `return left operator right` where the target is ""."""

    target: str
    left: str
    operator: str
    right: str

    def __str__(self) -> str:
        return f"{self.target + ' =' if self.target else 'return'} {self.left} {self.operator} {self.right}"


Program = tuple[Line, ...]
"""Its inputs are `a` and `b`."""


def parse_line(text: str) -> Line:
    """Read a line; raises LineError where it is none.

    >>> parse_line("x = a max 3")
    Line(target='x', left='a', operator='max', right='3')
    """
    match = _LINE.fullmatch(" ".join(text.split()))
    if not match or match.group(1) == "return =":
        raise LineError("a line is NAME = VALUE OPERATOR VALUE or return VALUE OPERATOR VALUE, operators + - * max min")
    head, left, operator, right = match.groups()
    return Line(head.removesuffix("=").strip() if head != "return" else "", left, operator, right)


def run(program: Sequence[Line], a: int, b: int) -> int:
    """What the program returns for two inputs.

    Raises:
        LineError: a name has no value, or nothing is returned.
    """
    values = {"a": a, "b": b}
    for number, line in enumerate(program, 1):
        result = _apply(line.operator, *(_value(text, values, number) for text in (line.left, line.right)))
        if not line.target:
            return result
        values[line.target] = result
    raise LineError("nothing is returned")


def _value(text: str, values: dict[str, int], number: int) -> int:
    if text.isdigit():
        return int(text)
    if text not in values:
        raise LineError(f"line {number}: {text} has no value")
    return values[text]


def _apply(operator: str, left: int, right: int) -> int:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    return max(left, right) if operator == "max" else min(left, right)


def after_edits(program: Program, options: Sequence[tuple[int, Line]], a: int, b: int) -> list[int]:
    """What the program returns after each of these edits alone; faster than `run` for each, as most lines stay."""
    values: dict[str, int] = {"a": a, "b": b}
    before = []
    for number, line in enumerate(program, 1):
        before.append(dict(values))
        values[line.target] = _apply(
            line.operator, _value(line.left, values, number), _value(line.right, values, number)
        )
    known: dict[tuple[int, int], int] = {}
    found = []
    for i, line in options:
        new = _apply(line.operator, _value(line.left, before[i], i + 1), _value(line.right, before[i], i + 1))
        if (i, new) not in known:
            values = {**before[i], line.target: new}
            for number, later in enumerate(program[i + 1 :], i + 2):
                values[later.target] = _apply(
                    later.operator, _value(later.left, values, number), _value(later.right, values, number)
                )
            known[i, new] = values[""]
        found.append(known[i, new])
    return found


def edits(program: Program) -> list[tuple[int, Line]]:
    """Every change of one operator or value to another that has a meaning there, as (index, new line)."""
    found = []
    names = ["a", "b"]
    for i, line in enumerate(program):
        values = [*names, *map(str, range(1, 10))]
        found += [(i, line._replace(operator=op)) for op in OPERATORS if op != line.operator]
        found += [(i, line._replace(left=v)) for v in values if v != line.left]
        found += [(i, line._replace(right=v)) for v in values if v != line.right]
        if line.target and line.target not in names:
            names.append(line.target)
    return found
