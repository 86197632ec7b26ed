"""Counts: how often each problem was solved (c) in how many decided samples (n). The one input of every measurement."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from offleash.core import InputError

Ints = NDArray[np.int64]
Numbers: TypeAlias = int | float | np.number[Any] | Sequence[int] | Sequence[float] | NDArray[Any]
_FIELDS = ("id", "c", "n")


@dataclass(frozen=True, eq=False)
class Counts:
    """P problems with c_P correct of n_P decided samples.

    Attributes:
        ids: P distinct problem ids.
        c: (P,) int64, 0 <= c <= n; read-only.
        n: (P,) int64; read-only. n = 0 is allowed and means "no decided sample".

    Raises:
        InputError: empty, lengths that differ, a number that is no integer, a negative, c > n, or an id twice; the
            message names the problem and the field.
    """

    ids: tuple[str, ...]
    c: Ints
    n: Ints

    def __post_init__(self) -> None:
        ids = tuple(str(i) for i in self.ids)
        c, n = _integers(self.c, "c", ids), _integers(self.n, "n", ids)
        if not ids:
            raise InputError("counts: there is no problem in them; give at least one {id, c, n}")
        if not len(ids) == len(c) == len(n):
            raise InputError(f"counts: {len(ids)} ids, {len(c)} c and {len(n)} n; give one c and one n for each id")
        for name, values in (("c", c), ("n", n)):
            if (values < 0).any():
                at = int(np.argmax(values < 0))
                raise InputError(f"{name}: problem {ids[at]!r} has {name}={values[at]}; counts cannot be negative")
        if (c > n).any():
            at = int(np.argmax(c > n))
            raise InputError(f"c: problem {ids[at]!r} has c={c[at]} correct of n={n[at]} samples; c must be at most n")
        if len(set(ids)) < len(ids):
            seen: set[str] = set()
            twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise InputError(f"id: problem {twice!r} occurs more than once; merge its counts or give it one line")
        c.setflags(write=False)
        n.setflags(write=False)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "c", c)
        object.__setattr__(self, "n", n)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_rows(cls, rows: Iterable[Any]) -> Counts:
        """Counts from rows that have `id`, `c`, `n` as attributes or keys, or are (id, c, n) tuples; extras are ignored."""
        triples = [_triple(row, f"row {i}") for i, row in enumerate(rows, start=1)]
        return cls(tuple(t[0] for t in triples), _column(triples, 1), _column(triples, 2))

    def take(self, index: NDArray[Any]) -> Counts:
        """The problems at these positions (or where this (P,) mask is true), in that order."""
        at = np.arange(len(self))[np.asarray(index)]
        return Counts(tuple(self.ids[i] for i in at), self.c[at].copy(), self.n[at].copy())

    def sorted(self) -> Counts:
        """The same problems ordered by id: results then do not depend on the order of a file."""
        return self.take(np.asarray(sorted(range(len(self)), key=self.ids.__getitem__), dtype=np.int64))

    def at_least(self, n: int) -> Counts:
        """Only the problems with at least n decided samples (a smaller population: say so where you report it)."""
        keep = self.n >= n
        if not keep.any():
            raise InputError(f"n: no problem has {n} samples (the most is {self.n.max()}); ask for fewer")
        return self.take(keep)


@dataclass(frozen=True)
class Joined:
    """Two Counts over the same problems in the same (sorted) order, and the ids only one side had."""

    a: Counts
    b: Counts
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def join(a: Counts, b: Counts) -> Joined:
    """Keep the problems both sides have, sorted by id; the rest is reported in `only_a`, `only_b`.

    Raises:
        InputError: the two have no problem in common.
    """
    for side in (a, b):
        if not isinstance(side, Counts):
            raise InputError(f"counts: {side!r} is no Counts; read a file with boundary.load_counts(path)")
    in_a, in_b = set(a.ids), set(b.ids)
    common = sorted(in_a & in_b)
    if not common:
        raise InputError(
            f"id: the two sides share no problem (a has {a.ids[0]!r}, ..., b has {b.ids[0]!r}, ...); "
            "measure both on the same problems"
        )
    at_a = {name: i for i, name in enumerate(a.ids)}
    at_b = {name: i for i, name in enumerate(b.ids)}
    return Joined(
        a.take(np.array([at_a[i] for i in common])),
        b.take(np.array([at_b[i] for i in common])),
        tuple(sorted(in_a - in_b)),
        tuple(sorted(in_b - in_a)),
    )


def load_counts(path: str | Path) -> Counts:
    """Read JSON lines {"id": ..., "c": ..., "n": ...}, one problem a line; blank lines and other keys are ignored.

    Raises:
        InputError: no such file, a line that is no JSON object, or a missing or bad field (file, line and field named).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a file of JSON lines with id, c, n")
    triples = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
            if line.strip():
                triples.append(_triple(_parse(line, f"{path}:{number}"), f"{path}:{number}"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); give JSON lines") from error
    if not triples:
        raise InputError(f"{path}: it has no lines; give one {{id, c, n}} for each problem")
    return Counts(tuple(t[0] for t in triples), _column(triples, 1), _column(triples, 2))


def _parse(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error.msg} at column {error.colno}); write {{id, c, n}}") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: a JSON {type(row).__name__}, not an object; write {{id, c, n}}")
    return row


def _triple(row: Any, where: str) -> tuple[str, int, int]:
    if isinstance(row, tuple) and not hasattr(row, "id"):
        if len(row) != 3:
            raise InputError(f"{where}: {len(row)} values; give (id, c, n)")
        row = dict(zip(_FIELDS, row, strict=True))
    if isinstance(row, Mapping):
        for field in _FIELDS:
            if field not in row:
                close = difflib.get_close_matches(field, [str(key) for key in row], n=1, cutoff=0.1)
                hint = f" (did you mean the key {close[0]!r}?)" if close else ""
                raise InputError(f"{field}: missing in {where}{hint}; write {{id, c, n}}")
        values = [row[field] for field in _FIELDS]
    else:
        values = [getattr(row, field, None) for field in _FIELDS]
    name = values[0]
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise InputError(f"id: {name!r} in {where} is neither text nor an integer; give each problem an id")
    return str(name), _whole(values[1], "c", str(name)), _whole(values[2], "n", str(name))


def _whole(value: Any, field: str, name: str) -> int:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        if abs(int(value)) < 2**53:
            return int(value)
    elif isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    raise InputError(f"{field}: problem {name!r} has {field}={value!r}; give a whole number of samples")


def _column(triples: list[tuple[str, int, int]], field: int) -> Ints:
    return np.array([t[field] for t in triples], dtype=np.int64)


def _integers(values: NDArray[Any], field: str, ids: tuple[str, ...]) -> Ints:
    raw = np.asarray(values)
    if raw.ndim != 1:
        raise InputError(f"{field}: an array of shape {raw.shape}; give one number for each problem")
    if raw.dtype.kind in "iu":
        return raw.astype(np.int64)
    if raw.dtype.kind == "f":
        odd = ~np.isfinite(raw) | (raw != np.floor(raw))
        if not odd.any():
            return raw.astype(np.int64)
        at = int(np.argmax(odd))
        name = ids[at] if at < len(ids) else str(at)
        raise InputError(f"{field}: problem {name!r} has {field}={raw[at]}; give a whole number of samples")
    if raw.size == 0:
        return np.zeros(0, dtype=np.int64)
    raise InputError(f"{field}: values of type {raw.dtype}; give whole numbers of samples")
