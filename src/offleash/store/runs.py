"""A run folder: what one training run was asked to do, what happened, and its checkpoints.

    run.json  recipe.yaml  metrics.jsonl  timings.jsonl  events.jsonl  checkpoints/step_N/  samples/  verdicts/
    report.html  report.json  summary.json

metrics.jsonl is a function of the recipe; what differs from machine to machine is in timings.jsonl.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store import parts, schema
from offleash.store.checkpoints import all_complete, latest
from offleash.store.files import TMP, atomic_write, disk_error, make_folder, read_json, sync_folder, to_json, write_all
from offleash.store.schema import SampleRow, VerdictRow

MARK = "run.json"
RECIPE = "recipe.yaml"
LOGS = ("metrics", "timings", "events")
_PART = re.compile(r"step_(\d+)\b.*\.parquet")


class RunFolder:
    """See the module. Open one with `RunFolder.create` or `RunFolder.open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checked: set[str] = set()

    @classmethod
    def create(cls, path: str | Path, recipe_yaml: str, info: Mapping[str, Any]) -> RunFolder:
        """A new run in a new or empty folder.

        Raises:
            InputError: the folder holds another run or anything else.
        """
        path = Path(path)
        make_folder(path)
        found = {entry.name for entry in path.iterdir()}
        if MARK in found:
            raise InputError(f"{path}: holds another run; choose another folder, or go on with it by --resume")
        # run.json appears last. Its unfinished name is the first thing written, so a creation that was killed is known.
        begun = MARK + ".begun"
        if begun in found:
            found -= {begun, MARK + TMP, RECIPE, RECIPE + TMP}
        else:
            found -= {begun + TMP}
        if found:
            raise InputError(f"{path}: holds something else ({min(found)}); choose a new or empty folder")
        atomic_write(path / begun, b"")
        atomic_write(path / RECIPE, recipe_yaml.encode())
        atomic_write(path / MARK, (to_json({"schema": schema.VERSION, "info": info}, indent=1) + "\n").encode())
        (path / begun).unlink()
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run.

        Raises:
            InputError: no run there, or one of a newer offleash.
        """
        path = Path(path)
        if not (path / MARK).is_file():
            what = "holds no run" if path.exists() else "no such folder"
            raise InputError(f"{path}: {what} ({MARK} is missing); give the folder that `offleash train` wrote")
        version = read_json(path / MARK, "start the run again in another folder").get("schema")
        if version != schema.VERSION:
            raise InputError(
                f"{path}: a run of schema {version}, this offleash reads {schema.VERSION}; update offleash"
            )
        return cls(path)

    def info(self) -> dict[str, Any]:
        """What `create` was given."""
        return dict(read_json(self.path / MARK, "start the run again in another folder")["info"])

    def recipe_text(self) -> str:
        """The resolved recipe."""
        return (self.path / RECIPE).read_text(encoding="utf-8")

    # ------------------------------------------------------------------------------------------------ logs

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl; NaN and infinities become null."""
        self._append("metrics", row)

    def append_timings(self, row: Mapping[str, Any]) -> None:
        """Add a line to timings.jsonl."""
        self._append("timings", row)

    def append_event(self, row: Mapping[str, Any]) -> None:
        """Add a line to events.jsonl."""
        self._append("events", row)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a truncated last line is left out (`truncated` counts them)."""
        return self._read("metrics")[0]

    def timings(self) -> list[dict[str, Any]]:
        """The lines of timings.jsonl; a truncated last line is left out."""
        return self._read("timings")[0]

    def events(self) -> list[dict[str, Any]]:
        """The lines of events.jsonl; a truncated last line is left out."""
        return self._read("events")[0]

    def truncated(self) -> dict[str, int]:
        """The number of truncated last lines (0 or 1) of each log."""
        return {name: self._read(name)[1] for name in LOGS}

    def truncate_after(self, step: int) -> None:
        """Drop every logged line and every samples and verdicts part past `step`; lines without a step stay."""
        for name in LOGS:
            rows, broken = self._read(name)
            kept = [row for row in rows if row.get("step") is None or row["step"] <= step]
            if broken or len(kept) < len(rows):
                atomic_write(self._log(name), "".join(to_json(row) + "\n" for row in kept).encode())
            self._checked.discard(name)
        for folder in (self.path / "samples", self.path / "verdicts"):
            past = [part for part in parts.files(folder) if _step_of(part) > step]
            for part in past:
                part.unlink()
            if past:
                sync_folder(folder)

    def _log(self, name: str) -> Path:
        return self.path / f"{name}.jsonl"

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        path = self._log(name)
        line = (to_json(row) + "\n").encode()
        try:
            if name not in self._checked:
                _end_with_newline(path)
                self._checked.add(name)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                write_all(handle, line)
            finally:
                os.close(handle)
        except OSError as error:
            self._checked.discard(name)
            raise disk_error(path, error) from error

    def _read(self, name: str) -> tuple[list[dict[str, Any]], int]:
        """The rows of a log, and 1 where its last line is truncated."""
        path = self._log(name)
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        rows: list[dict[str, Any]] = []
        for position, line in enumerate(lines):
            row = _row(line)
            if row is not None:
                rows.append(row)
            elif position == len(lines) - 1 and line:
                return rows, 1
            elif line:
                raise InputError(f"{path}:{position + 1}: not a JSON object; delete this line")
        return rows, 0

    # ------------------------------------------------------------------------------------------------ files

    def checkpoint_dir(self, step: int) -> Path:
        """Where the checkpoint of this step lies or will lie."""
        return self.path / "checkpoints" / f"step_{step}"

    def checkpoints(self) -> list[Path]:
        """The complete checkpoints, the newest first."""
        return all_complete(self.path / "checkpoints")

    def latest_checkpoint(self) -> Path | None:
        """The complete checkpoint of the highest step; None where there is none."""
        return latest(self.path / "checkpoints")

    def write_json(self, name: str, content: Any) -> Path:
        """Write a JSON file into the folder, whole or not at all; returns its path."""
        if Path(name).name != name or not name.endswith(".json") or name == MARK:
            raise InputError(f"name: {name!r} is not a plain file name that ends in .json, other than {MARK}")
        path = self.path / name
        atomic_write(path, (to_json(content, indent=1) + "\n").encode())
        return path

    def add_samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Write the completions of a step as one part; replaces what the step wrote before."""
        self._add("samples", step, schema.row_table("samples", rows))

    def add_verdicts(self, step: int, rows: Sequence[VerdictRow]) -> None:
        """Write the verdicts of a step as one part; replaces what the step wrote before."""
        self._add("verdicts", step, schema.row_table("verdicts", rows))

    def samples(self) -> Any:
        """The completions of all steps, as a pyarrow table."""
        return self._table("samples")

    def verdicts(self) -> Any:
        """The verdicts of all steps, as a pyarrow table."""
        return self._table("verdicts")

    def _add(self, table: str, step: int, content: Any) -> None:
        folder = self.path / table
        make_folder(folder)
        parts.write(folder, f"step_{step:08d}", content)

    def _table(self, table: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        shelf = parts.Shelf(self.path / table, tuple(schema.TABLES[table]), "resume the run from an earlier checkpoint")
        found = [pq.ParquetFile(path).read() for path in shelf.whole(skip_bad=False)]
        return pa.concat_tables(found) if found else schema.arrow_schema(table).empty_table()


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _end_with_newline(path: Path) -> None:
    """Repair the end of a log that a killed process left: a whole line gets its newline, a partial one is cut off."""
    if not path.is_file():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        start = content.rfind(b"\n") + 1
        whole = _row(content[start:]) is not None
        atomic_write(path, content + b"\n" if whole else content[:start])


def _step_of(part: Path) -> int:
    match = _PART.fullmatch(part.name)
    return int(match[1]) if match else -1
