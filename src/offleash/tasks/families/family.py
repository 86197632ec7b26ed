"""What the procedural families share: a family says how a problem is drawn and how its solutions are written, no more.

A family is a subclass of `Procedural` with

    name, version, levels, main_level, about     what it is; `main_level` is the one that the embedded base is measured at
    formats                                      the forms of a solution: how one is written, and a pattern that reads one
    draw(level, generator)                       a problem: `Drawn(prompt, answer, content, meta)`, or None to draw again
    operations(problem)                          the steps of a full derivation, each a name such as "7*23=161"
    guess(problem)                               the chance of one blind guess

and registers an instance (`tasks.register`). `arithmetic` is the example. From these follow `generate`, `traces`, `verify`,
`gold`, `planning` and `performed`. What a family may replace:

    right(problem, answer)    whether an answer that was read is right; equal to the problem's text unless replaced
    steps_of(problem, text)   the steps that a text takes; unless replaced they end with ";" or ">", plan before their last "="

Rules that keep it honest and learnable by a small character model: prompts and answers of at most about 60 characters of
`ALPHABET`, a prompt that begins with the family's own word; `content` without what does not matter (the order of operands), for
the splits are made of it; answers as good as equally likely, so that `guess` is what a blind guesser really gets; `meta` that
survives JSON. A text is read only up to MAX_CHARS characters, by patterns that cannot backtrack beyond their length.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from offleash.core import InputError, Problem, Verdict, rng
from offleash.tasks.splits import check_split, split_of

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz+-*/()= :;,.>?!&|<_#[]"
"""Every character of the families' prompts and texts; countdown's are among them."""
SHARES = {"pretrain": 0.70, "train": 0.15, "probe": 0.05, "test": 0.10}
MAX_CHARS = 256
"""Longer completions are refused unread."""


class Drawn(NamedTuple):
    """A problem as its family draws it."""

    prompt: str
    answer: str
    content: str
    """Equal for two problems that are the same but for what does not matter; decides the split."""
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """A form of solutions.

    `write(problem, generator)` gives an accepted text. `shape` matches whole texts of this form, and its group `answer` is what
    they answer; no text may match the shapes of two formats of a family. `share` is the format's part of the traces.
    """

    name: str
    share: float
    write: Callable[[Problem, np.random.Generator], str]
    shape: re.Pattern[str]


class StepOf(NamedTuple):
    """A step of a text: characters `start` to before `end`, of which those before `plan_end` say what to do."""

    start: int
    plan_end: int
    end: int
    operation: str
    """The name of the operation that it carries out, if it does it right."""


@dataclass(frozen=True)
class Reading:
    """What a text says: its format (`none`) and its answer, or why it cannot be read."""

    format: str
    answer: str = ""
    reason: str = field(default="")


class Procedural(ABC):
    """A family of problems. Satisfies `tasks.Task`, `HasPlanning` and `HasOperations`."""

    name: str
    version: str = "1"
    levels: tuple[int, ...]
    main_level: int
    about: str
    """One line: what is asked."""
    formats: tuple[Format, ...]

    @abstractmethod
    def draw(self, level: int, generator: np.random.Generator) -> Drawn | None:
        """A random problem of a level; None where this draw came to nothing."""

    @abstractmethod
    def operations(self, problem: Problem) -> list[str]:
        """See `HasOperations.operations`."""

    @abstractmethod
    def guess(self, problem: Problem) -> float:
        """See `Task.guess`."""

    def right(self, problem: Problem, answer: str) -> bool:
        """Whether an answer that was read is right."""
        return answer == problem.answer

    def steps_of(self, problem: Problem, text: str) -> list[StepOf]:
        """The steps that a text takes: each ends with ";" or ">", and what stands before its last "=" is its plan."""
        return [
            StepOf(piece.start(), piece.start() + piece["step"].rindex("="), piece.end("step"), piece["step"])
            for piece in re.finditer(r"(?P<step>[^;>]*)[;>]", text[:MAX_CHARS])
            if "=" in piece["step"]
        ]

    @property
    def verifier_version(self) -> str:
        """Changes with the family's version: verifiers are part of it."""
        return f"{self.name}-{self.version}"

    def generate(self, key: tuple[str | int, ...], level: int, split: str) -> Problem:
        """See `Task.generate`."""
        return self._problem(level, split, rng.stream(self.name, *key, level, split))

    def traces(self, key: tuple[str | int, ...], level: int, split: str, count: int) -> list[tuple[str, str]]:
        """See `Task.traces`: each in a format drawn with its share."""
        generator = rng.stream(f"{self.name} traces", *key, level, split)
        problems = [self._problem(level, split, generator) for _ in range(count)]
        return [(problem.prompt, self._format(generator).write(problem, generator)) for problem in problems]

    def _problem(self, level: int, split: str, generator: np.random.Generator) -> Problem:
        check_split(self.name, split, SHARES)
        if level not in self.levels:
            raise InputError(f"level: {self.name} has no level {level}; levels: {', '.join(map(str, self.levels))}")
        for _ in range(10_000):
            drawn = self.draw(level, generator)
            if drawn and split_of(self.name, drawn.content, SHARES) == split:
                return Problem(self.name, self.version, drawn.prompt, drawn.answer, level, split, drawn.meta)
        raise InputError(f"level {level}: no {self.name} problem of split {split!r} in 10,000 draws")

    def _format(self, generator: np.random.Generator) -> Format:
        where, edge = generator.random(), 0.0
        for form in self.formats:
            edge += form.share
            if where < edge:
                return form
        return self.formats[-1]

    def read(self, text: str) -> Reading:
        """What a text answers, and in which format. Never raises on any text."""
        if len(text) > MAX_CHARS:
            return Reading("none", reason=f"more than {MAX_CHARS} characters")
        if not text.isascii():
            return Reading("none", reason="a character that is not ASCII")
        bare = text.strip(" \n")
        for form in self.formats:
            if found := form.shape.fullmatch(bare):
                return Reading(form.name, found["answer"])
        return Reading("none", reason="in none of the formats " + ", ".join(form.name for form in self.formats))

    def verify(self, problem: Problem, text: str) -> Verdict:
        """See `Task.verify`. The answer counts, in any of the formats; the steps before it are not judged."""
        reading = self.read(text)
        correct = not reading.reason and self.right(problem, reading.answer)
        reason = "" if correct else reading.reason or f"{reading.answer} is wrong"
        return Verdict(correct, float(correct), reading.answer, reading.format, reason, self.verifier_version)

    def gold(self, problem: Problem, key: tuple[str | int, ...] = ()) -> str:
        """See `Task.gold`: in a format drawn with its share."""
        generator = rng.stream(f"{self.name} gold", problem.id, *key)
        return self._format(generator).write(problem, generator)

    def gold_in(self, problem: Problem, form: str, key: tuple[str | int, ...] = ()) -> str:
        """An accepted text in the format of this name."""
        found = {each.name: each for each in self.formats}
        if form not in found:
            raise InputError(f"format: {self.name} has no format {form!r}; formats: {', '.join(found)}")
        return found[form].write(problem, rng.stream(f"{self.name} gold", problem.id, form, *key))

    @property
    def format_shares(self) -> dict[str, float]:
        """The part of each format in the traces, as declared."""
        return {form.name: form.share for form in self.formats}

    def planning(self, problem: Problem, text: str) -> list[tuple[int, int]]:
        """See `HasPlanning.planning`: what each step sets out to do, without its outcome."""
        return [(s.start, s.plan_end) for s in self.steps_of(problem, text) if s.plan_end > s.start]

    def performed(self, problem: Problem, text: str) -> list[str]:
        """See `HasOperations.performed`."""
        needed = set(self.operations(problem))
        return [name for name in dict.fromkeys(s.operation for s in self.steps_of(problem, text)) if name in needed]
