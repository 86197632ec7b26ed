"""Letters to sort, turn round, rotate, move, repeat and cut, one operation after the other.

    prompt  "text sort5 rev3 kgabdlc:"      direct  "dbagklc"
                                            steps   "sort5=abdgklc;rev3=dbagklc>dbagklc"
                                            code    "sort5(kgabdlc)=abdgklc;rev3(abdgklc)=dbagklc>dbagklc"

sortN sorts the first N letters, revN turns the first N round, rotN moves the first N to the end, topN moves the N-th to the front,
twoN writes the N-th twice, cutN removes it. The blind guesser of the baseline knows the letters and every operation, but not
which are asked: it carries out as many operations drawn at random. Its chance is counted over all of them, exactly.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from offleash.core import Problem
from offleash.tasks.base import register
from offleash.tasks.families.family import Drawn, Format, Procedural, StepOf

LETTERS = "abcdefghijkl"
COUNT = 7
"""Letters of a problem, all different."""
NUMBERS = {
    "sort": range(3, 8), "rev": range(2, 8), "rot": range(1, 7), "top": range(2, 8), "two": range(1, 8), "cut": range(1, 8)
}  # fmt: skip
OPERATIONS = tuple(f"{name}{n}" for name, numbers in NUMBERS.items() for n in numbers)
_OPERATION = "(?:sort|rev|rot|top|two|cut)[1-9]"


def apply(operation: str, text: str) -> str:
    """What an operation makes of letters. A text that is shorter than its number is taken as a whole, and loses nothing.

    >>> [apply(name, "dbac") for name in ("sort3", "rev2", "rot1", "top3", "two2", "cut2")]
    ['abdc', 'bdac', 'bacd', 'adbc', 'dbbac', 'dac']
    """
    name, n = operation[:-1], int(operation[-1])
    if name == "sort":
        return "".join(sorted(text[:n])) + text[n:]
    if name == "rev":
        return text[:n][::-1] + text[n:]
    if name == "rot":
        return text[n:] + text[:n]
    before, letter, after = text[: n - 1], text[n - 1 : n], text[n:]
    if name == "top":
        return letter + before + after
    return before + (letter * 2 if name == "two" else "") + after


@lru_cache(maxsize=64)
def _chances(letters: str, count: int) -> dict[str, float]:
    """Every text that `count` operations can make, with its probability where all operations are equally likely."""
    if count == 0:
        return {letters: 1.0}
    found: dict[str, float] = {}
    for text, chance in _chances(letters, count - 1).items():
        for operation in OPERATIONS:
            made = apply(operation, text)
            found[made] = found.get(made, 0.0) + chance / len(OPERATIONS)
    return found


def _after(problem: Problem) -> list[tuple[str, str, str]]:
    """Each operation with what it reads and what it makes."""
    text, found = str(problem.meta["letters"]), []
    for operation in problem.meta["operations"]:
        made = apply(operation, text)
        found.append((operation, text, made))
        text = made
    return found


def _direct(problem: Problem, generator: np.random.Generator) -> str:
    return problem.answer


def _steps(problem: Problem, generator: np.random.Generator) -> str:
    return ";".join(f"{name}={made}" for name, _, made in _after(problem)) + ">" + problem.answer


def _code(problem: Problem, generator: np.random.Generator) -> str:
    return ";".join(f"{name}({read})={made}" for name, read, made in _after(problem)) + ">" + problem.answer


class Strings(Procedural):
    """The family. The level is the number of operations."""

    name = "strings"
    levels = (1, 2, 3)
    main_level = 2
    about = "letters after some operations"
    formats = (
        Format("direct", 0.6, _direct, re.compile(r"(?P<answer>[a-z]{1,20})")),
        Format(
            "steps", 0.3, _steps, re.compile(rf"(?:{_OPERATION}=[a-z]{{1,20}}[;>])+(?<=>)(?P<answer>[a-z]{{1,20}})")
        ),
        Format(
            "code",
            0.1,
            _code,
            re.compile(rf"(?:{_OPERATION}\([a-z]{{1,20}}\)=[a-z]{{1,20}}[;>])+(?<=>)(?P<answer>[a-z]{{1,20}})"),
        ),
    )

    def draw(self, level: int, generator: np.random.Generator) -> Drawn | None:
        """See `Procedural.draw`."""
        letters = "".join(LETTERS[i] for i in generator.permutation(len(LETTERS))[:COUNT])
        names = [OPERATIONS[i] for i in generator.integers(len(OPERATIONS), size=level)]
        answer = letters
        for name in names:
            answer = apply(name, answer)
        content = " ".join([*names, letters])
        return Drawn(f"text {content}:", answer, content, {"operations": names, "letters": letters})

    def operations(self, problem: Problem) -> list[str]:
        """See `HasOperations.operations`: each with what it makes, as "rev3=kbaqzmtd"."""
        return [f"{name}={made}" for name, _, made in _after(problem)]

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: the share of all sequences of as many operations that make the same of the same letters."""
        return _chances(problem.meta["letters"], len(problem.meta["operations"]))[problem.answer]

    def steps_of(self, problem: Problem, text: str) -> list[StepOf]:
        """See `Procedural.steps_of`; a call carries out its operation whatever it writes in brackets."""
        found = super().steps_of(problem, text)
        return [step._replace(operation=re.sub(r"\([a-z]*\)", "", step.operation)) for step in found]


STRINGS = Strings()
register(STRINGS)
