"""YAML as recipes use it: YAML 1.2 scalars, no key twice, no object construction.

PyYAML follows YAML 1.1, where `1e-4` is text, `no` is false, `1:30` is 90 and the second of two equal keys wins. A learning
rate that silently is text, or a key that silently is not read, is a run that is not the recipe.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from offleash.core import InputError

# The core schema of YAML 1.2.2, section 10.3.2; the letters are what a scalar of the kind can begin with.
_SCALARS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
)


_BREAKS = re.compile("[\x85\u2028\u2029]")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own class attribute; filled below

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key in seen:
                what = "a key that is not a name" if not isinstance(key, Hashable) else f"key {key!r} twice"
                raise yaml.constructor.ConstructorError(None, None, f"{what}; keep one", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(node.value)  # `010` is ten in YAML 1.2, eight in 1.1


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # as above; a text that reads as a number is quoted

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        # Unicode's own line breaks survive in double quotes only.
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if _BREAKS.search(data) else None)


for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first])
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_decimal)
_Dumper.add_representer(str, _Dumper.represent_text)


def read(text: str, source: str) -> Any:
    """The plain value of a YAML text.

    Args:
        text: the document.
        source: what to call it in an error.

    Raises:
        InputError: with the line and column of a mistake.

    >>> read("learning_rate: 1e-4", "recipe")
    {'learning_rate': 0.0001}
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: builds plain values only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{source}{where}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{source}: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"{source}: is nested too deeply") from error


def write(value: Any) -> str:
    """YAML text that `read` turns back into an equal value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
