"""Results go to stdout: a table for people, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer

from offleash.core import OffleashError


def print_json(document: Any) -> None:
    """One JSON document on stdout. A NaN is an error in the caller: undefined is null with a reason."""
    try:
        text = json.dumps(document, indent=2, allow_nan=False)
    except ValueError as error:
        raise OffleashError(f"the result holds a number JSON cannot carry: {error}") from error
    typer.echo(text)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Left-aligned columns on stdout, two spaces apart; readable through a pipe and at any width."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    for line in (header, *rows):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
