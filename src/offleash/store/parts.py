"""Parquet parts: files that are written once, whole, and never changed.

    NAME.tmp -> fsync -> rename -> fsync of the folder

Parts of one store are numbered in the order they were written, over all its tables, so of two rows with one key the later
is known, and so is a verdict that is older than the sample it should judge.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store.files import atomic_write

_NAME = re.compile(r"part-(\d+).*\.parquet")
_MAGIC = b"PAR1"
# Bytes of the smallest thing that can be a parquet file: two magic words and the length of the footer.
_SMALLEST = 12


@dataclass(frozen=True)
class BadPart:
    """A part that cannot be read."""

    path: Path
    why: str


def files(folder: Path) -> list[Path]:
    """The parts of a folder in the order they were written; whatever is no finished parquet file is not looked at."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(".parquet")]
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names, key=lambda name: (number(name), name))]


def number(name: str) -> int:
    """The number in a part's name; 0 where it has none."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else 0


def next_number(folders: list[Path]) -> int:
    """One more than the highest number in use."""
    return 1 + max((number(path.name) for folder in folders for path in files(folder)), default=0)


def write(folder: Path, name: str, table: Any) -> Path:
    """Write a pyarrow table as the part `name` (without suffix) of a folder, durably.

    Raises:
        OffleashError: the disk is full or not writable; all other parts are intact.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    keys = [f.name for f in table.schema if f.type == pa.string()]
    pq.write_table(table, sink, compression="zstd", use_dictionary=keys, write_page_checksum=True)
    path = folder / f"{name}.parquet"
    atomic_write(path, sink.getvalue().to_pybytes())
    return path


def wrong(path: Path, columns: tuple[str, ...], *, deep: bool = False) -> str:
    """What is wrong with a part, or "" where it is whole.

    Args:
        path: the file.
        columns: the columns it must have.
        deep: also decode everything and compare the checksums of its pages.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
            file.seek(-min(size, len(_MAGIC)), os.SEEK_END)
            tail = file.read()
        if size < _SMALLEST or head != _MAGIC or tail != _MAGIC:
            return f"truncated or not a parquet file ({size} bytes)"
        with pq.ParquetFile(path, page_checksum_verification=deep) as part:
            missing = sorted(set(columns) - set(part.schema_arrow.names))
            if missing:
                return f"lacks the column {missing[0]!r}"
            if deep:
                part.read()
    except (OSError, pa.ArrowException) as error:
        return str(error).splitlines()[0]
    return ""


class Shelf:
    """The parts of one folder, each checked once for as long as it does not change."""

    def __init__(self, folder: Path, columns: tuple[str, ...], mend: str) -> None:
        self.folder, self.columns, self.mend = folder, columns, mend
        self._seen: dict[Path, tuple[tuple[int, int], str]] = {}

    def whole(self, *, skip_bad: bool) -> list[Path]:
        """The parts that can be read, in order.

        Raises:
            InputError: a part cannot be read and `skip_bad` is false; names the file and the mend.
        """
        good = []
        for path in files(self.folder):
            why = self._wrong(path)
            if why and not skip_bad:
                raise self.error(BadPart(path, why))
            if not why:
                good.append(path)
        return good

    def bad(self, *, deep: bool = False) -> list[BadPart]:
        """The parts that cannot be read."""
        found = [
            (path, wrong(path, self.columns, deep=True) if deep else self._wrong(path)) for path in files(self.folder)
        ]
        return [BadPart(path, why) for path, why in found if why]

    def error(self, part: BadPart) -> InputError:
        """The error that names a bad part and the mend."""
        return InputError(f"{part.path}: {part.why}; delete this file, then {self.mend}")

    def _wrong(self, path: Path) -> str:
        try:
            stat = path.stat()
        except OSError as error:
            return error.strerror or str(error)
        stamp = (stat.st_size, stat.st_mtime_ns)
        if path not in self._seen or self._seen[path][0] != stamp:
            self._seen[path] = (stamp, wrong(path, self.columns))
        return self._seen[path][1]
