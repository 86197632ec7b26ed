"""What the report takes from a store: problems, counts and entropies of every arm, and texts to read."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from offleash.boundary import Counts
from offleash.core import InputError
from offleash.store import Store, Stratum, Study


@dataclass(frozen=True)
class ProblemInfo:
    """A problem as the report shows it; `guess` is NaN where unknown."""

    id: str
    prompt: str
    guess: float


@dataclass(frozen=True)
class Measured:
    """One model on one set of problems. `counts` is None, and `reason` says why, where there is nothing to count."""

    model: str
    counts: Counts | None
    undecided: int = 0
    unverified: int = 0
    reason: str = ""
    entropies: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class StratumData:
    """A set of problems and every model's results on it.

    `checkpoints` holds the models on the way by arm, `samples` what was drawn: model id, sampler, seed, number of samples.
    """

    stratum: Stratum
    problems: list[ProblemInfo]
    arms: dict[str, Measured]
    checkpoints: dict[str, list[tuple[int, Measured]]]
    samples: list[dict[str, Any]]


@dataclass(frozen=True)
class Sample:
    """A completion and its verdict; `correct` is None where there is no decided verdict."""

    problem: str
    index: int
    text: str
    length: int
    finish_reason: str
    correct: bool | None
    answer: str
    reason: str


def read_stratum(study: Study, store: Store, stratum: Stratum, *, checkpoints: bool) -> StratumData:
    """Counts and entropies of every final model, and of the models on the way where asked for."""
    stored = store.problems(task=stratum.task, level=stratum.level, split=stratum.split)
    problems = [ProblemInfo(p.problem.id, p.problem.prompt, p.guess) for p in stored]
    on_the_way = {arm.label: arm.checkpoints if checkpoints else () for arm in study.arms}
    names = [arm.model for arm in study.arms] + [c.model for own in on_the_way.values() for c in own]
    known = identities(store, names)
    drawn = _drawn(store, stratum, [str(record["id"]) for record in known.values()])
    entropies: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for row in drawn:
        entropies[row["model"]][row["problem_id"]] = [math.nan if e is None else e for e in row["entropies"]]
    found = {name: _measure(store, stratum, name, known.get(name), entropies) for name in names}
    return StratumData(
        stratum,
        problems,
        {arm.label: found[arm.model] for arm in study.arms},
        {label: [(c.step, found[c.model]) for c in own] for label, own in on_the_way.items()},
        _provenance(drawn),
    )


def _drawn(store: Store, stratum: Stratum, models: Collection[str]) -> list[dict[str, Any]]:
    """For each model and problem: with which sampler and seed, how many samples, and each sample's mean entropy."""
    query = f"""
    SELECT s.model, s.problem_id, s.sampler, s.seed, count(*) AS samples,
        list(list_avg(s.entropies)::DOUBLE ORDER BY s.index) AS entropies
    FROM samples s JOIN problems p ON p.id = s.problem_id
    WHERE p.task = {_text(stratum.task)} AND p.level = {int(stratum.level)} AND p.split = {_text(stratum.split)}
        AND s.model IN ({_texts(models)})
    GROUP BY s.model, s.problem_id, s.sampler, s.seed ORDER BY s.model, s.problem_id, s.sampler, s.seed
    """
    return list(store.sql(query).to_pylist())


def _provenance(drawn: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    totals: Counter[tuple[str, str, int]] = Counter()
    for row in drawn:
        totals[row["model"], row["sampler"], row["seed"]] += row["samples"]
    return [
        {"model": model, "sampler": sampler, "seed": seed, "samples": n}
        for (model, sampler, seed), n in sorted(totals.items())
    ]


def _measure(
    store: Store,
    stratum: Stratum,
    name: str,
    record: Mapping[str, Any] | None,
    entropies: Mapping[str, dict[str, list[float]]],
) -> Measured:
    """Counts of one model, without the problems that have no decided sample yet."""
    if record is None:
        return Measured(name, None, reason="Not measured yet: the store has no samples of this model.")
    rows = store.counts(record["id"], task=stratum.task, level=stratum.level, split=stratum.split)
    undecided, unverified = sum(r.undecided for r in rows), sum(r.unverified for r in rows)
    decided = [row for row in rows if row.n > 0]
    if not rows:
        return Measured(name, None, reason="Not measured yet on these problems.")
    if not decided:
        reason = "Its samples are not verified yet." if unverified else "The verifier could decide none of its samples."
        return Measured(name, None, undecided, unverified, reason)
    return Measured(name, Counts.from_rows(decided), undecided, unverified, "", entropies.get(record["id"], {}))


def read_samples(
    store: Store, models: Collection[str], problems: Collection[str]
) -> dict[str, dict[str, list[Sample]]]:
    """The samples of these models and problems, by model id and problem id, in the order of their index."""
    query = f"""
    SELECT s.model, s.problem_id, s.index, s.text, len(s.token_ids)::INTEGER AS length, s.finish_reason,
        v.correct, v.answer, v.reason
    FROM samples s LEFT JOIN verdicts v USING (model, problem_id, index, seed, sampler)
    WHERE s.model IN ({_texts(models)}) AND s.problem_id IN ({_texts(problems)}) ORDER BY s.problem_id, s.index
    """
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in store.sql(query).to_pylist():
        rows[row["model"]].append(row)
    return {model: by_problem(own) for model, own in rows.items()}


def _text(value: str) -> str:
    """An SQL text literal."""
    return "'" + value.replace("'", "''") + "'"


def _texts(values: Iterable[str]) -> str:
    return ", ".join(_text(value) for value in sorted(set(values))) or "NULL"


def by_problem(rows: Iterable[dict[str, Any]]) -> dict[str, list[Sample]]:
    """Rows with the columns of `Store.rows`, gathered by problem."""
    out: dict[str, list[Sample]] = defaultdict(list)
    for row in rows:
        out[row["problem_id"]].append(
            Sample(
                problem=row["problem_id"],
                index=row["index"],
                text=row["text"],
                length=row["length"],
                finish_reason=row["finish_reason"],
                correct=row["correct"],
                answer=row["answer"] or "",
                reason=row["reason"] or "",
            )
        )
    return dict(out)


def identities(store: Store, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The records of these models (ids or labels); those the store does not have are left out."""
    found = {}
    for name in names:
        try:
            found[name] = store.model(name)
        except InputError:
            continue
    return found


def verifiers(store: Store) -> list[str]:
    """The verifier versions whose verdicts the store holds."""
    found = store.sql("SELECT DISTINCT verifier_version AS version FROM verdicts ORDER BY version")
    return [str(version) for version in found["version"].to_pylist()]
