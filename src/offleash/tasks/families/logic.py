"""Knights, who speak the truth, and knaves, who do not: who is what?

    prompt  "who a:!a&c b:c|d c:!d d:a+c e:!b:"      direct  "00010"   (a knight is 1, in the order of names)
                                                     steps   "a=0;c=0;..>00010"
                                                     code    "a:!a&c=0;c:!d=0;..>00010"

Each person makes one statement: b (b is a knight), !b (b is a knave), b&c (both are knights), b|c (at least one is), b+c (just
one is). Who is what is drawn first, uniformly, and statements around it. One person speaks of itself, "!a&c" or "!a|c", which
settles a and c; every other statement is about persons that are settled by then. So each puzzle has one solution, found by going
on, and a blind guess is right one time in 2^n, exactly.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

import numpy as np

from offleash.core import Problem, rng
from offleash.tasks.base import register
from offleash.tasks.families.family import Drawn, Format, Procedural, StepOf

NAMES = "abcdefghij"


class Size(NamedTuple):
    """Of the puzzles of a level."""

    known: int
    """Statements are about the first that are settled, this many; the more, the longer the way to an answer."""
    single: float
    """Share of the statements about one person."""


SIZES = {5: Size(2, 0.7), 7: Size(3, 0.7), 9: Size(3, 0.7), 10: Size(10, 0.4)}
_STATEMENT = "!?[a-j](?:[&|+][a-j])?"


def truth(statement: str, kinds: dict[str, int]) -> int | None:
    """Whether a statement is true (1) or not (0) of these kinds; None where that is open yet."""
    first, second = statement.lstrip("!")[0], statement[-1]
    if first not in kinds or second not in kinds:
        return None
    a = kinds[first] ^ (statement[0] == "!")
    b = kinds[second]
    operator = statement[-2:-1]
    if operator == "&":
        return a & b
    if operator == "|":
        return a | b
    return a ^ b if operator == "+" else a


def solve(statements: list[str]) -> list[tuple[str, int]]:
    """Persons and kinds in the order in which they are found out: the first by name that can be, again and again."""
    said = dict(zip(NAMES, statements, strict=False))
    speaker = next(name for name, statement in said.items() if name in statement)
    kind = int("|" in said[speaker])  # "!a&c" makes both knaves, "!a|c" both knights
    found = [(speaker, kind), (said[speaker][-1], kind)]
    kinds = dict(found)
    while len(found) < len(statements):
        name = next(n for n in said if n not in kinds and truth(said[n], kinds) is not None)
        value = truth(said[name], kinds)
        assert value is not None
        kinds[name] = value
        found.append((name, value))
    return found


def canonical(statements: list[str]) -> str:
    """A puzzle without its names: each person's part in it, refined by the parts of those it speaks of and who speak of it.

    Puzzles that differ in names only are equal here. (Refinement may call puzzles equal that are not; then they share a split.)

    >>> canonical(["!a&b", "a"]) == canonical(["b", "!b&a"])
    True
    """
    names = NAMES[: len(statements)]
    colours = dict.fromkeys(names, "")
    for _ in range(3):
        heard: dict[str, list[str]] = {name: [] for name in names}
        for name, statement in zip(names, statements, strict=True):
            for spoken_of in set(re.findall("[a-z]", statement)):
                heard[spoken_of].append(f"{statement.count('!')}{colours[name]}")
        colours = {
            name: rng.digest(
                re.sub("[a-z]", "", statement) + str(name in statement),
                *sorted(colours[other] for other in re.findall("[a-z]", statement)),
                "heard",
                *sorted(heard[name]),
                size=8,
            ).hex()
            for name, statement in zip(names, statements, strict=True)
        }
    return " ".join(sorted(colours.values()))


def _statement(
    wanted: int, known: list[str], single: float, kinds: dict[str, int], generator: np.random.Generator
) -> str:
    """A statement about known persons that is as true as wanted."""
    while True:
        i, j = sorted(generator.integers(len(known), size=2).tolist())
        if generator.random() < single:
            return "!"[: kinds[known[i]] ^ wanted] + known[i]
        said = known[i] + "&|+"[int(generator.integers(3))] + known[j]
        if i != j and truth(said, kinds) == wanted:
            return said


def _direct(problem: Problem, generator: np.random.Generator) -> str:
    return problem.answer


def _steps(problem: Problem, generator: np.random.Generator) -> str:
    return ";".join(LOGIC.operations(problem)) + ">" + problem.answer


def _code(problem: Problem, generator: np.random.Generator) -> str:
    said = problem.meta["statements"]
    return ";".join(f"{n}:{said[NAMES.index(n)]}={k}" for n, k in solve(list(said))) + ">" + problem.answer


class Logic(Procedural):
    """The family. The level is the number of persons; below nine a blind guess is too often right for breadth to mean much."""

    name = "logic"
    levels = tuple(SIZES)
    main_level = 9
    about = "who is a knight and who a knave"
    formats = (
        Format("direct", 0.6, _direct, re.compile("(?P<answer>[01]{1,10})")),
        Format("steps", 0.3, _steps, re.compile("(?:[a-j]=[01][;>])+(?<=>)(?P<answer>[01]{1,10})")),
        Format("code", 0.1, _code, re.compile(f"(?:[a-j]:{_STATEMENT}=[01][;>])+(?<=>)(?P<answer>[01]{{1,10}})")),
    )

    def draw(self, level: int, generator: np.random.Generator) -> Drawn | None:
        """See `Procedural.draw`."""
        names, size = NAMES[:level], SIZES[level]
        kinds = {name: int(kind) for name, kind in zip(names, generator.integers(2, size=level), strict=True)}
        order = [names[i] for i in generator.permutation(level)]
        # The first two of one kind: among three persons there are such.
        speaker, partner = next((a, b) for a, b in itertools.combinations(order, 2) if kinds[a] == kinds[b])
        said = {speaker: f"!{speaker}{'&|'[kinds[speaker]]}{partner}"}
        known = [speaker, partner]
        for name in (name for name in order if name not in (speaker, partner)):
            said[name] = _statement(kinds[name], known[: size.known], size.single, kinds, generator)
            known.append(name)
        others = [name for name in names if name != partner]
        said[partner] = _statement(kinds[partner], others, size.single, kinds, generator)
        statements = [said[name] for name in names]
        prompt = "who " + " ".join(f"{name}:{said[name]}" for name in names) + ":"
        answer = "".join(str(kinds[name]) for name in names)
        return Drawn(prompt, answer, canonical(statements), {"statements": statements})

    def operations(self, problem: Problem) -> list[str]:
        """See `HasOperations.operations`: each person with its kind, in the order in which they can be found out."""
        return [f"{name}={kind}" for name, kind in solve(list(problem.meta["statements"]))]

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: all kinds of all persons are as likely."""
        return float(0.5 ** len(problem.answer))

    def steps_of(self, problem: Problem, text: str) -> list[StepOf]:
        """See `Procedural.steps_of`; code cites the person's own statement, or it does not carry out the step."""
        said = [f"{name}:{statement}" for name, statement in zip(NAMES, problem.meta["statements"], strict=False)]
        found = []
        for step in super().steps_of(problem, text):
            cited, _, kind = step.operation.rpartition("=")
            found.append(step._replace(operation=f"{cited[0]}={kind}") if cited in said else step)
        return found


LOGIC = Logic()
register(LOGIC)
