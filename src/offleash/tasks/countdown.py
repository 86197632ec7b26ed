"""Countdown: reach a target with given numbers, each used exactly once, by + - * / and brackets.

    prompt  "3 7 12 18 25=431:"      an accepted answer  "18*25-12-7*3/..."  (any expression of that value)

A problem is drawn by drawing numbers and one uniformly random valid expression without brackets over them (`expressions`), and
taking its value as the target where it lies in the level's range. So every problem has a solution. The chance baseline is the
share of all valid expressions, with brackets or without, that reach the target, counted exactly (`countdown_exact`). The
verifier is more liberal than both: it takes any expression of the right exact rational value, fractions on the way included.
"""

from __future__ import annotations

import collections
import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from offleash.core import InputError, Problem, Verdict, rng
from offleash.tasks.annotations import Step
from offleash.tasks.base import register
from offleash.tasks.countdown_exact import Counter
from offleash.tasks.countdown_solutions import flat_solutions
from offleash.tasks.expressions import Draw, draw_flat, render
from offleash.tasks.verifiers.arithmetic import MAX_DIGITS, ExpressionError, parse


class Level(NamedTuple):
    """How problems of a level are drawn."""

    numbers: int
    largest: int
    low: int
    high: int


LEVELS = {
    2: Level(numbers=2, largest=25, low=1, high=999),
    3: Level(numbers=3, largest=25, low=1, high=999),
    4: Level(numbers=4, largest=25, low=1, high=999),
    5: Level(numbers=5, largest=25, low=100, high=999),
    6: Level(numbers=6, largest=25, low=100, high=999),
    7: Level(numbers=7, largest=25, low=100, high=999),
}
INVALID = -0.1
"""Reward of a step that uses a number which is not there."""
_STEP = re.compile(r"([-+*/])?[ ()]*([0-9]+)")
# Cumulative shares of the hash of a problem's content.
_SPLIT_EDGES = (("pretrain", 0.70), ("train", 0.85), ("probe", 0.90), ("test", 1.0))


def split_of(numbers: tuple[int, ...], target: int) -> str:
    """The split a problem belongs to: a hash of its sorted numbers and target, nothing else."""
    where = rng.fraction("countdown split", ",".join(map(str, sorted(numbers))), target)
    return next(name for name, edge in _SPLIT_EDGES if where < edge)


def _draw(level: int, generator: np.random.Generator, tries: int) -> tuple[Draw, np.ndarray]:
    """Random expressions at this level, and the rows whose value can be a target."""
    if level not in LEVELS:
        raise InputError(f"level: countdown has no level {level}; levels: {', '.join(map(str, LEVELS))}")
    spec = LEVELS[level]
    drawn = draw_flat(generator.integers(1, spec.largest + 1, size=(tries, spec.numbers)), generator)
    return drawn, np.flatnonzero((drawn.value_N >= spec.low) & (drawn.value_N <= spec.high))


@lru_cache(maxsize=2)  # the tables of seven numbers take 150 MB
def _counter(numbers: tuple[int, ...]) -> Counter:
    return Counter(numbers)


class Countdown:
    """The task. Levels are in `LEVELS`; problems show their numbers in ascending order."""

    name = "countdown"
    about = "an expression of the given numbers that reaches a target"
    version = "1"
    verifier_version = "arithmetic-1"
    levels = tuple(LEVELS)
    solutions_are = "expressions without brackets or spaces"

    def make(self, numbers: tuple[int, ...], target: int, level: int) -> Problem:
        """The problem with these numbers and this target."""
        shown = tuple(sorted(numbers))
        return Problem(
            task=self.name,
            version=self.version,
            prompt=" ".join(map(str, shown)) + f"={target}:",
            answer=str(target),
            level=level,
            split=split_of(shown, target),
            meta={"numbers": shown, "target": target},
        )

    def generate(self, key: tuple[str | int, ...], level: int, split: str) -> Problem:
        """See `Task.generate`."""
        generator = rng.stream("countdown", *key, level, split)
        for _ in range(1000):
            drawn, rows = _draw(level, generator, tries=256)
            for row in rows:
                numbers = tuple(sorted(drawn.leaves_Nn[row].tolist()))
                target = int(drawn.value_N[row])
                if split_of(numbers, target) == split:
                    return self.make(numbers, target, level)
        raise InputError(f"split {split!r}: no countdown problem found; splits are pretrain, train, probe, test")

    def traces(self, key: tuple[str | int, ...], level: int, split: str, count: int) -> list[tuple[str, str]]:
        """See `Task.traces`: each text is uniform among the valid expressions of its problem."""
        generator = rng.stream("countdown traces", *key, level, split)
        found: list[tuple[str, str]] = []
        while len(found) < count:
            drawn, rows = _draw(level, generator, tries=max(4096, 24 * count))
            for row in rows:
                numbers, target = tuple(sorted(drawn.leaves_Nn[row].tolist())), int(drawn.value_N[row])
                if split_of(numbers, target) == split:
                    found.append((self.make(numbers, target, level).prompt, render(drawn.tree(int(row)))))
                    if len(found) == count:
                        break
        return found

    def verify(self, problem: Problem, text: str) -> Verdict:
        """See `Task.verify`. The answer is the value; the format is `expression` or `none`."""
        numbers, target = problem.meta["numbers"], problem.meta["target"]
        try:
            parsed = parse(text.strip())
        except ExpressionError as error:
            return self._verdict(False, "", "none", str(error))
        value = str(parsed.value)
        if sorted(parsed.numbers) != sorted(numbers):
            return self._verdict(False, value, "expression", "does not use each number exactly once")
        if parsed.value != target:
            return self._verdict(False, value, "expression", f"equals {value}, not {target}")
        return self._verdict(True, value, "expression", "")

    def _verdict(self, correct: bool, answer: str, form: str, reason: str) -> Verdict:
        return Verdict(correct, float(correct), answer, form, reason, self.verifier_version)

    def gold(self, problem: Problem, key: tuple[str | int, ...] = ()) -> str:
        """See `Task.gold`: uniform among the solutions without brackets where one turns up soon, else among all."""
        counter = _counter(tuple(problem.meta["numbers"]))
        generator = rng.stream("countdown gold", problem.id, *key)
        text = ""
        for _ in range(200):
            tree = counter.sample(problem.meta["target"], generator)
            if tree is None:
                numbers = problem.meta["numbers"]
                raise InputError(f"problem {problem.id}: no expression over {numbers} equals {problem.answer}")
            text = render(tree)
            if "(" not in text:
                break
        return text

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: the share of valid expressions that reach the target, exactly."""
        return _counter(tuple(problem.meta["numbers"])).chance(problem.meta["target"])

    def steps(self, problem: Problem, text: str, verdict: Verdict) -> list[Step]:
        """See `HasSteps.steps`: each number with the operator before it, which is the step's tag.

        A number that is not, or no longer, among the problem's costs INVALID; the last step also gets 1 where the answer
        is right. A step starts from the text before it.
        """
        left = collections.Counter(problem.meta["numbers"])
        found: list[Step] = []
        pieces = list(_STEP.finditer(text))
        for i, piece in enumerate(pieces):
            number = piece.group(2)[:MAX_DIGITS]
            reward = 0.0 if left[int(number)] > 0 else INVALID
            left[int(number)] -= 1
            start = 0 if i == 0 else pieces[i].start()
            end = len(text) if i == len(pieces) - 1 else pieces[i + 1].start()
            outcome = float(verdict.correct is True) if i == len(pieces) - 1 else 0.0
            found.append(Step(start, end, reward + outcome, piece.group(1) or "start", text[:start]))
        return found

    def solutions(self, problem: Problem) -> list[str]:
        """See `HasSolutions.solutions`."""
        return flat_solutions(tuple(problem.meta["numbers"]), int(problem.meta["target"]))

    def planning(self, problem: Problem, text: str) -> list[tuple[int, int]]:
        """See `HasPlanning.planning`: operators and brackets plan, numbers carry out."""
        return [piece.span() for piece in re.finditer(r"[-+*/()]+", text)]


register(Countdown())
