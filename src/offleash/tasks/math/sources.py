"""Where a data set's rows come from: files of a folder, one file, or the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.tasks.math.datasets import DataSet

ENVIRONMENT = "OFFLEASH_DATA"
Row = Mapping[str, Any]


def rows(data: DataSet, place: str) -> dict[str, list[Row]]:
    """The rows of each side, `train` and `test`; an InputError where there are none at all."""
    sides = _from_hub(data) if place == "hub" else dict(_from_files(data, place))
    if not any(sides.values()):
        raise InputError(
            f"task {data.name}: {named(data, place)} has no rows; give it one object a line, with a question and its answer"
        )
    return sides


def named(data: DataSet, place: str) -> str:
    """The source in words, for messages."""
    return f"{data.hub[0]} on the hub" if place == "hub" else place or str(_folder(data))


def _from_files(data: DataSet, place: str) -> Iterator[tuple[str, list[Row]]]:
    folder = Path(place) if place else _folder(data)
    if folder.is_file():
        yield "test", _lines(folder)
        return
    found = {
        side: file
        for side in ("train", "test")
        for end in ("jsonl", "parquet")
        if (file := folder / f"{side}.{end}").is_file()
    }
    if not found:
        raise InputError(
            f"task {data.name}: {folder} has no train.jsonl, test.jsonl, train.parquet or test.parquet; {_help(data)}"
        )
    for side, file in found.items():
        yield side, _lines(file)


def _folder(data: DataSet) -> Path:
    if not os.environ.get(ENVIRONMENT):
        raise InputError(f"task {data.name}: no data is named; {_help(data)}")
    return Path(os.environ[ENVIRONMENT]) / data.folder


def _help(data: DataSet) -> str:
    hub = f", or write {data.name}:hub to fetch {data.hub[0]}" if data.hub[0] else ""
    return f"set {ENVIRONMENT} to a folder that has {data.folder or data.name}/, or name it: {data.name}:FOLDER{hub}"


def _lines(file: Path) -> list[Row]:
    if file.suffix == ".parquet":
        return _parquet(file)
    found: list[Row] = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); give one JSON object a line, in UTF-8") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except json.JSONDecodeError as error:
            raise InputError(f"{file}, line {number}: not JSON ({error.msg}); give one object a line") from error
        if row is not None and not isinstance(row, dict):
            raise InputError(
                f"{file}, line {number}: {type(row).__name__} instead of an object; give one object a line"
            )
        if row is not None:
            found.append(row)
    return found


def _parquet(file: Path) -> list[Row]:
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(file).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{file}: no parquet file that can be read ({reason}); fetch or write it anew") from error


def _from_hub(data: DataSet) -> dict[str, list[Row]]:
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"task {data.name}:hub: {error}; pip install 'offleash[datasets]'") from error
    repository, configuration = data.hub
    if not repository:
        raise InputError(f"task {data.name}:hub: its hub repository is not known; {_help(data)}")
    try:
        return {
            side: list(datasets.load_dataset(repository, configuration or None, split=split))
            for side, split in data.hub_splits
        }
    except Exception as error:
        raise InputError(
            f"task {data.name}:hub: {repository} cannot be fetched: {str(error)[:200]}; {_help(data)}"
        ) from error
