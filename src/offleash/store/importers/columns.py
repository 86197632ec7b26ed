"""Any table of samples: JSON lines, parquet, csv or tsv, with the columns named by the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store.importers.base import Chosen, Log, Sample, Shape, number, question
from offleash.store.importers.reading import json_lines, parquet_rows, shape, table_rows

ROLES = ("id", "correct", "prompt")
_KINDS = ("lines", "parquet", "table")


class Columns:
    """A row a sample; which column is what comes from `--columns`."""

    name = "table"
    sign = "with --columns id=...,correct=...: JSON lines, parquet, csv or tsv with a row a sample"
    choices: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()

    def __init__(self, columns: Mapping[str, str]) -> None:
        unknown = sorted(set(columns) - set(ROLES))
        missing = [role for role in ("id", "correct") if not columns.get(role)]
        if unknown or missing:
            what = f"{unknown[0]!r} is not one of {', '.join(ROLES)}" if unknown else f"{missing[0]} is missing"
            raise InputError(f"--columns: {what}; give id=NAME,correct=NAME and, where there is one, prompt=NAME")
        self.columns = dict(columns)

    def fits(self, shape: Shape) -> bool:
        """Whether a file of this shape has those columns."""
        return shape.kind in _KINDS and shape.fields >= set(self.columns.values())

    def read(self, paths: Sequence[Path], chosen: Chosen) -> Log:
        """The samples of one file."""
        notes: list[str] = []
        samples = self._samples(paths[0], notes)
        return Log(paths[0].name, self.columns["correct"], samples, notes)

    def refuse(self, path: Path, found: Shape) -> InputError:
        """Why a file does not fit."""
        if found.kind not in _KINDS:
            return InputError(f"{path}: no table; --columns reads JSON lines, parquet, csv and tsv")
        missing = next(name for name in self.columns.values() if name not in found.fields)
        close = difflib.get_close_matches(missing, found.fields, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(found.fields)) or 'none'}"
        return InputError(f"--columns: {path} has no column {missing!r}; {hint}")

    def _samples(self, path: Path, notes: list[str]) -> Iterator[Sample]:
        names = self.columns
        for where, row in _rows(path, list(dict.fromkeys(names.values())), notes):
            for name in names.values():
                if name not in row:
                    raise InputError(f"{name}: missing in {where}; give every row one")
            own = row[names["id"]]
            if own is None or isinstance(own, (float, bool, list, dict)):
                raise InputError(f"{names['id']}: {own!r} in {where} is no id; give texts or whole numbers")
            asked = question(row[names["prompt"]]) if "prompt" in names else ""
            yield Sample(str(own), number(row[names["correct"]], names["correct"], where), asked)


def _rows(path: Path, columns: Sequence[str], notes: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = shape(path).kind
    if kind == "parquet":
        return parquet_rows(path, columns)
    return json_lines(path, notes) if kind == "lines" else table_rows(path, notes)
