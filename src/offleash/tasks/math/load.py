"""From files or the hub to problems: columns, splits, duplicates, and golds that can be read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offleash.core import InputError, Problem
from offleash.tasks.isolation import shared
from offleash.tasks.math.datasets import DataSet
from offleash.tasks.math.extract import MAX_ANSWER, extract, integer
from offleash.tasks.splits import canonical, split_of

ENVIRONMENT = "OFFLEASH_DATA"
SHARES = {"pretrain": 0.10, "train": 0.80, "probe": 0.10}
"""How a data set's own training file is divided; its test file is `test`."""
Row = Mapping[str, Any]


@dataclass
class Loaded:
    """A data set's problems, and the rows that are not among them."""

    problems: list[Problem]
    left_out: dict[str, str] = field(default_factory=dict)
    """ "train 17" -> the reason; the first row is 1."""


def load(data: DataSet, place: str, version: str) -> Loaded:
    """All problems of a data set.

    Args:
        data: the column map.
        place: a folder, a file, `hub`, or "" for the folder below OFFLEASH_DATA.
        version: of the task.

    Raises:
        InputError: no data there, a column is missing, or a gold that cannot be read as mathematics.
    """
    loaded = Loaded([])
    seen: dict[str, tuple[str, str]] = {}
    sides = _from_hub(data) if place == "hub" else dict(_from_files(data, place))
    for side in ("test", "train"):  # what is in both belongs to test
        for number, row in enumerate(sides.get(side, ()), start=1):
            where = f"{side} {number}"
            problem, content = _problem(data, row, side, version, where)
            if reason := _left_out(data, row, where) or _duplicate(seen, content, problem):
                loaded.left_out[where] = reason
            else:
                seen[content] = (where, problem.answer)
                loaded.problems.append(problem)
    _check_golds(data, loaded.problems)
    return loaded


def overlap(first: Sequence[Problem], second: Sequence[Problem]) -> list[tuple[Problem, Problem]]:
    """Pairs of problems, one of each, that ask the same: what is trained on must not be in what is tested on."""
    known = {canonical(problem.meta["question"]): problem for problem in first}
    return [(known[key], problem) for problem in second if (key := canonical(problem.meta["question"])) in known]


def answer_of(value: Any) -> str:
    r"""The gold in an answer column: a number, LaTeX, a list of answers, or a solution that ends in #### or \boxed{...}.

    >>> answer_of(27.0), answer_of("so 2*3\n#### 6"), answer_of(["$2$", "$3$"]), answer_of(r"it is \boxed{x^2}")
    ('27', '6', '2,3', 'x^2')
    """
    if isinstance(value, list):
        return ",".join(answer_of(part) for part in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    found = extract(text, number=False)
    return (found.answer if found.form != "none" else text).strip().strip("$").strip()


def _problem(data: DataSet, row: Row, side: str, version: str, where: str) -> tuple[Problem, str]:
    question = str(_column(data, row, data.question, where)).strip()
    answer = answer_of(_column(data, row, data.answer, where))
    content = canonical(question)
    solution = next((row[name] for name in data.solution if row.get(name)), "")
    solution = "\n\n".join(map(str, solution)) if isinstance(solution, list) else str(solution)
    return Problem(
        task=data.name,
        version=version,
        prompt=data.prompt.replace("{question}", question),
        answer=answer,
        level=_level(data, row, where),
        split="test" if side == "test" else split_of(data.name, content, SHARES),
        meta={"question": question, "solution": _in_a_box(solution, answer), "row": where},
    ), content


def _column(data: DataSet, row: Row, names: tuple[str, ...], where: str) -> Any:
    for name in names:
        if row.get(name) not in (None, "", []):
            return row[name]
    raise InputError(
        f"task {data.name}: row {where} has nothing in column {' or '.join(names)}; its columns: {', '.join(map(str, row))}"
    )


def _level(data: DataSet, row: Row, where: str) -> int:
    if not data.level:
        return data.levels[0]
    digits = re.search(r"[0-9]+", str(_column(data, row, (data.level,), where)))  # "Level 3" in MATH itself
    if not digits or int(digits[0]) not in data.levels:
        raise InputError(
            f"task {data.name}: row {where} is of level {row[data.level]!r}; levels: {', '.join(map(str, data.levels))}"
        )
    return int(digits[0])


def _in_a_box(solution: str, answer: str) -> str:
    r"""A solution as the prompt asks for it: GSM8K's calculator notes go, its #### line becomes \boxed{...}."""
    if not solution or "\\boxed" in solution:
        return solution
    text = re.sub(r"<<[^<>\n]*>>", "", solution)
    return re.sub(r"\n?####[^\n]*\s*$", "", text).rstrip() + f"\n\\boxed{{{answer}}}"


def _left_out(data: DataSet, row: Row, where: str) -> str:
    if data.leave_out and row.get(data.leave_out) not in (None, ""):
        return f"has something in column {data.leave_out}"
    return data.skip.get(where, "")


def _duplicate(seen: Mapping[str, tuple[str, str]], content: str, problem: Problem) -> str:
    if content not in seen:
        return ""
    where, answer = seen[content]
    return f"asks the same as {where}" + ("" if answer == problem.answer else f", whose answer is {answer}")


def _check_golds(data: DataSet, problems: Sequence[Problem]) -> None:
    """Integers are read here, the rest by the verifier, in workers. An unreadable gold would make every verdict a guess."""
    long = [p for p in problems if len(p.answer) > MAX_ANSWER]
    doubtful = [p for p in problems if integer(p.answer) is None and len(p.answer) <= MAX_ANSWER]
    answers = sorted({p.answer for p in doubtful})
    verdicts = shared().map("offleash.tasks.math.symbolic:readable", [[answer] for answer in answers])
    bad = {answer: verdict for answer, verdict in zip(answers, verdicts, strict=True) if verdict is not True}
    refused = long + [p for p in doubtful if p.answer in bad]
    if refused:
        first, why = refused[0], bad.get(refused[0].answer, False)
        raise InputError(
            f"task {data.name}: the gold of row {first.meta['row']}, {first.answer[:80]!r}, cannot be read as mathematics"
            + (f" ({why})" if why else "")
            + (f", nor those of {len(refused) - 1} other rows" if len(refused) > 1 else "")
            + "; correct them, or name the rows in DataSet.skip with the reason"
        )


# ------------------------------------------------------------------------------------------------------------ where from


def _from_files(data: DataSet, place: str) -> Iterator[tuple[str, list[Row]]]:
    folder = Path(place) if place else _folder(data)
    if folder.is_file():
        yield "test", _rows(folder)
        return
    found = {
        side: file
        for side in ("train", "test")
        for end in ("jsonl", "parquet")
        if (file := folder / f"{side}.{end}").is_file()
    }
    if not found:
        raise InputError(
            f"task {data.name}: {folder} has no train.jsonl, test.jsonl, train.parquet or test.parquet; {_help(data)}"
        )
    for side, file in found.items():
        yield side, _rows(file)


def _folder(data: DataSet) -> Path:
    if not os.environ.get(ENVIRONMENT):
        raise InputError(f"task {data.name}: no data is named; {_help(data)}")
    return Path(os.environ[ENVIRONMENT]) / data.folder


def _help(data: DataSet) -> str:
    hub = f", or write {data.name}:hub to fetch {data.hub[0]}" if data.hub[0] else ""
    return f"set {ENVIRONMENT} to a folder that has {data.folder or data.name}/, or name it: {data.name}:FOLDER{hub}"


def _rows(file: Path) -> list[Row]:
    if file.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(file).to_pylist()
    rows: list[Row] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except json.JSONDecodeError as error:
            raise InputError(f"{file}, line {number}: not JSON ({error.msg}); give one object a line") from error
        if row is not None and not isinstance(row, dict):
            raise InputError(
                f"{file}, line {number}: {type(row).__name__} instead of an object; give one object a line"
            )
        if row is not None:
            rows.append(row)
    return rows


def _from_hub(data: DataSet) -> dict[str, list[Row]]:
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"task {data.name}:hub: {error}; pip install 'offleash[datasets]'") from error
    repository, configuration = data.hub
    if not repository:
        raise InputError(f"task {data.name}:hub: its hub repository is not known; {_help(data)}")
    try:
        return {
            side: list(datasets.load_dataset(repository, configuration or None, split=split))
            for side, split in data.hub_splits
        }
    except Exception as error:
        raise InputError(
            f"task {data.name}:hub: {repository} cannot be fetched: {str(error)[:200]}; {_help(data)}"
        ) from error
