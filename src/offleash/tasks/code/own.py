"""Our own format of code problems, checked: every field of a line, and the lines of a file against each other.

prompt      text
tests       a list: of {input, output} (texts), or with `function` of {args (list), kwargs (object), expected (anything)}
function    the name of the function that is asked for; without it the program reads standard input
id          text or a whole number; a hash of prompt, tests and solution where there is none
solution    Python source
level       a whole number, 1 where there is none
split       pretrain, train, probe or test; a hash of the prompt where there is none
tolerance   relative, of numbers in results; 0, where there is none, is exact
"""

from __future__ import annotations

import json
import keyword
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from offleash.core import SPLITS, InputError, unknown_name
from offleash.tasks.splits import canonical

if TYPE_CHECKING:
    from offleash.tasks.code.data import Item

FIELDS = ("prompt", "tests", "function", "id", "solution", "level", "split", "tolerance")
CALL, RUN = ("args", "kwargs", "expected"), ("input", "output")
"""The fields of a test, with a function and without."""


def check(row: Mapping[str, Any]) -> None:
    """Raise an InputError that names the first field that is wrong, and the mend."""
    for field in row:
        if field not in FIELDS:
            raise unknown_name("field", field, FIELDS)
        _need(_whole(row[field]), field, "has half of a sign (a surrogate, \\ud800 to \\udfff); give whole ones")
    _need(isinstance(row.get("prompt"), str) and row["prompt"].strip(), "prompt", "give what is asked, as text")
    entry = row.get("function", "")
    name = isinstance(entry, str) and (entry == "" or (entry.isidentifier() and not keyword.iskeyword(entry)))
    _need(name, "function", f"{entry!r} is no name of a function; give one, or leave it out")
    tests = row.get("tests") or []
    _need(isinstance(tests, list), "tests", f"is a {type(tests).__name__}; give a list, [{{...}}] for one test")
    _need(tests, "tests", "has none; give a list of at least one")
    for number, test in enumerate(tests, 1):
        _check_test(number, test, entry)
    key = row.get("id", 0)
    _need(isinstance(key, str | int) and key is not True and key != "", "id", "give a text or a whole number")
    _need(isinstance(row.get("solution", ""), str), "solution", "give Python source as text")
    _check_source(row.get("solution", ""))
    level = row.get("level", 1)
    _need(
        isinstance(level, int) and not isinstance(level, bool) and level >= 0,
        "level",
        f"{level!r} is no whole number from 0",
    )
    split = row.get("split", "train")
    _need(split in SPLITS, "split", f"{split!r} is none of {', '.join(SPLITS)}")
    tolerance = row.get("tolerance", 0)
    numeric = isinstance(tolerance, int | float) and not isinstance(tolerance, bool)
    _need(numeric and 0 <= tolerance < math.inf, "tolerance", f"{tolerance!r} is no number of at least 0")


def _need(holds: object, field: str, mend: str) -> None:
    if not holds:
        raise InputError(f"{field}: {mend}")


def _check_test(number: int, test: Any, entry: str) -> None:
    where = f"tests: test {number}"
    known = CALL if entry else RUN
    kind = f"of a call of {entry}" if entry else "of a program that reads standard input (there is no `function`)"
    if not isinstance(test, dict):
        raise InputError(f"{where} is a {type(test).__name__}; give an object")
    for field in test:
        if field not in known:
            raise InputError(f"{where} {kind} has {field!r}; its fields: {', '.join(known)}")
    for field in ("expected",) if entry else RUN:
        _need(field in test, where, f"has no {field!r}; give what is {'given' if field == 'input' else 'expected'}")
    if entry:
        _need(isinstance(test.get("args", []), list), where, "args is no list; give one, [2] for f(2)")
        _need(isinstance(test.get("kwargs", {}), dict), where, 'kwargs is no object; give one, {"x": 2} for f(x=2)')
        _need(not _has_nan(test["expected"]), where, "expected has NaN, which is equal to nothing; give another result")
    else:
        _need(all(isinstance(test[field], str) for field in RUN), where, "input and output have to be texts")


def _whole(value: Any) -> bool:
    """Whether a value can be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_nan(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_nan, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and math.isnan(value)


def _check_source(source: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(source, "solution", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"solution: does not compile ({error}); give Python source, or leave it out") from None


def across(items: Sequence[tuple[int, Item]], *, whole: bool) -> list[str]:
    """What is wrong between the lines of a file, each as `line N: ...`.

    Args:
        items: problems with the numbers of their lines.
        whole: look also for the same problem on two lines, and for a prompt in two splits; otherwise for the same id alone.
    """
    wrong: list[str] = []
    keys: dict[str, int] = {}
    contents: dict[str, int] = {}
    prompts: dict[str, tuple[int, str]] = {}
    for number, item in items:
        content = repr((item.prompt, item.solution, item.tests))
        there, split = prompts.setdefault(canonical(item.prompt), (number, item.split))
        if (first := contents.setdefault(content, number)) != number and whole:
            wrong.append(f"line {number}: the same problem as on line {first}; leave one out")
        elif (first := keys.setdefault(item.key, number)) != number:
            wrong.append(f"line {number}: id: {item.key!r} is also that of line {first}; give each its own")
        elif split != item.split and whole:
            wrong.append(f"line {number}: split: the prompt is that of line {there}, which is in {split!r}; use one")
    return wrong
