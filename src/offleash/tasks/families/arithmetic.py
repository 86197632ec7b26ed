"""Arithmetic in several steps.

    prompt  "calc 347+6*7-5="      direct  "384"
                                   steps   "6*7=42;347+42=389;389-5=384>384"
                                   code    "a=6*7=42;b=347+a=389;c=b-5=384>384"

The value is drawn first, uniformly from 100 to 999, and an expression of that value is drawn around it; so a blind guess is
right one time in 900, exactly.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from offleash.core import Problem
from offleash.tasks.base import register
from offleash.tasks.expressions import Tree, render
from offleash.tasks.families.family import MAX_CHARS, Drawn, Format, Procedural, StepOf

LOW, HIGH = 100, 999
NUMBER = r"(?:0|-?[1-9][0-9]{0,5})"
_OPERATION = rf"{NUMBER}[-+*]{NUMBER}"
_CODE_OPERATION = rf"(?:{NUMBER}|[a-z])[-+*](?:{NUMBER}|[a-z])"


def draw_tree(level: int, value: int, generator: np.random.Generator) -> Tree | None:
    """An expression of this value: a number and a small part, and from level 2 on a last term; None for an unlucky draw."""
    last = int(generator.integers(10, 100) if level == 5 else generator.integers(1, 10)) if level > 1 else 0
    rest = value + last if generator.random() < 0.5 else value - last
    part, worth = _part(level, generator)
    inner = _with(rest, part, worth, generator) if rest > 0 else None
    if inner is None or not last:
        return inner
    return inner, "-" if rest > value else "+", last


def _part(level: int, generator: np.random.Generator) -> tuple[Tree, int]:
    """What is added or subtracted, and its value: a digit, a product of digits, one with a bracket, one with a longer factor."""
    a, b, c = (int(n) for n in generator.integers(2, 10, size=3))
    if level < 3:
        return a - 1, a - 1
    if level == 5:
        b = int(generator.integers(11, 100))
    second: Tree = b if level != 4 else (b, "+", c) if generator.random() < 0.5 else (b + c, "-", c)
    worth = a * (b + c if second == (b, "+", c) else b)
    return ((a, "*", second) if generator.random() < 0.5 else (second, "*", a)), worth


def _with(value: int, part: Tree, worth: int, generator: np.random.Generator) -> Tree | None:
    """A sum or a difference of this value, in which a part that is worth something occurs."""
    first = generator.random() < 0.5
    if worth == value:
        return None
    if worth > value:
        return (part, "-", worth - value) if first else (value + worth, "-", part)
    return (part, "+", value - worth) if first else (value - worth, "+", part)


def canonical(tree: Tree) -> str:
    """An expression without the order of what is added and of what is multiplied.

    >>> canonical((41, "+", (7, "*", 23))) == canonical(((23, "*", 7), "+", 41))
    True
    """
    return "".join(sorted(_terms(tree, "+")))


def _terms(tree: Tree, sign: str) -> list[str]:
    if isinstance(tree, int):
        return [f"{sign}{tree}"]
    left, operator, right = tree
    if operator == "*":
        return [sign + "*".join(sorted(f"({canonical(side)})" for side in (left, right)))]
    return _terms(left, sign) + _terms(right, sign if operator == "+" else "-+"[sign == "-"])


def steps(tree: Tree) -> tuple[list[tuple[str, str, str, int]], int]:
    """The operations in reading order, innermost first, as (left, operator, right, value); and the value of the whole."""
    if isinstance(tree, int):
        return [], tree
    (before, a), operator, (after, b) = steps(tree[0]), tree[1], steps(tree[2])
    value = a + b if operator == "+" else a - b if operator == "-" else a * b
    return [*before, *after, (str(a), operator, str(b), value)], value


def _tree(meta: Any) -> Tree:
    """A tree that went through JSON: lists become tuples again."""
    return meta if isinstance(meta, int) else (_tree(meta[0]), meta[1], _tree(meta[2]))


def _direct(problem: Problem, generator: np.random.Generator) -> str:
    return problem.answer


def _steps(problem: Problem, generator: np.random.Generator) -> str:
    return ";".join(ARITHMETIC.operations(problem)) + ">" + problem.answer


def _code(problem: Problem, generator: np.random.Generator) -> str:
    names: dict[str, str] = {}
    lines = []
    for name, (a, operator, b, value) in zip("abcdefgh", steps(_tree(problem.meta["tree"]))[0], strict=False):
        lines.append(f"{name}={names.pop(a, a)}{operator}{names.pop(b, b)}={value}")
        names[str(value)] = name
    return ";".join(lines) + ">" + problem.answer


class Arithmetic(Procedural):
    """The family. A number and a digit at level 1, two digits at 2, a product at 3, a bracket at 4, longer numbers at 5."""

    name = "arithmetic"
    levels = (1, 2, 3, 4, 5)
    main_level = 2
    about = "the value of an expression, from 100 to 999"
    formats = (
        Format("direct", 0.6, _direct, re.compile(rf"(?P<answer>{NUMBER})")),
        Format("steps", 0.3, _steps, re.compile(rf"(?:{_OPERATION}={NUMBER}[;>])+(?<=>)(?P<answer>{NUMBER})")),
        Format("code", 0.1, _code, re.compile(rf"(?:[a-z]={_CODE_OPERATION}={NUMBER}[;>])+(?<=>)(?P<answer>{NUMBER})")),
    )

    def draw(self, level: int, generator: np.random.Generator) -> Drawn | None:
        """See `Procedural.draw`."""
        value = int(generator.integers(LOW, HIGH + 1))
        tree = None
        while tree is None:  # again around the same value: values stay equally likely
            tree = draw_tree(level, value, generator)
        return Drawn(f"calc {render(tree)}=", str(value), canonical(tree), {"tree": tree})

    def operations(self, problem: Problem) -> list[str]:
        """See `HasOperations.operations`: each with its value, as "7*23=161"."""
        return [f"{a}{operator}{b}={value}" for a, operator, b, value in steps(_tree(problem.meta["tree"]))[0]]

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: every value from 100 to 999 is as likely."""
        return 1 / (HIGH - LOW + 1)

    def steps_of(self, problem: Problem, text: str) -> list[StepOf]:
        """See `Procedural.steps_of`; a name in code stands for the value it was given."""
        values: dict[str, str] = {}
        found = []
        for step in super().steps_of(problem, text[:MAX_CHARS]):
            written = step.operation
            if code := re.fullmatch(rf"([a-z])=({_CODE_OPERATION})=({NUMBER})", written):
                plan = re.sub("[a-z]", lambda m: values.get(m[0], m[0]), code[2])
                written, values[code[1]] = f"{plan}={code[3]}", code[3]
            found.append(step._replace(operation=written))
        return found


ARITHMETIC = Arithmetic()
register(ARITHMETIC)
