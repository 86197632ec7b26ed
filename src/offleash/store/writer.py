"""The one writer of a store. Every call is durable when it returns: it writes one part, or a small JSON file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from offleash.core import InputError, OffleashError, Problem
from offleash.store import parts, schema
from offleash.store.files import TMP, atomic_write, disk_error, read_json, sync_folder, to_json
from offleash.store.lock import lock
from offleash.store.schema import SampleRow, VerdictRow

LOCK = "store.lock"
MEND_JSON = "delete it, then run the same `offleash sample` again"


class Writer:
    """Holds the lock of a store while it is open: `with store.writer() as writer`.

    Write samples before their verdicts: a verdict counts for the sample that was there when it was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = -1
        self._next = 0

    def __enter__(self) -> Writer:
        self._lock = lock(self.folder, LOCK, "writing to this store")
        with ExitStack() as undo:
            undo.callback(self.close)
            self._prepare()
            undo.pop_all()
        return self

    def _prepare(self) -> None:
        """Make the folders, and remove what a killed writer left half-written: whoever holds the lock is alone."""
        tables = [self.folder / name for name in schema.TABLES]
        try:
            for place in (self.folder, self.folder / "models", self.folder / "samplers", *tables):
                place.mkdir(exist_ok=True)
                for partial in place.glob("*" + TMP):
                    partial.unlink()
            sync_folder(self.folder)
        except OSError as error:
            raise disk_error(self.folder, error) from error
        self._next = parts.next_number(tables)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def add_model(self, model: Mapping[str, Any]) -> str:
        """Record a model ({"id", "label", ...}) once; returns its id. What was recorded first under an id stays."""
        name = str(model.get("id", ""))
        if not name:
            raise InputError("model: it has no id; give {'id': ..., 'label': ...}")
        self._once(model_path(self.folder, name), {"label": name, **model, "id": name})
        return name

    def add_sampler(self, settings: Mapping[str, Any]) -> str:
        """Record resolved sampler settings once; returns their id."""
        name = schema.sampler_id(settings)
        self._once(self.folder / "samplers" / f"{name}.json", settings)
        return name

    def add_problems(self, problems: Sequence[Problem], guess: Sequence[float]) -> None:
        """Write problems with their chance baselines (NaN where unknown)."""
        if len(problems) != len(guess):
            raise InputError(f"guess: {len(guess)} values for {len(problems)} problems; give one for each")
        self._part("problems", schema.problem_table(problems, guess) if problems else None)

    def add_samples(self, rows: Sequence[SampleRow]) -> None:
        """Write samples."""
        self._part("samples", schema.row_table("samples", rows) if rows else None)

    def add_verdicts(self, rows: Sequence[VerdictRow]) -> None:
        """Write verdicts on samples that are already written."""
        self._part("verdicts", schema.row_table("verdicts", rows) if rows else None)

    def _part(self, table: str, content: Any) -> None:
        self._must_be_open()
        if content is not None:
            parts.write(self.folder / table, f"part-{self._next:08d}", content)
            self._next += 1

    def _once(self, path: Path, content: Mapping[str, Any]) -> None:
        if path.is_file():
            read_json(path, MEND_JSON)
            return
        self._must_be_open()
        try:
            text = to_json(content, indent=1)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path.stem}: cannot be written as JSON ({error}); use plain values") from error
        atomic_write(path, (text + "\n").encode())

    def _must_be_open(self) -> None:
        if self._lock < 0:
            raise OffleashError(f"{self.folder}: this writer is closed; write inside `with store.writer() as writer`")


def model_path(folder: Path, name: str) -> Path:
    """Where a model's record lies; any text can be an id, so what a file name cannot hold is escaped."""
    return folder / "models" / f"{quote(name, safe='')}.json"
