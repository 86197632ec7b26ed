"""Parts of objectives by name: advantages, surrogates, regularizers. One decorator adds one; so does `my.mod:fn`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from torch import Tensor

from offleash.core.errors import InputError, unknown_name

PerToken = tuple[Tensor, dict[str, Tensor]]
"""A per-token loss (N x T, not reduced) and per-token diagnostics (N x T each, without gradient)."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Part:
    """One function of the algebra.

    Attributes:
        name: kebab-case, or a dotted path.
        function: takes a GroupBatch (advantage) or a TokenBatch (surrogate, regularizer), and keyword settings.
        defaults: the keyword settings with their defaults.
        needs: TokenBatch fields that must be there.
        group_baseline: an advantage that compares the members of a group, so a group of one is an error.
        external: a surrogate with a rule of its own for demonstration rows.
        scales_with_advantage: a surrogate whose gradient is 0 at tokens of advantage 0, so that such rows can be
            skipped.
        select: for a surrogate that reads `batch.selected`: fn(batch, key, *, settings) -> selected_NT.
        select_defaults: its keyword settings with their defaults.
    """

    name: str
    function: Callable[..., Any]
    defaults: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    group_baseline: bool = False
    external: bool = False
    scales_with_advantage: bool = False
    select: Callable[..., Tensor] | None = None
    select_defaults: Mapping[str, Any] = field(default_factory=dict)


ADVANTAGES: dict[str, Part] = {}
SURROGATES: dict[str, Part] = {}
REGULARIZERS: dict[str, Part] = {}
_TABLES = {"advantage": ADVANTAGES, "surrogate": SURROGATES, "regularizer": REGULARIZERS}


def advantage(name: str, *, group_baseline: bool = False) -> Callable[[F], F]:
    """Register `fn(group: GroupBatch, *, ...) -> adv_PG`."""
    return _register("advantage", name, group_baseline=group_baseline)


def surrogate(
    name: str,
    *,
    needs: tuple[str, ...] = (),
    external: bool = False,
    scales_with_advantage: bool = False,
    select: Callable[..., Tensor] | None = None,
) -> Callable[[F], F]:
    """Register `fn(batch: TokenBatch, *, ...) -> (loss_NT, diagnostics)`. The keywords are those of Part."""
    facts: dict[str, Any] = {"needs": needs, "external": external, "scales_with_advantage": scales_with_advantage}
    if select is not None:
        facts |= {"select": select, "select_defaults": _settings(name, select, 2)}
    return _register("surrogate", name, **facts)


def regularizer(name: str, *, needs: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Register `fn(batch: TokenBatch, *, ...) -> (penalty_NT, diagnostics)`; it is added times a coefficient."""
    return _register("regularizer", name, needs=needs)


def find(kind: str, name: str) -> Part:
    """The part called `name`: a registered one, or a function at a dotted path `package.module:function`."""
    table = _TABLES[kind]
    if name in table:
        return table[name]
    if ":" not in name:
        raise unknown_name(kind, name, table)
    target = import_path(name)
    for part in table.values():
        if part.function is target:
            return part
    if not callable(target):
        raise InputError(f"{kind} {name!r}: is a {type(target).__name__}; give a function")
    # Without the decorator nothing is declared; nearly every surrogate reads the old log-probs.
    return _part(name, target, needs=("old_logprobs",) if kind == "surrogate" else ())


def import_path(path: str) -> Any:
    """The object at `package.module:name`."""
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"{path!r}: cannot import {module_name} ({error}); is it installed or on PYTHONPATH?"
        ) from error
    if not hasattr(module, attribute):
        names = [n for n in vars(module) if not n.startswith("_")]
        raise unknown_name(f"name in {module_name}", attribute, names)
    return getattr(module, attribute)


def _register(kind: str, name: str, **facts: Any) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        if name in _TABLES[kind]:
            raise InputError(f"{kind} {name!r}: is already registered; choose another name")
        _TABLES[kind][name] = _part(name, function, **facts)
        return function

    return decorate


def _part(name: str, function: Callable[..., Any], **facts: Any) -> Part:
    return Part(name, function, _settings(name, function, 1), **facts)


def _settings(name: str, function: Callable[..., Any], inputs: int) -> Mapping[str, Any]:
    """The keyword settings of a function, which come after its inputs."""
    parameters = list(inspect.signature(function).parameters.values())[inputs:]
    for p in parameters:
        if p.kind is not inspect.Parameter.KEYWORD_ONLY or p.default is inspect.Parameter.empty:
            raise InputError(f"{name}: setting {p.name!r} must be keyword-only and have a default")
    return MappingProxyType({p.name: p.default for p in parameters})
