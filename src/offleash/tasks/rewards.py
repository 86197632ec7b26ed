"""Reward functions as TRL calls them, over a data set, as a task.

    f(prompts=[...], completions=[...], completion_ids=[...], **columns) -> [reward or None, ...]

A reward is a number; what counts as success has to be said once, as a threshold. Nothing is guessed of it: shaped rewards are
often above 0 for what is wrong.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offleash.core import InputError, OffleashError, Problem, Verdict, rng
from offleash.tasks import loading
from offleash.tasks.isolation import Failure, Limits, shared
from offleash.tasks.splits import canonical, check_split, split_of

Message = Mapping[str, Any]
Prompt = str | Sequence[Message]
RewardFunction = Callable[..., Any]
SHARES = {"pretrain": 0.10, "train": 0.70, "probe": 0.10, "test": 0.10}
_RESERVED = ("prompt", "completion", "completion_ids")


class RewardFunctions:
    """A data set and the reward functions that judge completions of its prompts.

    Args:
        name: the task's; part of every problem's id.
        rows: dictionaries with a `prompt` (text, or a list of messages) and the columns that the functions read.
        functions: callables, which run in this process; or `module:name`, which run in workers with limits on time and memory.
        success: a completion is correct where its weighted sum of rewards is at least this.
        version: of the functions; change it when they change, and stored samples are judged again.
        weights: of the functions; 1 each if not given.
        gold: a column with a text that is accepted, for demonstrations; "" for none.
        answer: a column with the reference answer; it only makes problems distinct and is shown in reports.
        limits: of a call of functions that run in workers.

    A function that returns None for a completion, or NaN, has no part in its sum. Where all do, or one raises, runs out of time
    or memory, the verdict is undecided. As in TRL a completion is text for a prompt that is text, and one assistant message for a
    prompt of messages; functions may be coroutines. `completion_ids` is None: engines hand over text. `trainer_state` is None, and
    `log_extra` and `log_metric` do nothing.
    """

    levels = (1,)

    def __init__(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        functions: RewardFunction | str | Sequence[RewardFunction | str],
        *,
        success: float | None = None,
        version: str = "1",
        weights: Sequence[float] | None = None,
        gold: str = "",
        answer: str = "",
        limits: Limits | None = None,
    ) -> None:
        if success is None or not math.isfinite(success):
            raise InputError(
                f"success: task {name!r} has no threshold; give the reward from which a completion is correct, as success=1.0"
            )
        self.name, self.version, self.success, self.limits = name, version, float(success), limits or Limits()
        self.functions = [functions] if isinstance(functions, str) or callable(functions) else list(functions)
        self.weights = [1.0] * len(self.functions) if weights is None else [float(w) for w in weights]
        if not self.functions or len(self.weights) != len(self.functions):
            raise InputError(
                f"weights: {len(self.weights)} of them for {len(self.functions)} reward functions; give one each"
            )
        parts = [f"{w:g}*{_label(f)}" for w, f in zip(self.weights, self.functions, strict=True)]
        self.verifier_version = f"{'+'.join(parts)}>={self.success:g} v{version}"
        self._gold_column, self._answer_column = gold, answer
        self._problems = self._read(rows)
        self._by_split = {split: [p for p in self._problems if p.split == split] for split in SHARES}

    def _read(self, rows: Sequence[Mapping[str, Any]]) -> list[Problem]:
        found: dict[str, Problem] = {}
        for number, row in enumerate(rows, start=1):
            if "prompt" not in row:
                raise InputError(f"rows: row {number} has no column 'prompt'; its columns: {', '.join(row)}")
            for column in filter(None, (self._gold_column, self._answer_column)):
                if column not in row:
                    raise InputError(f"rows: row {number} has no column {column!r}; its columns: {', '.join(row)}")
            text = as_text(row["prompt"])
            problem = Problem(
                task=self.name,
                version=self.version,
                prompt=text,
                answer=str(row[self._answer_column]) if self._answer_column else "",
                level=1,
                split=split_of(self.name, canonical(text), SHARES),
                meta=dict(row),
                id=_identity(self.name, self.version, text, row),
            )
            found.setdefault(problem.id, problem)
        if not found:
            raise InputError(f"rows: task {self.name!r} has none")
        return list(found.values())

    def listed(self, level: int, split: str, seed: int) -> list[Problem]:
        """See `Finite.listed`."""
        check_split(self.name, split, SHARES)
        found = self._by_split[split]
        return [found[i] for i in rng.stream(f"{self.name} order", seed, split).permutation(len(found))]

    def generate(self, key: tuple[str | int, ...], level: int, split: str) -> Problem:
        """See `Task.generate`: each problem is as likely."""
        check_split(self.name, split, SHARES)
        found = self._by_split[split]
        if not found:
            raise InputError(
                f"split {split!r}: none of the {len(self._problems)} rows of {self.name!r} falls into it; give more"
            )
        return found[int(rng.stream(self.name, *key, split).integers(len(found)))]

    def verify(self, problem: Problem, text: str) -> Verdict:
        """See `Task.verify`. The answer is the text itself; its format is `text`."""
        return self.verify_many([(problem, text)])[0]

    def verify_many(self, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """See `Batched.verify_many`: one call of each function, as in TRL; one by one where that fails."""
        if not pairs:
            return []
        columns = _columns(pairs)
        table = [self._call(function, columns) for function in self.functions]
        failed = [column for column in table if isinstance(column, Failure)]
        if failed and len(pairs) > 1:
            return [self.verify(problem, text) for problem, text in pairs]
        if failed:
            return [self._verdict(None, 0.0, str(failed[0]))]
        rows: list[list[float]] = list(map(list, zip(*table, strict=True)))
        return [self._judge(row) for row in rows]

    def _call(self, function: RewardFunction | str, columns: dict[str, Any]) -> list[float] | Failure:
        """The rewards of one function, NaN for None; or why there are none."""
        count = len(columns["completions"])
        if isinstance(function, str):
            try:
                found = shared().call("offleash.tasks.rewards:call", [function, columns], self.limits, [function])
            except OffleashError as error:  # it cannot be imported
                raise InputError(f"functions: {str(error).removeprefix('verifier: ')}") from error
        else:
            try:
                found = run(function, columns)
            except loading.FAILURES as error:  # whatever a user's function raises
                found = Failure("error", f"{type(error).__name__}: {str(error)[:200]}")
        if isinstance(found, Failure):
            return Failure(found.kind, f"{_label(function)}: {found.reason}")
        if not isinstance(found, list) or len(found) != count:
            size = len(found) if isinstance(found, list) else f"a {type(found).__name__}"
            raise InputError(
                f"functions: {_label(function)} returned {size} for {count} completions; return one reward each"
            )
        return [math.nan if reward is None else float(reward) for reward in found]

    def _judge(self, rewards: list[float]) -> Verdict:
        known = [w * r for w, r in zip(self.weights, rewards, strict=True) if not math.isnan(r)]
        if not known:
            return self._verdict(None, 0.0, "every reward function returned None")
        total = math.fsum(known) if all(map(math.isfinite, known)) else sum(known)
        if not math.isfinite(total):
            return self._verdict(None, 0.0, f"a reward of {total}")
        correct = total >= self.success
        return self._verdict(correct, total, "" if correct else f"a reward of {total:.4g}, below {self.success:g}")

    def _verdict(self, correct: bool | None, reward: float, reason: str) -> Verdict:
        return Verdict(correct, reward, "", "text", reason, self.verifier_version)

    def gold(self, problem: Problem, key: tuple[str | int, ...] = ()) -> str:
        """See `Task.gold`; InputError where no gold column was named."""
        if not self._gold_column:
            raise InputError(f"task {self.name!r}: no accepted text is known; name its column as gold=")
        return str(problem.meta[self._gold_column])

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: NaN, for nothing is known of the functions."""
        return math.nan

    def traces(self, key: tuple[str | int, ...], level: int, split: str, count: int) -> list[tuple[str, str]]:
        """See `Task.traces`: the gold column."""
        found = [self.generate((*key, i), level, split) for i in range(count)]
        return [(problem.prompt, self.gold(problem)) for problem in found]


def as_text(prompt: Prompt) -> str:
    """A prompt as engines read it: text as it is; of messages their contents, each below its role unless there is one alone.

    A server or a chat template renders messages its own way; this is the plain form that does not depend on a model.
    """
    if isinstance(prompt, str):
        return prompt
    if not all(isinstance(m, Mapping) and isinstance(m.get("content"), str) for m in prompt) or not prompt:
        raise InputError("rows: a prompt is text, or a list of messages with a content that is text")
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "".join(f"{m.get('role', 'user')}: {m['content']}\n\n" for m in prompt) + "assistant: "


def _columns(pairs: Sequence[tuple[Problem, str]]) -> dict[str, Any]:
    prompts = [problem.meta["prompt"] for problem, _ in pairs]
    completions = [
        text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
        for prompt, (_, text) in zip(prompts, pairs, strict=True)
    ]
    names = [name for name in pairs[0][0].meta if name not in _RESERVED]
    columns = {name: [problem.meta.get(name) for problem, _ in pairs] for name in names}
    return {"prompts": prompts, "completions": completions, "completion_ids": [None] * len(pairs), **columns}


def run(function: RewardFunction, columns: Mapping[str, Any]) -> Any:
    """Call a reward function the way TRL does; a coroutine is run to its end, an array becomes a list."""
    quiet = {"trainer_state": None, "log_extra": _nothing, "log_metric": _nothing}
    found = function(**columns, **quiet)
    if inspect.iscoroutine(found):
        found = asyncio.run(found)
    return found.tolist() if hasattr(found, "tolist") else list(found)


def call(path: str, columns: dict[str, Any]) -> list[float | None]:
    """`run` in a worker, of a function named by its path."""
    return [None if reward is None else float(reward) for reward in run(loading.load(path, "functions"), columns)]


def _nothing(*_: Any, **__: Any) -> None: ...


def _label(function: RewardFunction | str) -> str:
    return function if isinstance(function, str) else getattr(function, "__name__", type(function).__name__)


def _identity(name: str, version: str, prompt: str, row: Mapping[str, Any]) -> str:
    """A problem's id: reward functions may read any column, so two rows that differ in one are two problems."""
    columns = json.dumps(dict(row), sort_keys=True, default=str)
    return rng.digest("problem", name, version, prompt, columns).hex()
