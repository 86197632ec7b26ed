"""What a store holds: the rows, their columns, and how rows become Arrow tables.

Three tables: problems (key: id), samples (key: model, problem_id, index, seed, sampler) and verdicts (key: a sample's key and
verifier_version).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offleash.core import Completion, InputError, Problem, Verdict

VERSION = 1

# Column name and Arrow type; a trailing "?" allows null.
PROBLEMS = {
    "id": "string", "task": "string", "version": "string", "prompt": "string", "answer": "string", "level": "int32",
    "split": "string", "meta": "string", "guess": "float64",
}  # fmt: skip
_KEY = {"model": "string", "problem_id": "string", "index": "int32", "seed": "int64", "sampler": "string"}
SAMPLES = {
    **_KEY, "text": "string", "token_ids": "list:int32", "logprobs": "list:float32", "entropies": "list:float32",
    "finish_reason": "string",
}  # fmt: skip
VERDICTS = {
    **_KEY, "verifier_version": "string", "correct": "bool?", "reward": "float64", "answer": "string", "format": "string",
    "reason": "string",
}  # fmt: skip
TABLES: dict[str, dict[str, str]] = {"problems": PROBLEMS, "samples": SAMPLES, "verdicts": VERDICTS}
KEYS: dict[str, tuple[str, ...]] = {
    "problems": ("id",),
    "samples": tuple(_KEY),
    "verdicts": (*_KEY, "verifier_version"),
}


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A completion with its identity: which model, problem, index, seed and sampler settings it came from."""

    model: str
    problem_id: str
    index: int
    seed: int
    sampler: str
    text: str
    token_ids: Sequence[int]
    logprobs: Sequence[float]
    entropies: Sequence[float]
    finish_reason: str

    @classmethod
    def of(cls, completion: Completion, *, model: str, seed: int, sampler: str) -> SampleRow:
        """The row of a completion; its text is made storable (`storable_text`)."""
        return cls(
            model=model,
            problem_id=completion.problem_id,
            index=completion.index,
            seed=seed,
            sampler=sampler,
            text=storable_text(completion.text),
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            entropies=completion.entropies,
            finish_reason=completion.finish_reason,
        )


@dataclass(frozen=True, slots=True)
class Unverified:
    """A stored sample that lacks a verdict: its key and its text."""

    model: str
    problem_id: str
    index: int
    seed: int
    sampler: str
    text: str


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """What one version of a verifier says of one sample; `correct` is None where it could not decide."""

    model: str
    problem_id: str
    index: int
    seed: int
    sampler: str
    verifier_version: str
    correct: bool | None
    reward: float
    answer: str
    format: str
    reason: str

    @classmethod
    def of(cls, sample: SampleRow | Unverified, verdict: Verdict) -> VerdictRow:
        """The row of a verdict on this sample."""
        return cls(
            model=sample.model,
            problem_id=sample.problem_id,
            index=sample.index,
            seed=sample.seed,
            sampler=sample.sampler,
            verifier_version=verdict.verifier_version,
            correct=verdict.correct,
            reward=verdict.reward,
            answer=storable_text(verdict.answer),
            format=storable_text(verdict.format),
            reason=storable_text(verdict.reason),
        )


@dataclass(frozen=True, slots=True)
class CountRow:
    """One problem's result: c correct of n decided samples.

    `undecided` samples have a verdict of null, `unverified` ones none yet; neither is in n.
    """

    id: str
    c: int
    n: int
    undecided: int
    unverified: int = 0


@dataclass(frozen=True, slots=True)
class StoredProblem:
    """A problem with its chance baseline: the probability that one blind guess is right (NaN where unknown)."""

    problem: Problem
    guess: float


def storable_text(text: str) -> str:
    """The text itself; halves of surrogate pairs, which no UTF-8 file can hold, become the replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def sampler_id(settings: Mapping[str, Any]) -> str:
    """16 hex digits of blake2b over the canonical JSON of sampler settings; 1 and 1.0 are the same number.

    >>> sampler_id({"temperature": 1, "stop": ()}) == sampler_id({"stop": [], "temperature": 1.0})
    True
    """
    try:
        text = json.dumps(
            _canonical(settings), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"settings: cannot be written as JSON ({error}); use plain numbers, texts and lists"
        ) from error
    return hashlib.blake2b(text.encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def arrow_schema(table: str) -> Any:
    """The pyarrow schema of `problems`, `samples` or `verdicts`."""
    import pyarrow as pa

    fields = []
    for name, spec in TABLES[table].items():
        kind = spec.removesuffix("?")
        inner = kind.removeprefix("list:")
        plain = {"bool": pa.bool_(), "float64": pa.float64(), "float32": pa.float32(), "int32": pa.int32()}
        plain |= {"int64": pa.int64(), "string": pa.string()}
        fields.append(pa.field(name, pa.list_(plain[inner]) if inner != kind else plain[kind], nullable=spec != kind))
    return pa.schema(fields)


def row_table(table: str, rows: Iterable[SampleRow | VerdictRow]) -> Any:
    """Rows as a pyarrow table."""
    rows = list(rows)
    return arrow_table(table, {name: [getattr(row, name) for row in rows] for name in TABLES[table]})


def problem_table(problems: Sequence[Problem], guess: Sequence[float]) -> Any:
    """Problems with their chance baselines as a pyarrow table."""
    columns: dict[str, list[Any]] = {
        name: [getattr(p, name) for p in problems] for name in PROBLEMS if name not in ("meta", "guess")
    }
    columns["meta"] = [meta_text(p) for p in problems]
    columns["guess"] = list(guess)
    return arrow_table("problems", columns)


def same_record(a: Problem, b: Problem) -> bool:
    """Whether two problems of one id also agree in what the id does not cover: level, split and meta."""
    return (a.level, a.split, meta_text(a)) == (b.level, b.split, meta_text(b))


def meta_text(problem: Problem) -> str:
    """A problem's meta as canonical JSON."""
    try:
        return json.dumps(dict(problem.meta), ensure_ascii=True, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"meta: problem {problem.id}: cannot be written as JSON ({error}); use plain values"
        ) from error


def arrow_table(table: str, columns: Mapping[str, list[Any]]) -> Any:
    """Columns as a pyarrow table of the right types.

    Raises:
        InputError: a value that does not fit its column; names the column.
    """
    import pyarrow as pa

    schema = arrow_schema(table)
    arrays = []
    for field in schema:
        try:
            array = pa.array(columns[field.name], type=field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
            raise InputError(f"{field.name}: a value of {table} does not fit {field.type} ({error})") from error
        if array.null_count and not field.nullable:
            raise InputError(f"{field.name}: a value of {table} is missing; give every row one")
        arrays.append(array)
    return pa.table(arrays, schema=schema)
