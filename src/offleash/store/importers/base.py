"""What every importer shares: what the user chose, samples with a score, and how scores become counts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from offleash.core import InputError, rng
from offleash.store.schema import CountRow, storable_text


@dataclass(frozen=True)
class Reading:
    """How logs of other tools are read.

    Attributes:
        threshold: a sample is correct when its score is at least this; None: scores are 0 or 1, and 1 is correct.
        columns: which columns of a plain table are `id`, `correct` and `prompt`; empty: the format is recognised.
    """

    threshold: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """What a file looks like from its beginning: its kind and its keys, columns or members."""

    kind: str
    fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One judged sample.

    Attributes:
        problem: id of its problem.
        score: what the tool gave it; None or NaN where it gave nothing.
        prompt: the question (see `question`); "" where the log does not hold it.
        key: identity of the sample within the log; None where the log gives it none.
    """

    problem: str
    score: float | None
    prompt: str = ""
    key: Hashable = None


@dataclass(frozen=True)
class Log:
    """What an importer found in a log, before scores become counts.

    Attributes:
        name: what to call it, e.g. the model.
        metric: the field that holds the score.
        samples: one for each sample.
        notes: what was chosen or is incomplete, a line each; filled while `samples` is consumed.
        counted: the metric is a number of correct samples (pass@k, an average), which needs no threshold.
    """

    name: str
    metric: str
    samples: Iterable[Sample]
    notes: list[str]
    counted: bool = False


@dataclass(frozen=True, eq=False)
class Imported:
    """Counts from a log of another tool.

    Attributes:
        name: what to call it.
        rows: one for each problem; samples without a score are `unverified`.
        prompts: the question by problem id, where the log holds it and no other problem has the same.
        rule: what counts as correct, e.g. "acc = 1".
        notes: what the user should know, a line each.
    """

    name: str
    rows: tuple[CountRow, ...]
    prompts: Mapping[str, str]
    rule: str
    notes: tuple[str, ...]


class Importer(Protocol):
    """A format of another tool."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def sign(self) -> str:
        """What it is recognised by."""
        ...

    @property
    def choices(self) -> tuple[str, ...]:
        """The names it takes after `#`, besides `threshold`."""
        ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files that are looked at in a folder."""
        ...

    def fits(self, shape: Shape) -> bool:
        """Whether a file of this shape is of this format."""
        ...

    def read(self, paths: Sequence[Path], chosen: Chosen) -> Log:
        """The log in these files, all of which fit."""
        ...


class Chosen(dict[str, str]):
    """What was chosen after `#`, by name."""

    def __init__(self, where: Path, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.where = where

    def one_of(self, name: str, options: Iterable[str], default: str | None = None) -> str:
        """The chosen option, else the default, else the only one there is.

        Raises:
            InputError: several and none chosen, or a choice that does not exist; names the options.
        """
        known = list(dict.fromkeys(options))
        if name in self:
            if self[name] in known:
                return self[name]
            raise InputError(f"#{name}={self[name]}: {self.where} has no such {name}; it has {_list(known)}")
        if default is not None:
            return default
        if len(known) == 1:
            return known[0]
        if not known:
            raise InputError(f"{name}: {self.where} holds none; was it written without it?")
        raise InputError(
            f"{name}: {self.where} holds several ({_list(known)}); choose one, as {self.where}#{name}={known[0]}"
        )


def parse_choices(where: Path, text: str, names: Sequence[str]) -> Chosen:
    """`NAME=VALUE,NAME=VALUE` as a dict.

    Raises:
        InputError: no NAME=VALUE, or a name that this format does not take.
    """
    values: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, equals, value = part.partition("=")
        if not equals or name not in names:
            raise InputError(f"#{text}: {part!r} is no choice here; give NAME=VALUE with one of {', '.join(names)}")
        values[name] = value
    return Chosen(where, values)


def parse_threshold(text: str) -> float:
    """The threshold in `#threshold=...`."""
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"threshold: {text!r} is no number; give one, as 0.5") from error
    return check_threshold(value)


def check_threshold(value: float) -> float:
    """The threshold itself, if it is a finite number."""
    if not math.isfinite(value):
        raise InputError(f"threshold: {value} is not finite; give the lowest score that counts as correct")
    return value


class Tally:
    """Samples counted by problem."""

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold
        self.counts: dict[str, list[int]] = {}
        self.prompts: dict[str, str] = {}
        self.seen: dict[Hashable, float | None] = {}
        self.repeated = 0
        self.odd: list[float] = []

    def add(self, sample: Sample, where: Path) -> None:
        """Count one sample; one that the log holds twice counts once."""
        score = None if sample.score is None or math.isnan(sample.score) else float(sample.score)
        if sample.key is not None:
            if sample.key in self.seen:
                if self.seen[sample.key] != score:
                    raise InputError(
                        f"{where}: sample {sample.key} occurs twice with the scores {_number(self.seen[sample.key])} and "
                        f"{_number(score)}; keep one of them"
                    )
                self.repeated += 1
                return
            self.seen[sample.key] = score
        count = self.counts.setdefault(sample.problem, [0, 0, 0])
        self.prompts.setdefault(sample.problem, sample.prompt)
        if score is None:
            count[2] += 1
            return
        if self.threshold is None and score not in (0.0, 1.0):
            self.odd.append(score)
        count[0] += score >= (1.0 if self.threshold is None else self.threshold)
        count[1] += 1

    def refuse_odd(self, metric: str, where: Path) -> None:
        """Scores other than 0 and 1 need a threshold."""
        if self.odd:
            shown = ", ".join(f"{score:g}" for score in sorted(set(self.odd))[:3])
            raise InputError(
                f"{metric}: {where} has scores other than 0 and 1 ({shown}); say from which score on a sample is correct: "
                f"--threshold NUMBER, or {where}#threshold=NUMBER"
            )


def imported(log: Log, tool: str, where: Path, threshold: float | None) -> Imported:
    """Count a log's samples.

    Raises:
        InputError: no sample, none with a score, one sample with two scores, or scores that need a threshold.
    """
    tally = Tally(None if log.counted else threshold)
    for sample in log.samples:
        tally.add(sample, where)
    if not tally.counts:
        raise InputError(f"{where}: a log of {tool} without samples; was it written by a run that stopped early?")
    tally.refuse_odd(log.metric, where)
    rows = tuple(CountRow(name, c, n, 0, lost) for name, (c, n, lost) in sorted(tally.counts.items()))
    if not any(row.n for row in rows):
        raise InputError(f"{log.metric}: none of the samples of {where} has a score; were they judged?")
    rule = f"{log.metric} = 1" if threshold is None else f"{log.metric} >= {threshold:g}"
    rule = f"as counted from {log.metric}" if log.counted else rule
    total = sum(row.n + row.unverified for row in rows)
    head = f"{tool}, {_plural(len(rows), 'problem')}, {_plural(total, 'sample')}; correct is {rule}"
    shared, prompts = _distinct(tally.prompts)
    notes = [head, *log.notes, *_warnings(rows, tally.repeated, log.metric), *shared]
    return Imported(log.name, rows, prompts, rule, tuple(notes))


def _warnings(rows: Sequence[CountRow], repeated: int, metric: str) -> Iterator[str]:
    unverified = sum(row.unverified for row in rows)
    if unverified:
        yield f"{_plural(unverified, 'sample')} without a score ({metric}): unverified and left out"
    if repeated:
        yield f"{_plural(repeated, 'sample')} held twice and counted once"
    sizes = sorted({row.n + row.unverified for row in rows})
    if len(sizes) > 1:
        yield f"problems have unequal numbers of samples, {sizes[0]} to {sizes[-1]}"


def _distinct(prompts: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The prompts that only one problem has, and a note on the others."""
    owners: dict[str, int] = {}
    for prompt in prompts.values():
        owners[prompt] = owners.get(prompt, 0) + 1
    kept = {name: prompt for name, prompt in prompts.items() if prompt and owners[prompt] == 1}
    shared = sum(1 for prompt in prompts.values() if prompt and owners[prompt] > 1)
    note = f"{shared} problems share a question with another; they can be matched by id only"
    return ([note] if shared else []), kept


def number(value: Any, name: str, where: str) -> float | None:
    """A score as a number; None where there is none.

    >>> number("True", "acc", "0.jsonl:1"), number(0.5, "acc", "0.jsonl:1"), number(None, "acc", "0.jsonl:1")
    (1.0, 0.5, None)
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("", "none", "null"):
            return None
        if text in ("true", "false", "yes", "no"):
            return float(text in ("true", "yes"))
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {value!r} in {where} is no number; choose a field that holds scores") from error


def is_score(value: Any) -> bool:
    """Whether a value can be a score: a number or a truth value."""
    return isinstance(value, (bool, int, float))


def solved(value: float, n: int, k: int) -> int | None:
    """How many of n samples are correct where the unbiased pass@k is `value`; None where that does not tell.

    >>> solved(0.25, 4, 1), solved(1.0, 4, 2), solved(0.3, 4, 1)
    (1, None, None)
    """
    if not 1 <= k <= n:
        return None
    all_ways = math.comb(n, k)
    fitting = [c for c in range(n + 1) if abs(1 - math.comb(n - c, k) / all_ways - value) < 1e-6]
    return fitting[0] if len(fitting) == 1 else None


def spread(problem: str, c: int, n: int, prompt: str, key: Hashable) -> Iterator[Sample]:
    """n samples, the first c of them correct."""
    for index in range(n):
        yield Sample(problem, float(index < c), prompt, (key, index))


def digest(*parts: Any) -> str:
    """16 hex digits that stand for the content of these values."""
    texts = [storable_text(json.dumps(part, sort_keys=True, ensure_ascii=False, default=str)) for part in parts]
    return rng.digest("problem of a log", *texts, size=8).hex()


# The turn of the user in a prompt that went through a chat template: with its special tokens, or decoded without them.
_TURNS = (
    re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL),
    re.compile(r"<\|start_header_id\|>user<\|end_header_id\|>\n\n(.*?)<\|eot_id\|>", re.DOTALL),
    re.compile(r"(?:^|\n)user\n(?!\n)(.*?)\n(?=assistant\n)", re.DOTALL),
    re.compile(r"user\n\n((?:(?!user\n\n).)*?)assistant\n\n$", re.DOTALL),
)


def question(prompt: Any) -> str:
    r"""The question in a prompt: the last message of the user, else the text itself.

    >>> question([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 3?"}])
    'What is 2 + 3?'
    >>> question("system\nBe brief.\nuser\nWhat is 2 + 3?\nassistant\n")
    'What is 2 + 3?'
    """
    if isinstance(prompt, str):
        if prompt.startswith("[{"):
            try:
                return question(json.loads(prompt))
            except json.JSONDecodeError:
                pass
        for turn in _TURNS:
            found = turn.findall(prompt)
            if found:
                return storable_text(found[-1].strip())
        return storable_text(prompt.strip())
    if not isinstance(prompt, Sequence):
        return ""
    users = [m for m in prompt if isinstance(m, Mapping) and m.get("role") == "user"]
    return storable_text(_content(users[-1].get("content")).strip()) if users else ""


def _content(content: Any) -> str:
    """The text of a message; its content may come in parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else ()
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and part.get("text"))


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _number(score: float | None) -> str:
    return "none" if score is None else f"{score:g}"


def _list(values: Sequence[str]) -> str:
    shown = ", ".join(values[:8])
    return f"{shown}, ... ({len(values)} in all)" if len(values) > 8 else shown or "none"
