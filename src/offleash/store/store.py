"""A store: a folder with the problems, samples and verdicts of any number of models.

    store.json   models/ID.json   samplers/ID.json   problems/  samples/  verdicts/ (parquet parts)   store.lock

One writer, any number of readers, at the same time. A sample is keyed by (model, problem, index, seed, sampler settings), a
verdict also by the verifier's version: more samples are added, never drawn again, and judging again never samples.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from offleash.core import InputError, Problem, unknown_name
from offleash.store import parts, queries, schema
from offleash.store.database import Database
from offleash.store.files import TMP, atomic_write, make_folder, read_json
from offleash.store.schema import CountRow, StoredProblem, Unverified
from offleash.store.writer import MEND_JSON, Writer

MARK = "store.json"
REFILL = "run the same `offleash sample` again: it refills what is missing"


class Store:
    """See the module. Open one with `Store.create` or `Store.open`."""

    def __init__(self, path: Path, *, skip_bad: bool = False) -> None:
        self.path = path
        self._shelves = {
            name: parts.Shelf(path / name, tuple(columns), REFILL) for name, columns in schema.TABLES.items()
        }
        self._database = Database(self._shelves, skip_bad=skip_bad)

    @classmethod
    def create(cls, path: str | Path) -> Store:
        """A new store in a new or empty folder.

        Raises:
            InputError: the folder holds something.
        """
        path = Path(path)
        make_folder(path)
        # A file with the suffix of a half-written mark is what a killed `create` leaves.
        found = sorted(entry.name for entry in path.iterdir() if entry.name != MARK + TMP)
        if MARK in found:
            raise InputError(f"{path}: is a store already; open it, or choose another folder")
        if found:
            raise InputError(f"{path}: holds something else ({found[0]}); choose a new or empty folder")
        atomic_write(path / MARK, (json.dumps({"schema": schema.VERSION}) + "\n").encode())
        return cls(path)

    @classmethod
    def open(cls, path: str | Path, *, skip_bad: bool = False) -> Store:
        """An existing store; with `skip_bad`, files that cannot be read are left out (`bad_parts` lists them).

        Raises:
            InputError: no store there, or one of a newer offleash.
        """
        path = Path(path)
        if not (path / MARK).is_file():
            what = "holds no store" if path.exists() else "no such folder"
            raise InputError(f"{path}: {what} ({MARK} is missing); give the folder that `offleash sample --out` wrote")
        version = read_json(path / MARK, 'write {"schema": 1} into it').get("schema")
        if version != schema.VERSION:
            raise InputError(
                f"{path}: a store of schema {version}, this offleash reads {schema.VERSION}; update offleash"
            )
        return cls(path, skip_bad=skip_bad)

    def writer(self) -> Writer:
        """The writer, to be used in a `with` statement; a second one is refused with an InputError while it is open."""
        return Writer(self.path)

    def bad_parts(self) -> list[parts.BadPart]:
        """The files that cannot be read, every page of every part checked."""
        return [bad for shelf in self._shelves.values() for bad in shelf.bad(deep=True)]

    # ------------------------------------------------------------------------------------------------ what is there

    def models(self) -> list[dict[str, Any]]:
        """The models' records, sorted by label and id."""
        found = [read_json(path, MEND_JSON) for path in (self.path / "models").glob("*.json")]
        return sorted(found, key=lambda model: (str(model.get("label", "")), str(model["id"])))

    def model(self, name: str) -> dict[str, Any]:
        """The model with this id, label, or beginning of an id (six characters or more).

        Raises:
            InputError: none, or more than one.
        """
        models = self.models()
        exact = [m for m in models if m["id"] == name]
        found = exact or [m for m in models if m["label"] == name]
        if not found and len(name) >= 6:
            found = [m for m in models if m["id"].startswith(name)]
        if len(found) > 1:
            ids = ", ".join(m["id"][:16] for m in found)
            raise InputError(f"model: {len(found)} models in {self.path} are called {name!r}; give an id: {ids}")
        if not found:
            raise unknown_name("model", name, {str(m["label"]) for m in models})
        return found[0]

    def samplers(self) -> dict[str, dict[str, Any]]:
        """Sampler settings by their id."""
        return {path.stem: read_json(path, MEND_JSON) for path in sorted((self.path / "samplers").glob("*.json"))}

    def problems(
        self, task: str | None = None, level: int | None = None, split: str | None = None
    ) -> list[StoredProblem]:
        """The problems, in the order they were written."""
        table = queries.problems(self._database, {"task": task, "level": level, "split": split})
        return [_stored_problem(row) for row in table.to_pylist()]

    def have(self, model: str, sampler: str, seed: int) -> dict[str, set[int]]:
        """The sample indices present, by problem id."""
        return queries.have(self._database, model, sampler, seed)

    def unverified(
        self,
        model: str,
        verifier_version: str,
        *,
        task: str | None = None,
        sampler: str | None = None,
        seed: int | None = None,
    ) -> list[Unverified]:
        """The samples that lack a verdict of this version, sorted by problem and index."""
        chosen = {"model": model, "task": task, "sampler": sampler, "seed": seed}
        return queries.unverified(self._database, verifier_version, chosen)

    # ------------------------------------------------------------------------------------------------ results

    def counts(
        self,
        model: str,
        level: int | None = None,
        task: str | None = None,
        split: str | None = None,
        sampler: str | None = None,
        seed: int | None = None,
        verifier_version: str | None = None,
    ) -> list[CountRow]:
        """How often each problem was solved, sorted by problem id.

        Args:
            model: id or label.
            level: of the problems; None takes all.
            task: of the problems.
            split: of the problems.
            sampler: may be left out where the chosen samples have only one.
            seed: may be left out where the chosen samples have only one.
            verifier_version: may be left out where the verdicts of a task have only one.

        Raises:
            InputError: no such model, or samples that are not comparable would be mixed (names what they differ in).
        """
        chosen = self._chosen(model, level, task, split, sampler, seed)
        return queries.counts(self._database, chosen, verifier_version)

    def rows(
        self,
        model: str,
        level: int | None = None,
        task: str | None = None,
        split: str | None = None,
        sampler: str | None = None,
        seed: int | None = None,
        verifier_version: str | None = None,
        tokens: bool = False,
    ) -> Any:
        """Every sample with its verdict, as a pyarrow table sorted by problem and index.

        Columns: problem_id, index, text, length (tokens), logprob (sum, nats), entropy (mean over tokens, nats),
        finish_reason, correct, reward, answer, format, reason; the last five are null where there is no verdict yet. With
        `tokens` also token_ids. Arguments and errors are those of `counts`.
        """
        chosen = self._chosen(model, level, task, split, sampler, seed)
        return queries.rows(self._database, chosen, verifier_version, tokens=tokens)

    def sql(self, query: str) -> Any:
        """The pyarrow table of an SQL query over the views problems, samples and verdicts."""
        return self._database.query(query)

    def _chosen(
        self, model: str, level: int | None, task: str | None, split: str | None, sampler: str | None, seed: int | None
    ) -> queries.Chosen:
        name = self.model(model)["id"]
        return {"model": name, "level": level, "task": task, "split": split, "sampler": sampler, "seed": seed}


def open_or_create(path: str | Path) -> Store:
    """The store in this folder, made where there is none."""
    return Store.open(path) if (Path(path) / MARK).is_file() else Store.create(path)


def _stored_problem(row: dict[str, Any]) -> StoredProblem:
    guess = row.pop("guess")
    meta = json.loads(row.pop("meta"))
    return StoredProblem(Problem(**row, meta=meta), float("nan") if guess is None else float(guess))
