"""Parts of objectives by name: advantages, credits, surrogates, regularizers. One decorator adds one; so does `my.mod:fn`."""

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

State = dict[str, Any]
"""What a part remembers from step to step, in JSON's types: it is stored in checkpoints."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Part:
    """One function of the algebra.

    Attributes:
        name: kebab-case, or a dotted path.
        function: takes a GroupBatch (advantage) or a TokenBatch (the others), and keyword settings.
        defaults: the keyword settings with their defaults.
        needs: fields of the batch that must be there.
        group_baseline: an advantage that compares the members of a group, so a group of one is an error.
        least_group: an advantage's smallest group under given settings, where it is larger than that.
        external: a surrogate with a rule of its own for demonstration rows.
        scales_with_advantage: a surrogate whose gradient is 0 at tokens of advantage 0, so that such rows can be
            skipped.
        select: for a surrogate that reads `batch.selected`: fn(batch, key, *, settings) -> selected_NT.
        select_defaults: its keyword settings with their defaults.
        prepare: for an advantage or regularizer that remembers: fn(batch, state, *, settings) -> (found, next state),
            where `found` goes into the batch as stats (tensors) or controls (numbers).
        prepare_defaults: its keyword settings with their defaults.
    """

    name: str
    function: Callable[..., Any]
    defaults: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    group_baseline: bool = False
    least_group: Callable[[Mapping[str, Any]], int] | None = None
    external: bool = False
    scales_with_advantage: bool = False
    select: Callable[..., Tensor] | None = None
    select_defaults: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[..., tuple[Mapping[str, Any], State]] | None = None
    prepare_defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """All keyword settings with their defaults."""
        return {**self.prepare_defaults, **self.select_defaults, **self.defaults}


ADVANTAGES: dict[str, Part] = {}
CREDITS: dict[str, Part] = {}
SURROGATES: dict[str, Part] = {}
REGULARIZERS: dict[str, Part] = {}
_TABLES = {"advantage": ADVANTAGES, "credit": CREDITS, "surrogate": SURROGATES, "regularizer": REGULARIZERS}


def advantage(
    name: str,
    *,
    needs: tuple[str, ...] = (),
    group_baseline: bool = False,
    least_group: Callable[[Mapping[str, Any]], int] | None = None,
    prepare: Callable[..., tuple[Mapping[str, Any], State]] | None = None,
) -> Callable[[F], F]:
    """Register `fn(group: GroupBatch, *, ...) -> adv_PG`, or adv_PGS with one number a step. The keywords are Part's."""
    facts: dict[str, Any] = {"needs": needs, "group_baseline": group_baseline, "least_group": least_group}
    return _register("advantage", name, **facts, **_preparing(name, prepare))


def credit(name: str, *, needs: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Register `fn(batch: TokenBatch, *, ...) -> adv_NT`: how a completion's advantage is spread over its tokens."""
    return _register("credit", name, needs=needs)


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


def regularizer(
    name: str,
    *,
    needs: tuple[str, ...] = (),
    prepare: Callable[..., tuple[Mapping[str, Any], State]] | None = None,
) -> Callable[[F], F]:
    """Register `fn(batch: TokenBatch, *, ...) -> (penalty_NT, diagnostics)`; it is added times a coefficient."""
    return _register("regularizer", name, needs=needs, **_preparing(name, prepare))


def _preparing(name: str, prepare: Callable[..., Any] | None) -> dict[str, Any]:
    return {} if prepare is None else {"prepare": prepare, "prepare_defaults": _settings(name, prepare, 2)}


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
    for other, rest in _TABLES.items():
        if any(part.function is target for part in rest.values()):
            raise InputError(f"{kind} {name!r}: is registered as {other}; name it there")
    if not callable(target):
        raise InputError(f"{kind} {name!r}: is a {type(target).__name__}; give a function")
    # Without the decorator nothing is declared; nearly every surrogate reads the old log-probs.
    return _part(name, target, needs=("old_logprobs",) if kind == "surrogate" else ())


def import_path(path: str) -> Any:
    """The object at `package.module:name`."""
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{path!r}: cannot import {module_name or 'a module without a name'} ({error}); give package.module:name, and is "
            "it installed or on PYTHONPATH?"
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
