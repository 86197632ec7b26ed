"""A data set of reasoning-gym as a task.

Its problem i of seed s is drawn from `Random(s + i)`, so adjacent seeds share almost all problems; here every problem has a
hashed seed of its own and is number 0 of it. Its splits are the hash of the question, so that no question is in two.
Generators and scorers run in a worker: some take unbounded time, and what a question says must not depend on the hash seed of
the process that asks.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import re
from collections import Counter
from functools import cache
from typing import Any, NamedTuple

from offleash.core import InputError, OffleashError, Problem, Verdict, rng, unknown_name
from offleash.tasks.gym.variant import Value, Variant
from offleash.tasks.isolation import Failure, Limits, shared
from offleash.tasks.splits import check_split

PREFIX = "reasoning-gym"
SUCCESS = 1.0
"""The score from which an answer counts as right: the whole of it. Many data sets give parts for a beginning."""
SHARES = {"pretrain": 0.25, "train": 0.25, "probe": 0.25, "test": 0.25}
MAX_ANSWER = 20_000
_WORKER = "offleash.tasks.gym.worker:"
_DRAW = Limits(seconds=60.0, wall_seconds=240.0, megabytes=4096)
_SCORE = Limits(seconds=10.0, wall_seconds=60.0, megabytes=2048)
_OWN = _SCORE
"""To draw under settings of one's own, which may ask for anything. A scorer draws the problem anew, so one that takes longer than it may
take would never get a verdict."""
_BATCH, _BATCHES = 32, 32
"""Seeds tried in one call for a problem of a split, and calls before giving up."""
_GUESSED = 4000
"""Problems whose answers tell how often a number is the answer."""
_NUMBER = re.compile(r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?")
_SIGN = re.compile(r"(?:^|[^\w)])[-−]$")
"""A sign before a number; 5-3 ends in 3."""


class ReasoningGym:
    """One data set, as it is configured by default (level 0), or at a level of its curriculum (1 is the easiest).

    Args:
        dataset: its name there.
        success: the score from which an answer is right; the scores are the rewards.
        variant: another configuration (level 0 is then all there is), prompt or answer form. With the answer form `number`
            a right answer's reward is 1 and any other's 0, and a guess is one who draws an answer of another problem.
    """

    version: str
    verifier_version: str
    main_level = 0
    """Some curricula have levels that their own checks refuse; the default configuration always works."""

    def __init__(self, dataset: str, success: float, variant: Variant = Variant()) -> None:  # noqa: B008  # frozen
        if not 0 < success <= 1:
            raise InputError(f"success: {success} is not in (0, 1]; scores go from 0 to 1")
        known = _described()
        if dataset not in known:
            raise unknown_name("data set of reasoning-gym", dataset, known)
        self.dataset, self.success, self.variant = dataset, success, variant
        self.name = f"{PREFIX}/{dataset}" + (f":{variant.name}" if variant.name else "")
        self.levels = (0,) if variant.config else tuple(range(known[dataset] + 1))
        for key, value in variant.config.items():
            _check_setting(dataset, key, value)
        self._frequency: dict[int, Counter[str]] = {}
        package = importlib.metadata.version("reasoning-gym")
        self.version = f"1+reasoning-gym-{package}"
        form = "+number" if variant.answer == "number" else ""
        self.verifier_version = f"reasoning-gym-{package}+success-{success:g}{form}"

    def generate(self, key: tuple[str | int, ...], level: int, split: str) -> Problem:
        """See `Task.generate`."""
        check_split(self.name, split, SHARES)
        if level not in self.levels:
            raise InputError(f"level: {self.name} has no level {level}; levels: {', '.join(map(str, self.levels))}")
        seeds = rng.stream(self.name, *key, level, split)
        # A question has the same split in every variant.
        where = [self.dataset, self._settings(level)]
        sides = [f"{PREFIX}/{self.dataset}", split, SHARES]
        for _ in range(_BATCHES):
            batch = seeds.integers(2**32, size=_BATCH).tolist()
            if found := self._draw(level, [*where, batch, *sides]):
                return Problem(
                    task=self.name,
                    version=self.version,
                    prompt=self.variant.text.replace("{question}", found["question"]),
                    answer=found["answer"],
                    level=level,
                    split=split,
                    meta={"seed": found["seed"], "level": level, "gold": found["gold"]},
                )
        raise InputError(
            f"{self.name}, level {level}: none of {_BATCH * _BATCHES} questions falls into split {split!r}; it has too few different ones"
        )

    def _draw(self, level: int, arguments: list[Any]) -> dict[str, Any] | None:
        """The first problem of a batch that is of the split; under settings of one's own, drawn within the time to judge it."""
        limits = _OWN if self.variant.config else _DRAW
        found: Any = shared().call(_WORKER + "draw", arguments, limits)
        if not isinstance(found, Failure):
            return found
        if (
            not self.variant.config and level and found.kind == "error"
        ):  # what the curriculum asks for, its own checks refuse
            raise InputError(
                f"level: {self.name}, level {level}: its generator failed: {found}; choose another level, such as 0"
            )
        if not self.variant.config:
            raise OffleashError(f"{self.name}, level {level}: its generator failed: {found}")
        if found.kind in ("timeout", "memory"):
            what = f"{limits.seconds:g} s of processor time" if found.kind == "timeout" else f"{limits.megabytes} MB"
            raise InputError(f"task {self.name}: drawing a problem takes more than {what}; give smaller settings")
        raise InputError(f"task {self.name}: its generator failed: {found}; give other settings")

    def verify(self, problem: Problem, text: str) -> Verdict:
        """See `Task.verify`. The format is `tags`, `bare`, `number` or `none`; a scorer that raises has not decided."""
        found = last_number(text) if self.variant.answer == "number" else extract(text)
        if len(found.answer) > MAX_ANSWER:
            return self._verdict(False, 0.0, "", found.form, f"an answer of more than {MAX_ANSWER} characters")
        where = [self.dataset, self._settings(problem.meta["level"]), problem.meta["seed"]]
        score = shared().call(_WORKER + "score", [*where, found.answer], _SCORE)
        shown = " ".join(found.answer.split())[:200]
        if isinstance(score, Failure):
            return self._verdict(None, 0.0, shown, found.form, str(score))
        if not math.isfinite(score):
            return self._verdict(None, 0.0, shown, found.form, f"a score of {score}")
        correct = score >= self.success
        # The parts that some data sets give for an answer with the right digits in it are no signal for a number.
        score = float(correct) if self.variant.answer == "number" else score
        return self._verdict(correct, score, shown, found.form, "" if correct else f"a score of {score:.4g}")

    def _verdict(self, correct: bool | None, reward: float, answer: str, form: str, reason: str) -> Verdict:
        return Verdict(correct, reward, answer, form, reason, self.verifier_version)

    def gold(self, problem: Problem, key: tuple[str | int, ...] = ()) -> str:
        """See `Task.gold`; InputError for the data sets that know no solution of their problems (boxnet, rush_hour)."""
        if problem.meta["gold"] is None:
            raise InputError(
                f"{self.name}: reasoning-gym gives no solution of its problems, so there are no demonstrations"
            )
        gold = str(problem.meta["gold"])
        return gold if self.variant.answer == "number" else f"<answer>{gold}</answer>"

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: NaN, what a blind guess would be is different for each data set.

        With the answer form `number` it is the share of problems with the same answer among those that the data set makes:
        the guess of one who knows how often each answer occurs, and no question. NaN where drawing those takes too long.
        """
        if self.variant.answer != "number":
            return math.nan
        answers = self._answers(problem.level)
        return answers[problem.answer] / answers.total() if answers else math.nan

    def _answers(self, level: int) -> Counter[str]:
        """How often each answer occurs in `_GUESSED` problems of a level; empty where drawing them takes too long."""
        if level not in self._frequency:
            seeds = rng.stream(self.name, "guess", level).integers(2**32, size=_GUESSED).tolist()
            found: Any = shared().call(_WORKER + "answers", [self.dataset, self._settings(level), seeds], _DRAW)
            if isinstance(found, Failure) and found.kind != "timeout":
                raise OffleashError(f"{self.name}, level {level}: its generator failed: {found}")
            self._frequency[level] = Counter() if isinstance(found, Failure) else Counter(found)
        return self._frequency[level]

    def _settings(self, level: int) -> int | str:
        """What the worker makes problems by: a level, or a configuration."""
        return json.dumps(self.variant.config, sort_keys=True) if self.variant.config else level

    def traces(self, key: tuple[str | int, ...], level: int, split: str, count: int) -> list[tuple[str, str]]:
        """See `Task.traces`: answers without reasoning, for the data sets offer no more."""
        found = [self.generate((*key, i), level, split) for i in range(count)]
        return [(problem.prompt, self.gold(problem)) for problem in found]


class Extracted(NamedTuple):
    """An answer, and how it was given: between `tags`, the whole text `bare`, or a `number` (`none`: there is none)."""

    answer: str
    form: str


def extract(text: str) -> Extracted:
    """What stands between the last closed <answer> and </answer>; else the whole text. Without the spaces around it.

    >>> extract("<think>2?</think> <answer> 5 </answer>.")
    Extracted(answer='5', form='tags')
    """
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    return (
        Extracted(text.strip(), "bare") if start < 0 else Extracted(text[start + len("<answer>") : end].strip(), "tags")
    )


def last_number(text: str) -> Extracted:
    """The last number of a text, with its sign.

    >>> last_number("3 - 4 = -1. Done"), last_number("5-3"), last_number("none")
    (Extracted(answer='-1', form='number'), Extracted(answer='3', form='number'), Extracted(answer='', form='none'))
    """
    found = list(_NUMBER.finditer(text))
    if not found:
        return Extracted("", "none")
    last = found[-1]
    signed = _SIGN.search(text[max(0, last.start() - 2) : last.start()])
    return Extracted(f"{'-' if signed else ''}{last.group()}", "number")


def datasets() -> list[str]:
    """Every data set that can be a task; InputError where reasoning-gym is not installed."""
    return sorted(_described())


@cache
def _described() -> dict[str, int]:
    """Data set -> levels of its curriculum."""
    if importlib.util.find_spec("reasoning_gym") is None:
        raise InputError("reasoning-gym: it is not installed; pip install 'offleash[reasoning-gym]'")
    found: Any = shared().call(_WORKER + "describe", [], _DRAW)
    if isinstance(found, Failure):
        raise OffleashError(f"reasoning-gym: its data sets cannot be listed: {found}")
    return found


@cache
def _fields(dataset: str) -> dict[str, str]:
    """The fields of a data set's own configuration, with their types (see `worker.fields`)."""
    found: Any = shared().call(_WORKER + "fields", [dataset], _DRAW)
    if isinstance(found, Failure):
        raise OffleashError(f"{PREFIX}/{dataset}: its settings cannot be listed: {found}")
    return dict(found)


def _check_setting(dataset: str, key: str, value: Value) -> None:
    """Raise an InputError for a setting that the data set does not have, or that is of another kind."""
    if key not in _fields(dataset):
        raise unknown_name(f"setting of reasoning-gym's {dataset}", key, _fields(dataset))
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits, wanted = {
        "int": (whole, "a whole number, in digits"),
        "float": (whole or (isinstance(value, float) and math.isfinite(value)), "a number"),
        "bool": (isinstance(value, bool), "one of true and false"),
    }.get(_fields(dataset)[key], (True, ""))
    if not fits:
        raise InputError(f"task {PREFIX}/{dataset}: {key}={value} is not {wanted}; give one")
