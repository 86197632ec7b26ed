"""Repair a small program with two tools: edit a line, run the tests. Solved if hidden tests pass when it is submitted.

    1: x = a * 2            > run
    2: return x - b         f(1, 3) = -1, should be 5 ...
                            > edit 2: return x + b
                            > submit

A problem is a random program of `repair_language`, of which as many operators or values as the level says have been exchanged.
Any repair counts: what is judged is what the program returns on inputs that are not shown.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from offleash.core import InputError, rng
from offleash.tasks.splits import split_of
from offleash.tasks.worlds.repair_language import (
    OPERATORS,
    Line,
    LineError,
    Program,
    after_edits,
    edits,
    parse_line,
    run,
)
from offleash.tasks.worlds.rules import SHARES, Acted, Drawn, check_names

SHOWN = ((1, 3), (4, 2), (7, 5))
"""Inputs of the tests that `run` shows."""
HIDDEN = ((0, 0), (2, 9), (9, 1), (5, 5), (13, 4), (3, 17), (-2, 6), (8, -3))
"""Inputs that decide, besides those shown."""
TARGETS = ("x1", "x2", "x3", "x4", "x5", "x6")
"""Names of values while a program is made; what is shown has letters drawn for them, so that one repair does not fit all."""
_LETTERS = "cdefghijkmnpqrstuvwxyz"
_EDIT = re.compile(r"edit (\d{1,2}): ?(.{1,60})")


class Level(NamedTuple):
    """How problems of a level are drawn."""

    lines: int
    faults: int
    max_steps: int


LEVELS = {
    1: Level(lines=3, faults=1, max_steps=8),
    2: Level(lines=5, faults=1, max_steps=10),
    3: Level(lines=5, faults=2, max_steps=15),
    4: Level(lines=7, faults=2, max_steps=20),
}


class State(NamedTuple):
    """The program as edited so far, and whether it has been submitted."""

    program: Program
    submitted: bool = False


class RepairRules:
    """The rules of the repair world."""

    name = "repair"
    about = "edit a small program until its tests pass"
    version = "1"
    levels = tuple(LEVELS)
    instructions = "Commands: run (the tests); edit N: LINE; submit (ends, and decides). One command a line."

    def draw(self, key: tuple[str | int, ...], level: int, split: str) -> Drawn:
        """See `Rules.draw`."""
        check_names(self, level, split)
        spec = LEVELS[level]
        generator = rng.stream("repair", *key, level, split)
        for _ in range(20_000):
            right = _random(spec.lines, generator)
            if _split(right) != split or not _telling(right):
                continue
            # What is shown and what is meant are of one split: neither occurs in another.
            for _ in range(100):
                broken = _broken(right, spec.faults, split, generator)
                if broken is not None:
                    names = dict(zip(TARGETS, generator.permutation(list(_LETTERS)).tolist(), strict=False))
                    texts = [[_renamed(line, names) for line in program] for program in (broken, right)]
                    content = {"program": texts[0], "meant": texts[1]}
                    return Drawn(content, self.game(content).opening(), spec.max_steps)
        raise InputError(f"level {level}: no repair problem found in split {split!r} for key {key}; try another")

    def game(self, content: Mapping[str, Any]) -> Repair:
        """See `Rules.game`."""
        return _game(tuple(content["program"]), tuple(content["meant"]))


@lru_cache(maxsize=256)
def _game(program: tuple[str, ...], meant: tuple[str, ...]) -> Repair:
    return Repair(tuple(map(parse_line, program)), tuple(map(parse_line, meant)))


class Repair:
    """One program. See `rules.Game`."""

    def __init__(self, program: Program, meant: Program) -> None:
        self.program, self.meant = program, meant
        self.wanted = {pair: run(meant, *pair) for pair in (*SHOWN, *HIDDEN)}

    def initial(self) -> State:
        """The broken program."""
        return State(self.program)

    def opening(self) -> str:
        """The first observation."""
        return "Repair the function f(a, b):\n" + _listing(self.program)

    def solved(self, state: State) -> bool:
        """Whether it was submitted and passes all tests."""
        return state.submitted and self.passes(state.program)

    def over(self, state: State) -> bool:
        """Whether it was submitted."""
        return state.submitted

    def passes(self, program: Program) -> bool:
        """Whether it returns what is meant on all inputs."""
        try:
            return all(run(program, *pair) == value for pair, value in self.wanted.items())
        except LineError:
            return False

    def commands(self, state: State) -> list[str]:
        """`run`, `submit`, and every edit that changes one operator or value."""
        return ["run", "submit", *(f"edit {i + 1}: {line}" for i, line in edits(state.program))]

    def act(self, state: State, command: str) -> Acted:
        """See `Game.act`. An edit of a line to itself changes nothing and is invalid."""
        text = " ".join(command[:200].split())
        if text == "run":
            return Acted(state, self._tests(state.program), True)
        if text == "submit":
            after = state._replace(submitted=True)
            return Acted(after, "All tests pass." if self.solved(after) else "Some tests fail.", True)
        match = _EDIT.fullmatch(text)
        if match is None:
            return Acted(state, "Unknown command.", False)
        at = int(match.group(1)) - 1
        if not 0 <= at < len(state.program):
            return Acted(state, f"There is no line {at + 1}.", False)
        try:
            line = parse_line(match.group(2))
        except LineError as error:
            return Acted(state, f"Not changed: {error}.", False)
        if line == state.program[at]:
            return Acted(state, "Not changed: that is what it says.", False)
        program = (*state.program[:at], line, *state.program[at + 1 :])
        return Acted(State(program), _listing(program), True)

    def _tests(self, program: Program) -> str:
        said = []
        for pair in SHOWN:
            try:
                got = str(run(program, *pair))
            except LineError as error:
                got = f"an error ({error})"
            right = got == str(self.wanted[pair])
            said.append(f"f{pair} = {got}" + ("" if right else f", should be {self.wanted[pair]}"))
        return "\n".join(said)

    def gold(self) -> list[str]:
        """Restore what was exchanged, run the tests, submit."""
        wrong = [i for i, line in enumerate(self.program) if line != self.meant[i]]
        return ["run", *(f"edit {i + 1}: {self.meant[i]}" for i in wrong), "run", "submit"]

    def chance(self, max_steps: int) -> float:
        """Probability that as many random edits as there are faults, each uniform among `edits`, repair it; exact.

        This player knows the number of faults and does not look at tests; `max_steps` suffice.
        """
        faults = sum(a != b for a, b in zip(self.program, self.meant, strict=True))
        return self._share(self.program) if faults == 1 else self._share_of_two()

    def _share(self, program: Program) -> float:
        """The share of the edits of a program that repair it."""
        options = edits(program)
        sifted = after_edits(program, options, *SHOWN[0])
        right = [edit for edit, value in zip(options, sifted, strict=True) if value == self.wanted[SHOWN[0]]]
        return sum(self.passes(_with(program, *edit)) for edit in right) / len(options)

    def _share_of_two(self) -> float:
        first = edits(self.program)
        return sum(self._share(_with(self.program, *edit)) for edit in first) / len(first)


def _split(program: Program) -> str:
    """By the program before its values are renamed."""
    return split_of("repair", "\n".join(map(str, program)), SHARES)


def _with(program: Program, i: int, line: Line) -> Program:
    return (*program[:i], line, *program[i + 1 :])


def _listing(program: Program) -> str:
    return "\n".join(f"{i}: {line}" for i, line in enumerate(program, 1))


def _random(lines: int, generator: np.random.Generator) -> Program:
    """A program each of whose lines is used by a later one, or returned."""

    def value(names: list[str]) -> str:
        return (
            names[int(generator.integers(len(names)))]
            if generator.random() < 0.7
            else str(int(generator.integers(1, 10)))
        )

    names, found = ["a", "b"], []
    for i in range(lines):
        operator = OPERATORS[int(generator.integers(len(OPERATORS)))]
        # What came last is read next, so that no line is without effect.
        pair = [names[-1] if i else ("a", "b")[int(generator.integers(2))], value(names)]
        left, right = pair if generator.random() < 0.5 else pair[::-1]
        target = "" if i == lines - 1 else TARGETS[i]
        found.append(Line(target, left, operator, right))
        names.append(target)
    return tuple(found)


def _telling(program: Program) -> bool:
    """Whether the program is worth asking for: it depends on both inputs, and stays small."""
    table = {pair: run(program, *pair) for pair in itertools.product(range(0, 8, 2), repeat=2)}
    rows = {tuple(table[a, b] for b in range(0, 8, 2)) for a in range(0, 8, 2)}
    columns = {tuple(table[a, b] for a in range(0, 8, 2)) for b in range(0, 8, 2)}
    return len(rows) > 1 and len(columns) > 1 and max(map(abs, table.values())) < 1000


def _broken(right: Program, faults: int, split: str, generator: np.random.Generator) -> Program | None:
    """The program with `faults` lines changed, each of which a shown test notices, alone and together; None if that fails."""
    broken, changed = right, set()
    for _ in range(faults):
        i, line = _exchange(broken, generator)
        broken = _with(broken, i, line)
        changed.add(i)
    if len(changed) < faults or _split(broken) != split:
        return None
    # Undoing any subset of the changes but all of them must leave something that shows.
    for kept in itertools.product((False, True), repeat=faults):
        undone = {i for i, keep in zip(sorted(changed), kept, strict=True) if not keep}
        mixed = tuple(right[i] if i in undone else line for i, line in enumerate(broken))
        if any(kept) and not any(run(mixed, *pair) != run(right, *pair) for pair in SHOWN):
            return None
    return broken


def _exchange(program: Program, generator: np.random.Generator) -> tuple[int, Line]:
    """One operator or value of a line exchanged for another that has a meaning there."""
    i = int(generator.integers(len(program)))
    part = ("left", "operator", "right")[int(generator.integers(3))]
    values = (
        [*OPERATORS]
        if part == "operator"
        else ["a", "b", *(line.target for line in program[:i]), *map(str, range(1, 10))]
    )
    values.remove(getattr(program[i], part))
    return i, program[i]._replace(**{part: values[int(generator.integers(len(values)))]})


def _renamed(line: Line, names: Mapping[str, str]) -> str:
    return str(Line(*(names.get(part, part) for part in line)))
