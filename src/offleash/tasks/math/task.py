"""Mathematics with short answers: a data set, its prompt, and two verifiers.

The verdict, cheapest first: no answer, or one too long, is wrong; the gold's own text is right; two integers are compared; what
says another thing than its number, or would take seconds, is refused (`refused`, `bounds`); all else is judged by math-verify in
a worker (`symbolic`), where running out of time or memory leaves it undecided.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from offleash.core import InputError, Problem, Verdict, rng
from offleash.tasks.isolation import Failure, Limits, shared
from offleash.tasks.math import numeric, symbolic
from offleash.tasks.math.datasets import DataSet
from offleash.tasks.math.extract import Extracted, extract, integer
from offleash.tasks.math.load import Loaded, load
from offleash.tasks.math.normal import normal, plain
from offleash.tasks.math.refused import refused

JUDGE = "offleash.tasks.math.symbolic:judge"
LIMITS = Limits(seconds=5.0, wall_seconds=30.0, megabytes=1024)
REMEMBERED = 200_000
"""Judged pairs of gold and answer that are kept: the samples of a problem repeat each other."""
MAX_NAMED = 200
"""Characters of a refused answer that its verdict names."""


class Judged(NamedTuple):
    """What a verifier says of an answer."""

    correct: bool | None
    answer: str
    reason: str


class MathTask:
    """A data set as a task.

    Args:
        data: a row of `DATA_SETS`, or a column map of your own.
        place: a folder, a file, `hub`, or "" for the folder below OFFLEASH_DATA; read when problems are asked for.
        verifier: `symbolic`, or `numeric` for the second opinion; both judge the same samples of a store side by side.
    """

    version = "1"

    def __init__(self, data: DataSet, place: str = "", verifier: str = "symbolic") -> None:
        if verifier not in ("symbolic", "numeric"):
            raise InputError(
                f"task {data.name}/{verifier}: no such verifier; write {data.name}, or {data.name}/numeric"
            )
        self.data, self.place, self.verifier = data, place, verifier
        self.name, self.levels = data.name, data.levels
        self.verifier_version = symbolic.version() if verifier == "symbolic" else numeric.VERSION
        self._loaded: Loaded | None = None
        self._frequency: dict[str, collections.Counter[str]] = {}
        self._judged: dict[tuple[str, str], Judged] = {}

    def load(self) -> Loaded:
        """All problems, and the rows left out with the reasons; read once."""
        if self._loaded is None:
            self._loaded = load(self.data, self.place, self.version)
        return self._loaded

    def listed(self, level: int, split: str, seed: int) -> list[Problem]:
        """See `Finite.listed`."""
        found = [p for p in self.load().problems if p.level == level and p.split == split]
        if not found:
            there = sorted({(p.split, p.level) for p in self.load().problems})
            known = ", ".join(f"{name} {rank}" for name, rank in there)
            raise InputError(f"split {split!r}, level {level}: {self.name} has no such problems; it has {known}")
        order = rng.stream(f"{self.name} order", seed, level, split).permutation(len(found))
        return [found[i] for i in order]

    def generate(self, key: tuple[str | int, ...], level: int, split: str) -> Problem:
        """See `Task.generate`: each problem is as likely."""
        found = self.listed(level, split, 0)
        return found[int(rng.stream(self.name, *key, level, split).integers(len(found)))]

    def traces(self, key: tuple[str | int, ...], level: int, split: str, count: int) -> list[tuple[str, str]]:
        """See `Task.traces`: the data set's own solutions, each as likely."""
        found = self.listed(level, split, 0)
        rows = rng.stream(f"{self.name} traces", *key, level, split).integers(len(found), size=count)
        return [(found[i].prompt, self.gold(found[i])) for i in rows]

    def gold(self, problem: Problem, key: tuple[str | int, ...] = ()) -> str:
        """See `Task.gold`: the data set's solution where it has one, else the answer in a box."""
        return str(problem.meta.get("solution") or f"\\boxed{{{problem.answer}}}")

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: of one who knows the answers of the split's side, but not which belongs to which question.

        That is how often the answer occurs among the side's other problems. NaN where the data are not there.
        """
        try:
            problems = self.load().problems
        except InputError:
            return math.nan
        side = "test" if problem.split == "test" else "train"
        if side not in self._frequency:
            same = [p for p in problems if (p.split == "test") == (side == "test")]
            self._frequency[side] = collections.Counter(_key(p.answer) for p in same)
        counts = self._frequency[side]
        others = counts.total() - 1
        return max(0, counts[_key(problem.answer)] - 1) / others if others > 0 else math.nan

    def verify(self, problem: Problem, text: str) -> Verdict:
        """See `Task.verify`. The format is `boxed`, `hashes`, `number`, `copied` (see `_form`) or `none`."""
        return self.verify_many([(problem, text)])[0]

    def verify_many(self, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """See `Batched.verify_many`."""
        found = [extract(text, self.data.number) for _, text in pairs]
        quick = [_at_once(problem.answer, answer) for (problem, _), answer in zip(pairs, found, strict=True)]
        asked = [(pairs[i][0].answer, found[i].answer) for i, judged in enumerate(quick) if judged is None]
        slow = self._judge(list(dict.fromkeys(asked)))
        return [
            self._verdict(judged or slow[problem.answer, answer.answer], _form(problem, answer))
            for (problem, _), answer, judged in zip(pairs, found, quick, strict=True)
        ]

    def _judge(self, asked: list[tuple[str, str]]) -> dict[tuple[str, str], Judged]:
        if self.verifier == "numeric":
            return {(gold, answer): _numerically(gold, answer) for gold, answer in asked}
        new = [pair for pair in asked if pair not in self._judged]
        replies = dict(zip(new, shared().map(JUDGE, new, LIMITS), strict=True))
        found = {pair: self._judged[pair] for pair in asked if pair in self._judged}
        found |= {pair: _symbolically(pair, reply) for pair, reply in replies.items()}
        if len(self._judged) > REMEMBERED:
            self._judged.clear()
        # What could not be decided is asked again next time.
        self._judged |= {pair: judged for pair, judged in found.items() if judged.correct is not None}
        return found

    def _verdict(self, judged: Judged, form: str) -> Verdict:
        return Verdict(
            judged.correct, float(judged.correct is True), judged.answer, form, judged.reason, self.verifier_version
        )


def make(data: DataSet, member: str, place: str) -> MathTask:
    """The task of `NAME`, `NAME/numeric` or `NAME:PLACE`."""
    return MathTask(data, place, member or "symbolic")


_OPERATOR = re.compile(r"[-+*/^_!]|\\(?:frac|sqrt|log|cdot|times|binom|sum|sin|cos)")


def _key(answer: str) -> str:
    whole = integer(answer)
    return plain(answer) if whole is None else str(whole)


def _form(problem: Problem, found: Extracted) -> str:
    """How the answer was given; `copied` for an expression that stands in the question and is not the gold as written.

    `99^2+99+1` is equal to 9901, and no answer: of MATH-500's questions 31 can be "solved" by boxing one of their own two longest
    formulas. Such verdicts stand, since a right answer may stand in the question; the format makes them visible in an audit.
    """
    answer = plain(found.answer)
    copied = (
        _OPERATOR.search(answer.lstrip("+-")) and answer != plain(problem.answer) and answer in plain(problem.prompt)
    )
    return "copied" if copied else found.form


def _at_once(gold: str, found: Extracted) -> Judged | None:
    """What needs no mathematics; None where a verifier has to say."""
    if found.form == "none":
        return Judged(False, "", found.reason)
    a, b = integer(gold), integer(found.answer)
    if a is None or b is None:
        if found.answer == gold:
            return Judged(True, gold, "")
        if reason := refused(gold, found.answer):
            return Judged(False, found.answer[:MAX_NAMED], reason)
        if plain(found.answer) == plain(gold):
            return Judged(True, gold, "")
        b = integer(normal(found.answer))
    if a is None or b is None:
        return None
    return Judged(True, gold, "") if a == b else Judged(False, str(b), f"{b}, not {a}")


def _symbolically(pair: tuple[str, str], reply: Failure | list) -> Judged:
    if isinstance(reply, Failure):
        return Judged(None, "", str(reply))
    correct, canonical = reply
    return Judged(True, pair[0], "") if correct else Judged(False, canonical, f"{canonical}, not {pair[0]}")


def _numerically(gold: str, answer: str) -> Judged:
    correct = numeric.judge(gold, answer)
    if correct is None:
        return Judged(None, "", "the numeric verifier cannot read the answer or the gold")
    return Judged(True, gold, "") if correct else Judged(False, plain(answer), f"{plain(answer)}, not {gold}")
