"""From files or the hub to problems: columns, splits, duplicates, and golds that can be read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from offleash.core import InputError, Problem
from offleash.tasks.isolation import shared
from offleash.tasks.math.datasets import DataSet
from offleash.tasks.math.extract import MAX_ANSWER, extract, integer
from offleash.tasks.math.numeric import judge
from offleash.tasks.math.sources import Row, named, rows
from offleash.tasks.splits import canonical, split_of

SHARES = {"pretrain": 0.10, "train": 0.80, "probe": 0.10}
"""How a data set's own training file is divided; its test file is `test`."""


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
    sides = rows(data, place)
    for side in ("test", "train"):  # what is in both belongs to test
        for number, row in enumerate(sides.get(side, ()), start=1):
            where = f"{side} {number}"
            try:
                problem, content = _problem(data, row, side, version, where)
                reason = _left_out(data, row, where) or _duplicate(seen, content, problem)
            except InputError as error:
                raise InputError(f"{error} (the rows are those of {named(data, place)})") from error
            if reason:
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
    answer = _answer(data, row, where)
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


def _answer(data: DataSet, row: Row, where: str) -> str:
    value = _column(data, row, data.answer, where)
    if not _is_gold(value):
        raise InputError(
            f"task {data.name}: the gold of row {where} is {str(value)[:80]!r}; give a number, a text, or a list of such"
        )
    return answer_of(value)


def _is_gold(value: Any) -> bool:
    """No NaN, no truth value, and no list that was written as text."""
    if isinstance(value, list):
        return all(map(_is_gold, value))
    if isinstance(value, str):
        return value.strip().casefold() != "nan" and not re.match(r"\s*\[\s*[\"']", value)
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)


def _column(data: DataSet, row: Row, names: tuple[str, ...], where: str) -> Any:
    for name in names:
        if row.get(name) not in (None, "", []):
            return row[name]
    raise InputError(
        f"task {data.name}: row {where} has nothing in column {' or '.join(names)}; its columns: {', '.join(map(str, row))}; "
        "fill it in, or name the column in the DataSet"
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
    if judge(answer, problem.answer) is False:
        raise InputError(
            f"task {problem.task}: row {problem.meta['row']} asks the same as row {where}, and its answer is "
            f"{problem.answer[:80]!r} instead of {answer[:80]!r}; correct one, or name it in DataSet.skip with the reason"
        )
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
