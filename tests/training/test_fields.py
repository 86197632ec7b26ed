"""The table of a recipe's fields in docs/training.md is what settings.py says. Written by: python tests/training/test_fields.py"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offleash.training import settings
from offleash.training.settings import TrainSettings

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
BEGIN, END = "<!-- fields: begin -->\n", "<!-- fields: end -->\n"


def meanings() -> dict[tuple[str, str], str]:
    """What the text below each field says, on one line."""
    found = {}
    for node in ast.parse(inspect.getsource(settings)).body:
        body = node.body if isinstance(node, ast.ClassDef) else []
        for one, two in itertools.pairwise(body):
            if isinstance(one, ast.AnnAssign) and isinstance(two, ast.Expr) and isinstance(two.value, ast.Constant):
                assert isinstance(node, ast.ClassDef)
                assert isinstance(one.target, ast.Name)
                found[node.name, one.target.id] = " ".join(str(two.value.value).split())
    return found


def default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return "required"
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return f"`{value or json.dumps(value)}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def rows(schema: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    said, hints = meanings(), typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        hint, name, text = hints[field.name], prefix + field.name, said.get((schema.__name__, field.name), "")
        many = [a for a in typing.get_args(hint) if dataclasses.is_dataclass(a)]
        inner = many[0] if many else hint
        if not dataclasses.is_dataclass(inner):
            yield f"`{name}`", default(field), text
            continue
        yield f"`{name}`", "`[]`, a list" if many else "", f"{inspect.getdoc(inner)} {text}".strip()
        yield from rows(typing.cast(type, inner), f"{name}[]." if many else f"{name}.")


def table() -> str:
    lines = ["| field | default | what it is |", "|---|---|---|"]
    for row in rows(TrainSettings):
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines) + "\n"


def test_every_field_says_what_it_is() -> None:
    assert [name for name, _, text in rows(TrainSettings) if not text] == []


def test_the_table_is_what_the_settings_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.split(BEGIN)[1].split(END)[0] == table(), "run: python tests/training/test_fields.py"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")
