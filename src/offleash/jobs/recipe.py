"""Recipes: YAML files whose fields are the dataclasses of the rooms they set.

A recipe is strict. A key that is not a field is an error that names the closest field; text is not turned into a number,
nor a number into text. What `load_recipe` returns is complete, and `dump` of it is a recipe of the same run.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from offleash.core import InputError
from offleash.jobs import recipe_yaml

T = TypeVar("T")
Where = tuple[str, ...]


def load_recipe(path: Path, schema: type[T], overrides: Sequence[str] = ()) -> T:
    """The settings a recipe file resolves to.

    Args:
        path: a YAML file.
        schema: a dataclass; its fields, and those of dataclasses inside, are the keys.
        overrides: changes such as "optimizer.learning_rate=3e-5"; values are YAML, later ones win.

    Raises:
        InputError: the file cannot be read, or a key or value cannot be used; names the file and the key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"recipe: no file {str(path)!r}; give the path of a YAML recipe") from error
    except IsADirectoryError as error:
        raise InputError(f"recipe: {str(path)!r} is a folder; give a YAML file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"recipe: {str(path)!r} is not a text file in UTF-8") from error
    except OSError as error:
        raise InputError(f"recipe: {str(path)!r} cannot be read: {error.strerror}") from error
    return parse_recipe(text, schema, overrides, source=str(path))


def parse_recipe(text: str, schema: type[T], overrides: Sequence[str] = (), source: str = "recipe") -> T:
    """As `load_recipe`, from text; `source` is what errors call it."""
    data = recipe_yaml.read(text, source)
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise InputError(f"{source}: holds {_kind(data)}, not keys and values")
    given = [_override(item) for item in overrides]
    for where, value in given:
        _set(data, where, value)
    blame = _Blame(source, tuple(where for where, _ in given))
    for where, known in _unknown(data, schema):
        raise InputError(f"{blame(where)}: unknown key {'.'.join(where)!r}{_closest(where[-1], known)}")
    return _resolve(data, schema, blame)


def dump(settings: Any) -> str:
    """Settings as a recipe: YAML that loads back equal, every default written out."""
    return recipe_yaml.write(_plain(settings))


class _Blame:
    """Says whether a key came from the file or from the command line."""

    def __init__(self, source: str, overridden: tuple[Where, ...]) -> None:
        self.source, self.overridden = source, overridden

    def __call__(self, where: Where) -> str:
        from_command = any(where[: len(o)] == o or o[: len(where)] == where for o in self.overridden if where)
        return "override" if from_command else self.source


def _override(item: str) -> tuple[Where, Any]:
    key, equals, text = item.partition("=")
    where = tuple(key.strip().split("."))
    if not equals or not all(where):
        raise InputError(f"override {item!r}: is not KEY=VALUE or KEY.SUB=VALUE")
    return where, recipe_yaml.read(text, f"override {item!r}")


def _set(data: dict[str, Any], where: Where, value: Any) -> None:
    for depth, key in enumerate(where[:-1]):
        inner = data.setdefault(key, {})
        if not isinstance(inner, dict):
            path, above = ".".join(where), ".".join(where[: depth + 1])
            raise InputError(f"override {path!r}: {above!r} is {_kind(inner)}, which has no keys")
        data = inner
    data[where[-1]] = value


def _unknown(data: Mapping[Any, Any], schema: Any, where: Where = ()) -> Iterator[tuple[Where, list[str]]]:
    """Keys that are no field of any dataclass that may stand there, with the fields that are."""
    options = list(_dataclasses(schema))
    fields = {
        f.name: typing.get_type_hints(option)[f.name]
        for option in options
        for f in dataclasses.fields(option)
        if f.init
    }
    for key, value in data.items():
        if key not in fields:
            yield (*where, str(key)), sorted(fields)
            continue
        for inner_where, inner in _inside(value, (*where, key)):
            if any(True for _ in _dataclasses(fields[key])):
                yield from _unknown(inner, fields[key], inner_where)


def _inside(value: Any, where: Where) -> Iterator[tuple[Where, Mapping[Any, Any]]]:
    """The mappings that stand for dataclasses: the value itself, or the members of a list."""
    if isinstance(value, dict):
        yield where, value
    elif isinstance(value, list):
        for i, member in enumerate(value):
            yield from _inside(member, (*where, str(i)))


def _dataclasses(annotation: Any) -> Iterator[type]:
    """The dataclasses in an annotation: itself, in a union, in a list or tuple. A dict's values are free-form."""
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType, list, tuple, Sequence, typing.Annotated):
        for argument in typing.get_args(annotation):
            yield from _dataclasses(argument)


def _resolve(data: dict[str, Any], schema: type[T], blame: _Blame) -> T:
    # JSON in between: in pydantic's strict mode JSON lists are tuples and JSON objects are dataclasses, yet "3" is no number.
    try:
        return TypeAdapter(schema).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = problems[0]
        where = tuple(map(str, first["loc"]))
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"{blame(where)}: {_complaint('.'.join(where), first)}{more}") from error
    except InputError as error:
        raise InputError(f"{blame.source}: {error}") from error


def _complaint(key: str, problem: Any) -> str:
    if problem["type"] == "missing":
        return f"{key}: is missing; add it"
    if problem["input"] is None:
        return f"{key}: is empty; give a value or remove the line"
    return f"{key}: is {problem['input']!r}; {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return value


def _closest(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f" (known: {', '.join(known)})"


def _kind(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is not finite"
    return {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}.get(type(value), f"{value!r}")
