"""What a study returns: statements that held or did not, with their numbers, and what its figure shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Number = float | int | bool | None


@dataclass(frozen=True)
class Statement:
    """One claim, tried.

    Attributes:
        name: kebab-case.
        claim: a sentence that can be false.
        source: whose claim it is.
        held: whether it held here; None where the settings are not those it speaks of.
        numbers: what was measured; None where it is undefined.
        fails: the region where it fails, or what it does not say.
    """

    name: str
    claim: str
    source: str
    held: bool | None
    numbers: Mapping[str, Number]
    fails: str = ""

    def to_json(self) -> dict[str, Any]:
        """In JSON's types; a number that is not finite is null."""
        numbers = {key: _plain(value) for key, value in self.numbers.items()}
        return {
            "name": self.name,
            "claim": self.claim,
            "source": self.source,
            "held": self.held,
            "numbers": numbers,
            "fails": self.fails,
        }


@dataclass(frozen=True)
class Line:
    """A series of a panel. `colour` and `dashed` tell it apart; `dots` marks points instead of joining them."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Panel:
    """One chart of lines. Ranges are those of the data unless given; `reference` are horizontal lines."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_log: bool = False
    y_log: bool = False
    y_range: tuple[float, float] | None = None
    reference: tuple[float, ...] = ()


@dataclass(frozen=True)
class Map:
    """A chart of cells: values in [0, 1], rows from bottom to top; None where nothing was measured."""

    title: str
    x_label: str
    y_label: str
    x: Sequence[float]
    y: Sequence[float]
    values: Sequence[Sequence[float | None]]
    x_log: bool = False


@dataclass(frozen=True)
class Figure:
    """Panels in rows of `columns`, under one title, with a sentence on how to read them."""

    title: str
    caption: str
    panels: tuple[Panel | Map, ...]
    columns: int = 2


@dataclass(frozen=True)
class Study:
    """The statements and the figure of one name of `offleash theory`."""

    name: str
    statements: tuple[Statement, ...]
    figure: Figure
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether every statement that was tried held."""
        return all(s.held is not False for s in self.statements)

    def to_json(self) -> dict[str, Any]:
        """In JSON's types, without the figure."""
        return {
            "theory": self.name,
            "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in self.settings.items()},
            "held": self.held,
            "statements": [s.to_json() for s in self.statements],
        }


def _plain(value: Number) -> Number:
    if value is None or isinstance(value, bool | int):
        return value
    return float(value) if math.isfinite(value) else None
