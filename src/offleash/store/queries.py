"""What is asked of a store, as SQL over the views of `database`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from offleash.core import InputError
from offleash.store.database import JUDGES, Database
from offleash.store.schema import PROBLEMS, CountRow, Unverified

Chosen = Mapping[str, str | int | None]
"""Values that columns must have; None leaves a column free. Columns: model, sampler, seed of the sample; task, level, split
of the problem."""

_OF_PROBLEM = ("task", "level", "split")


def problems(database: Database, chosen: Chosen) -> Any:
    """The problems' rows in the order of their first writing, as a pyarrow table."""
    where, values = _where(chosen)
    columns = ", ".join(f"p.{name}" for name in PROBLEMS)
    return database.query(f"SELECT {columns} FROM problem_rows p {where} ORDER BY p.part, p.row", values)


def have(database: Database, model: str, sampler: str, seed: int) -> dict[str, set[int]]:
    """The sample indices present, by problem id."""
    where, values = _where({"model": model, "sampler": sampler, "seed": seed})
    found = database.query(
        f"SELECT s.problem_id, list(s.index) AS indices FROM sample_rows s {where} GROUP BY s.problem_id", values
    )
    return {row["problem_id"]: set(row["indices"]) for row in found.to_pylist()}


def unverified(database: Database, verifier_version: str, chosen: Chosen) -> list[Unverified]:
    """The samples without a verdict of this version."""
    _, values = _where(chosen)
    found = database.query(
        f"""
        SELECT s.model, s.problem_id, s.index, s.seed, s.sampler, s.text FROM ({_samples(chosen)}) s
        ANTI JOIN (SELECT * FROM verdict_rows WHERE model = $model AND verifier_version = $version) v ON {JUDGES}
        ORDER BY s.problem_id, s.index, s.seed, s.sampler
        """,
        {**values, "version": verifier_version},
    )
    return [Unverified(**row) for row in found.to_pylist()]


def counts(database: Database, chosen: Chosen, verifier_version: str | None) -> list[CountRow]:
    """Results by problem, sorted by id; see `Store.counts`."""
    found = _tally(database, chosen, verifier_version)
    _refuse_mixtures(found, chosen, verifier_version)
    merged: dict[str, list[int]] = {}
    for row in found:
        total = merged.setdefault(row["problem_id"], [0, 0, 0, 0])
        judged = row["verifier_version"] is not None
        parts = (row["c"], row["n"], row["total"] - row["n"] if judged else 0, 0 if judged else row["total"])
        merged[row["problem_id"]] = [a + b for a, b in zip(total, parts, strict=True)]
    return [CountRow(name, *merged[name]) for name in sorted(merged)]


def rows(database: Database, chosen: Chosen, verifier_version: str | None, *, tokens: bool = False) -> Any:
    """Samples with their verdicts, as a pyarrow table; see `Store.rows`."""
    _refuse_mixtures(_tally(database, chosen, verifier_version), chosen, verifier_version)
    _, values = _where(chosen)
    join, version = _verdicts(verifier_version)
    ids = "s.token_ids, " if tokens else ""
    return database.query(
        f"""
        SELECT s.problem_id, s.index, {ids}s.text, len(s.token_ids)::INTEGER AS length, list_sum(s.logprobs)::DOUBLE AS logprob,
            list_avg(s.entropies)::DOUBLE AS entropy, s.finish_reason, v.correct, v.reward, v.answer, v.format, v.reason
        FROM ({_samples(chosen)}) s {join} ORDER BY s.problem_id, s.index
        """,
        {**values, **version},
    )


def _tally(database: Database, chosen: Chosen, verifier_version: str | None) -> list[dict[str, Any]]:
    """Numbers of samples by problem and by everything that must not be mixed."""
    _, values = _where(chosen)
    join, version = _verdicts(verifier_version)
    found = database.query(
        f"""
        SELECT s.problem_id, s.task, s.sampler, s.seed, v.verifier_version,
            count(*) AS total, count(v.correct) AS n, count(*) FILTER (v.correct) AS c
        FROM ({_samples(chosen)}) s {join} GROUP BY ALL
        """,
        {**values, **version},
    )
    return list(found.to_pylist())


def _samples(chosen: Chosen) -> str:
    """The chosen samples with their problem's task. A sample whose problem is not stored has no task, level or split."""
    where, _ = _where(chosen)
    kind = "JOIN" if any(chosen.get(name) is not None for name in _OF_PROBLEM) else "LEFT JOIN"
    return f"SELECT s.*, p.task FROM sample_rows s {kind} problem_rows p ON p.id = s.problem_id {where}"


def _verdicts(verifier_version: str | None) -> tuple[str, dict[str, str]]:
    """SQL that joins verdicts `v` to samples `s`, and its parameters."""
    version = "" if verifier_version is None else "AND verifier_version = $version"
    values = {} if verifier_version is None else {"version": verifier_version}
    return f"LEFT JOIN (SELECT * FROM verdict_rows WHERE model = $model {version}) v ON {JUDGES}", values


def _where(chosen: Chosen) -> tuple[str, dict[str, str | int]]:
    """A WHERE clause over samples `s` and problems `p`, and its parameters."""
    values = {name: value for name, value in chosen.items() if value is not None}
    tests = [f"{'p' if name in _OF_PROBLEM else 's'}.{name} = ${name}" for name in values]
    return (f"WHERE {' AND '.join(tests)}" if tests else ""), values


def _refuse_mixtures(found: list[dict[str, Any]], chosen: Chosen, verifier_version: str | None) -> None:
    """One sampler, one seed, and one verifier version for each task; anything else is not comparable."""
    for name in ("sampler", "seed"):
        _refuse(name, {str(row[name]) for row in found}, f"model {chosen['model']}")
    if verifier_version is None:
        for task in {row["task"] for row in found}:
            versions = {row["verifier_version"] for row in found if row["task"] == task} - {None}
            _refuse("verifier_version", versions, f"task {task}")


def _refuse(name: str, values: Iterable[str], where: str) -> None:
    values = sorted(values)
    if len(values) > 1:
        raise InputError(
            f"{name}: {where} has results of several ({', '.join(values)}); they must not be mixed, choose one"
        )
