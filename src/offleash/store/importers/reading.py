"""Files of other tools: what kind they are, their rows, and the files of a folder."""

from __future__ import annotations

import csv
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store.importers.base import Chosen, Shape

# Folders below the one given: a run's folder, `details/MODEL/DATE`.
_DEPTH = 5
_HEAD = 1 << 16


def shape(path: Path) -> Shape:
    """The kind of a file and its keys: of the first line, the parquet columns, or the members of an archive.

    Raises:
        InputError: it cannot be read, or is a parquet file or an archive without its end.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(0)
            if head == b"PAR1":
                return Shape("parquet", frozenset(_parquet(path).schema_arrow.names))
            if head[:2] == b"PK":
                return _archive(path)
            if path.suffix in (".csv", ".tsv"):
                return Shape("table", frozenset(_header(path)))
            if path.suffix == ".json":
                return Shape("json", _top_keys(file.read(_HEAD).decode(errors="replace")))
            line = next((line for line in file if line.strip()), b"")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); give another file") from error
    if not line:
        return Shape("empty", frozenset())
    row = _parse(line)
    return Shape("lines", frozenset(row)) if isinstance(row, dict) else Shape("unknown", frozenset())


def _top_keys(text: str) -> frozenset[str]:
    """The keys of an indented JSON document, from its beginning: it is not read whole to recognise it."""
    return frozenset(re.findall(r'^ {2}"(\w+)":', text, re.MULTILINE))


def _archive(path: Path) -> Shape:
    try:
        with zipfile.ZipFile(path) as archive:
            return Shape("archive", frozenset(archive.namelist()))
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: an archive without its end ({error}); copy it again, whole") from error


def _parse(line: bytes) -> Any:
    """The JSON value in a line; None where there is none."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def json_lines(path: Path, notes: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file, each with its place; a last line that breaks off is left out and noted.

    Raises:
        InputError: another line is no JSON object.
    """
    broken = 0
    with path.open("rb") as file:
        for at, line in enumerate(file, start=1):
            if not line.strip():
                continue
            if broken:
                raise InputError(f"{path}:{broken}: not a JSON object; mend or remove that line")
            row = _parse(line)
            if isinstance(row, dict):
                yield f"{path}:{at}", row
            else:
                broken = at
    if broken:
        notes.append(f"{path.name}:{broken}: the last line breaks off and is left out (was the run stopped?)")


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"{path}: not a whole parquet file ({why}); copy it again, whole") from error


def parquet_numbers(path: Path) -> list[str]:
    """The columns of a parquet file that hold numbers or truth values, in their order."""
    import pyarrow.types as kinds

    tests: tuple[Callable[[Any], bool], ...] = (kinds.is_integer, kinds.is_floating, kinds.is_boolean)
    return [field.name for field in _parquet(path).schema_arrow if any(test(field.type) for test in tests)]


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a parquet file with these columns (a dot reaches into a struct), each with its place.

    Raises:
        InputError: the file cannot be read.
    """
    import pyarrow as pa

    at = 0
    with _parquet(path) as file:
        try:
            for batch in file.iter_batches(columns=list(columns), batch_size=256):
                for row in batch.to_pylist():
                    at += 1
                    yield f"{path}, row {at}", row
        except (OSError, pa.ArrowException) as error:
            why = str(error).splitlines()[0]
            raise InputError(f"{path}: cannot be read after row {at} ({why}); copy it again, whole") from error


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        return next(csv.reader(file, delimiter=_delimiter(path)), [])


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix == ".tsv" else ","


def table_rows(path: Path, notes: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a csv or tsv file; a row with too few fields is left out and noted."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=_delimiter(path), strict=True)
            for row in reader:
                if None in row.values():
                    notes.append(f"{path.name}:{reader.line_num}: too few fields; the row is left out")
                else:
                    yield f"{path}:{reader.line_num}", row
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path}: not a table ({error}); mend it") from error


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files with these suffixes in a folder and the folders below it, without hidden ones, sorted."""
    ends = tuple(suffixes)
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < _DEPTH else []
        found += [Path(place, name) for name in sorted(names) if name.endswith(ends) and not name.startswith(".")]
    return found


@dataclass(frozen=True)
class Entry:
    """A file among several: whose results it holds, of which task, and when they were made (later ones sort last)."""

    path: Path
    model: str
    task: str
    when: Any
    shown: str


def pick(entries: Sequence[Entry], chosen: Chosen, when: str, notes: list[str]) -> list[Entry]:
    """One file for each task: the chosen or the last one.

    Args:
        entries: all there are.
        chosen: may choose a `model`, a `task`, and by the name `when` a time.
        when: what the times are called, e.g. "step" or "date".
        notes: told which time was taken where there were several.

    Raises:
        InputError: results of several models, or a choice that does not exist.
    """
    model = chosen.one_of("model", (entry.model for entry in entries))
    entries = [entry for entry in entries if entry.model == model]
    if "task" in chosen:
        task = chosen.one_of("task", (entry.task for entry in entries))
        entries = [entry for entry in entries if entry.task == task]
    if when in chosen:
        shown = chosen.one_of(when, (e.shown for e in sorted(entries, key=lambda e: e.when)))
        return [entry for entry in entries if entry.shown == shown]
    last: dict[str, Entry] = {}
    for entry in entries:
        if entry.task not in last or entry.when >= last[entry.task].when:
            last[entry.task] = entry
    taken = [entry for entry in entries if entry.when == last[entry.task].when]
    if len(taken) < len(entries):
        shown = ", ".join(dict.fromkeys(entry.shown for entry in taken))
        others = len({entry.shown for entry in entries} - {entry.shown for entry in taken})
        notes.append(f"{when} {shown}, the last; {others} earlier left out (#{when}=... chooses)")
    return taken
