"""Programs judged by tests, as a task."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from offleash.core import InputError, Problem, Verdict, rng
from offleash.tasks.code import data, own
from offleash.tasks.code.data import Item, Unusable
from offleash.tasks.code.extract import MAX_CHARS, Program, canonical, program
from offleash.tasks.code.sandbox import Limits, Outcome, Sandbox

Reader = Callable[[Mapping[str, Any]], Item | Unusable]
Loader = Callable[[], tuple[list[Item], list[Unusable]]]


class CodeTask:
    """Problems of a file; a completion is right where its program passes the tests.

    A problem's id depends on its prompt, its solution and its tests, which it carries in `meta`: a stored completion can be
    judged without the file, which is read when problems are asked for. Splits are the data set's. Programs run in a `Sandbox`;
    what it could not find out is undecided (None), also where it is not available.

    Args:
        name: the task's name.
        load: gives the problems, and the rows that are not among them.
        limits: what a program may use; part of the verifier's version.
        workers: programs judged at a time by `verify_many`; all processors where None.
    """

    version = "1"

    def __init__(self, name: str, load: Loader, *, limits: Limits | None = None, workers: int | None = None) -> None:
        self.name, self._load = name, load
        self.limits = limits or Limits()
        seconds, megabytes = self.limits.cpu_seconds, self.limits.memory_bytes >> 20
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.verifier_version = f"code-2 python{python} {seconds}s {self.limits.wall_seconds:g}s {megabytes}MB"
        self._workers = workers or os.cpu_count() or 1

    @cached_property
    def sandbox(self) -> Sandbox:
        """Where programs run; its interpreters start at the first verdict."""
        return Sandbox(self.limits, self._workers)

    @cached_property
    def _rows(self) -> tuple[list[Problem], list[Unusable]]:
        items, left_out = self._load()
        if not items:
            why = f"; the first one is left out because {left_out[0].reason}" if left_out else ""
            raise InputError(f"task {self.name}: no problem can be judged{why}; give others")
        return [self._problem(item) for item in items], left_out

    @property
    def everything(self) -> list[Problem]:
        """All problems, in the file's order."""
        return self._rows[0]

    @property
    def left_out(self) -> list[Unusable]:
        """Rows that are not among the problems, with reasons."""
        return self._rows[1]

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The levels that have problems."""
        return tuple(sorted({problem.level for problem in self.everything}))

    def _problem(self, item: Item) -> Problem:
        tests = json.dumps(item.tests, sort_keys=True)
        content = rng.digest("code problem", self.name, item.prompt, item.solution, tests)
        meta = {"key": item.key, "entry": item.entry, "continues": item.continues, "tests": tests}
        return Problem(
            self.name, self.version, item.prompt, item.solution, item.level, item.split, meta, id=content.hex()
        )

    def listed(self, level: int, split: str, seed: int) -> list[Problem]:
        """Every problem of a level and split, in the seed's order."""
        found = [p for p in self.everything if p.level == level and p.split == split]
        return sorted(found, key=lambda p: rng.key64("code order", seed, p.id))

    def generate(self, key: tuple[str | int, ...], level: int, split: str) -> Problem:
        """See `Task.generate`: one of the problems, each as likely as any other."""
        found = self._some(level, split, 0)
        return found[int(rng.stream("code", *key, level, split).integers(len(found)))]

    def _some(self, level: int, split: str, seed: int) -> list[Problem]:
        found = self.listed(level, split, seed)
        if not found:
            have = sorted({(p.level, p.split) for p in self.everything})
            raise InputError(f"split: {self.name} has no problem of level {level} in split {split!r}; it has {have}")
        return found

    def program(self, problem: Problem, text: str) -> Program:
        """The program that a completion stands for."""
        return program(text, problem.meta["entry"], problem.prompt if problem.meta["continues"] else "")

    def verify(self, problem: Problem, text: str) -> Verdict:
        """See `Task.verify`. The answer is a hash of the program; the format says how the completion gave it."""
        return self.verify_many([(problem, text)])[0]

    def verify_many(self, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """The verdicts of many completions, several programs at a time; each different program of a problem runs once."""
        programs = [self.program(problem, text) for problem, text in pairs]
        jobs = {
            (problem.id, found.source): (found.source, json.loads(problem.meta["tests"]))
            for (problem, _), found in zip(pairs, programs, strict=True)
            if found.source.strip()
        }
        ran = dict(zip(jobs, self.sandbox.judge_all(jobs.values()), strict=True))
        return [
            self._verdict(found, ran.get((problem.id, found.source)))
            for (problem, _), found in zip(pairs, programs, strict=True)
        ]

    def _verdict(self, found: Program, outcome: Outcome | None) -> Verdict:
        if outcome is None:
            reason = f"a text of more than {MAX_CHARS:,} characters" if found.form == "none" else "no program"
            return Verdict(False, 0.0, "", "none", reason, self.verifier_version)
        answer = canonical(found.source)
        passed = outcome.correct is True
        return Verdict(outcome.correct, float(passed), answer, found.form, outcome.reason, self.verifier_version)

    def gold(self, problem: Problem, key: tuple[str | int, ...] = ()) -> str:
        """See `Task.gold`: the data set's solution; InputError where it has none."""
        if not problem.answer:
            raise InputError(f"problem {problem.meta['key']}: the data set has no solution of it")
        return problem.answer

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: not known for programs."""
        return math.nan

    def traces(self, key: tuple[str | int, ...], level: int, split: str, count: int) -> list[tuple[str, str]]:
        """See `Task.traces`: problems of the split in an order of the key's, again from the start where they run out."""
        found = self._some(level, split, rng.key64("code traces", *key))
        return [(p.prompt, self.gold(p)) for p in (found[i % len(found)] for i in range(count))]

    def rejected(self) -> list[Unusable]:
        """The problems whose own solution does not pass, with the reasons; those without a solution are not among them."""
        pairs = [(problem, problem.answer) for problem in self.everything if problem.answer]
        verdicts = self.verify_many(pairs)
        return [
            Unusable(problem.meta["key"], verdict.reason)
            for (problem, _), verdict in zip(pairs, verdicts, strict=True)
            if not verdict.correct
        ]


def read(name: str, path: Path | Callable[[], Path], reader: Reader, **settings: Any) -> CodeTask:
    """The task of a file, which is read when problems are asked for; an InputError then where it cannot be, or lacks a column.

    Args:
        name: the task's name.
        path: jsonl, gzipped or not; or what finds it.
        reader: what makes a problem of a row (`data.humaneval`, `data.mbpp`, `data.plain`).
        settings: of `CodeTask`.
    """

    def load() -> tuple[list[Item], list[Unusable]]:
        file = path if isinstance(path, Path) else path()
        found, wrong = [], []
        for number, row in data.rows(file):
            try:
                found.append((number, _read(reader, row)))
            except InputError as error:
                wrong.append(f"line {number}: {error}")
        items = [(number, item) for number, item in found if isinstance(item, Item)]
        wrong = wrong or own.across(items, whole=reader is data.plain)
        if wrong:
            more = f" ({len(wrong) - 1} more lines are wrong)" if len(wrong) > 1 else ""
            raise InputError(f"task {name}: {file}, {wrong[0]}; see docs/code-tasks.md{more}")
        return [item for _, item in items], [x for _, x in found if isinstance(x, Unusable)]

    return CodeTask(name, load, **settings)


def _read(reader: Reader, row: Mapping[str, Any]) -> Item | Unusable:
    try:
        return reader(row)
    except KeyError as error:
        raise InputError(f"has no field {error}") from None
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{type(error).__name__}: {error}") from None
