"""One model's samples as `offleash audit` reads them: numbers and verdicts at once, texts a few problems at a time.

Everything but the texts comes from one query, so a store that is being written gives one moment of it; the texts of those
samples are read afterwards, and no others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offleash import tasks
from offleash.boundary import Counts
from offleash.core import InputError, OffleashError
from offleash.jobs import heat
from offleash.jobs.sides import Selection, is_plain, look_for_verdicts, place, study_of, what_it_is
from offleash.store import CountRow, Store, StoredProblem, Study, read_study

Array = NDArray[Any]

WRONG, RIGHT, UNDECIDED, UNVERIFIED = 0, 1, -1, -2  # in `correct_N`
CHUNK = 16_384  # samples whose texts are held at a time


@dataclass(frozen=True)
class Place:
    """A model in a store, what it is called, and which of its samples are asked for."""

    store: Store
    record: Mapping[str, Any]
    name: str
    selection: Selection


@dataclass(frozen=True, eq=False)
class Samples:
    """N samples of one model with their verdicts, sorted by problem and index; one sampler, one seed.

    Attributes:
        place: where they are.
        sampler, seed, temperature: of all of them.
        verifiers: the versions whose verdicts are `correct_N`, one for each task.
        ids: P problem ids, sorted.
        stored: the problems by id; one that the store lacks is missing here.
        problem_N: each sample's position in `ids`; `index_N` its index.
        length_N: tokens; logprob_N: summed, nats; entropy_N: mean over tokens, nats; NaN where unknown.
        cut_N: whether the token limit ended it.
        correct_N: RIGHT, WRONG, UNDECIDED or UNVERIFIED.
        answer_N: the verifier's canonical answer, None for none; a sample that was cut off has none.
        format_N: what the verifier calls the format; None without verdict.
        others: other versions of the verifier, and what they say of each sample, as `correct_N`.
    """

    place: Place
    sampler: str
    seed: int
    temperature: float
    verifiers: tuple[str, ...]
    ids: tuple[str, ...]
    stored: Mapping[str, StoredProblem]
    problem_N: Array
    index_N: Array
    length_N: Array
    logprob_N: Array
    entropy_N: Array
    cut_N: Array
    correct_N: Array
    answer_N: Array
    format_N: Array
    others: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.problem_N)

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.place.name

    def owners(self, chosen: Array | None = None) -> list[str]:
        """The problem id of each (chosen) sample."""
        return [self.ids[i] for i in (self.problem_N if chosen is None else self.problem_N[chosen])]

    def counts(self, correct_N: Array | None = None) -> Counts:
        """Right among decided samples, without the problems that have no decided one; of another verifier where given."""
        said = self.correct_N if correct_N is None else correct_N
        n = np.bincount(self.problem_N[said >= WRONG], minlength=len(self.ids))
        c = np.bincount(self.problem_N[said == RIGHT], minlength=len(self.ids))
        kept = np.flatnonzero(n)
        return Counts(tuple(self.ids[i] for i in kept), c[kept], n[kept])

    def take(self, chosen: Array) -> Samples:
        """Only these samples, in their order, and only their problems."""
        kept, problem_N = np.unique(self.problem_N[chosen], return_inverse=True)
        columns = {name: value[chosen] for name, value in vars(self).items() if name.endswith("_N")}
        others = {name: value[chosen] for name, value in self.others.items()}
        ids = tuple(self.ids[i] for i in kept)
        return replace(self, **(columns | {"ids": ids, "problem_N": problem_N, "others": others}))

    def nth(self) -> Array:
        """(N,) how many samples of the same problem come before each."""
        first = np.searchsorted(self.problem_N, np.arange(len(self.ids)))
        return np.arange(len(self)) - first[self.problem_N]


def locate(text: str, selection: Selection) -> Place:
    """The model at STORE#LABEL, STUDY#LABEL or a run of a study, as `offleash compare` finds it.

    Raises:
        InputError: nothing there, no such model, or a file of counts, which holds no samples.
    """
    path, choice = place(text)
    if not path.exists():
        raise InputError(f"{text!r}: no file or folder {str(path)!r}; give STORE#MODEL")
    if is_plain(path):
        raise InputError(
            f"{text!r}: counts and logs of other tools hold no samples with their verdicts, which an audit reads; give a "
            "store that `offleash sample --out STORE` filled, as STORE#MODEL"
        )
    try:
        if (path / "study.json").is_file():
            return _in_study(read_study(path), choice, selection)
        if (path / "store.json").is_file():
            return _in_store(Store.open(path), choice, selection)
        if (path / "run.json").is_file():
            return _of_run(text, choice, selection)
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f"{text!r}: {error}") from error
    raise InputError(f"{text!r}: {what_it_is(path)}; audit reads a store, a study, or a run of a study")


def _in_store(store: Store, label: str, selection: Selection, name: str = "") -> Place:
    models = store.models()
    if not label and len(models) != 1:
        labels = ", ".join(str(m["label"]) for m in models)
        raise InputError(
            f"the store holds {len(models)} models; choose one, as {store.path}#LABEL ({labels or 'none yet'})"
        )
    record = store.model(label) if label else models[0]
    return Place(store, record, name or str(record["label"]), selection)


def _in_study(study: Study, label: str, selection: Selection, name: str = "") -> Place:
    """An arm, on the study's first set of problems where the selection does not say which."""
    if selection.task is None and selection.level is None and selection.split is None:
        main = study.strata[0]
        selection = replace(selection, task=main.task, level=main.level, split=main.split)
    arms = {arm.label: arm.model for arm in study.arms}
    if not label:
        raise InputError(f"the study has {len(arms)} arms; choose one, as {study.folder}#LABEL ({', '.join(arms)})")
    return _in_store(
        Store.open(study.store), arms.get(label, label), selection, name or (label if label in arms else "")
    )


def _of_run(text: str, checkpoint: str, selection: Selection) -> Place:
    path, _ = place(text)
    found = study_of(path)
    if found is None and (path / "samples").is_dir():  # rollouts that training kept
        return _in_store(Store(path), checkpoint, selection, f"{path.name} at {checkpoint}" if checkpoint else "")
    if found is None:
        raise InputError(
            f"the run {str(path)!r} has not been measured; `offleash sample --model {path}/checkpoints/step_N ... --out "
            "STORE`, then audit STORE#LABEL"
        )
    study, arm = found
    models = {str(point.step): point.model for point in arm.checkpoints}
    step = checkpoint.removeprefix("step_")
    if not checkpoint:
        return _in_study(study, arm.label, selection)
    if step not in models:
        raise InputError(
            f"#{checkpoint}: the study measured no such checkpoint; measured: {', '.join(models) or 'none'}"
        )
    return _in_study(study, models[step], selection, f"{arm.label} at step {step}")


# ------------------------------------------------------------------------------------------------------ reading


def read(text: str, selection: Selection) -> Samples:
    """The samples at STORE#MODEL; says how many have no verdict yet.

    Raises:
        InputError: see `locate`; samples that must not be mixed, none at all, or none with a verdict.
    """
    at = locate(text, selection)
    chosen, temperature, _ = heat.choose(at.store, dict(at.record), at.selection)
    at = replace(at, selection=chosen)
    table = at.store.sql(_snapshot(at))
    if table.num_rows == 0:
        told = ", ".join(f"{name} {value}" for name, value in vars(chosen).items() if value is not None)
        raise InputError(f"model {at.name!r} has no samples{f' with {told}' if told else ''}")
    for name in ("sampler", "seed"):
        found = sorted({str(value) for value in table[name].unique().to_pylist()})
        if len(found) > 1:
            raise InputError(f"--{name}: model {at.name!r} has samples of several ({', '.join(found)}); choose one")
    # Problems are written before their samples, so what is read now has all of them.
    stored = {s.problem.id: s for s in at.store.problems()}
    samples = _arranged(table, at, temperature, stored)
    look_for_verdicts(at.name, _tally(samples), at.store)
    return samples


def _snapshot(at: Place) -> str:
    chosen = at.selection
    of_samples = {"model": at.record["id"], "sampler": chosen.sampler, "seed": chosen.seed}
    of_problems = {"task": chosen.task, "level": chosen.level, "split": chosen.split}
    tests = [f"s.{name} = {_literal(value)}" for name, value in of_samples.items() if value is not None]
    tests += [f"p.{name} = {_literal(value)}" for name, value in of_problems.items() if value is not None]
    return f"""
    SELECT s.problem_id, s.index, s.seed, s.sampler, p.task, len(s.token_ids)::BIGINT AS length,
        CASE WHEN len(s.token_ids) = 0 THEN 0 ELSE list_sum(s.logprobs) END::DOUBLE AS logprob,
        list_avg(s.entropies)::DOUBLE AS entropy, s.finish_reason, v.verifier_version, v.correct, v.answer, v.format
    FROM samples s LEFT JOIN verdicts v USING (model, problem_id, index, seed, sampler)
    LEFT JOIN problems p ON p.id = s.problem_id
    WHERE {" AND ".join(tests)} ORDER BY s.problem_id, s.index, s.sampler, s.seed, v.verifier_version
    """


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def _arranged(table: Any, at: Place, temperature: float, stored: Mapping[str, StoredProblem]) -> Samples:
    """One entry a sample, from one row a verdict."""
    rows = {name: table[name].to_numpy() for name in table.column_names if name not in ("correct", "task")}
    ids, code = np.unique(rows["problem_id"].astype(str), return_inverse=True)
    fresh = np.ones(len(code), dtype=bool)
    fresh[1:] = (code[1:] != code[:-1]) | (rows["index"][1:] != rows["index"][:-1])
    sample = np.cumsum(fresh) - 1
    said = np.array([UNDECIDED if c is None else int(c) for c in table["correct"].to_pylist()], dtype=np.int8)
    version = np.array([v or "" for v in rows["verifier_version"]], dtype=object)
    task = np.array([t or "" for t in table["task"].to_pylist()], dtype=object)
    main: Array = np.zeros(len(code), dtype=bool)
    chosen: set[str] = set()
    for name in sorted(set(task)):
        versions = set(version[task == name]) - {""}
        if versions:
            chosen.add(first := _first_version(name, versions))
            main |= (task == name) & (version == first)

    def spread(which: Array, values: Array, missing: Any, kind: Any) -> Array:
        out = np.full(int(fresh.sum()), missing, dtype=kind)
        out[sample[which]] = values[which]
        return out

    others = {
        name: spread((version == name) & ~main, said, UNVERIFIED, np.int8)
        for name in sorted(set(version[~main]) - {""})
    }
    cut_N = rows["finish_reason"][fresh] == "length"
    answer_N = spread(main, rows["answer"], None, object)
    answer_N[cut_N | (answer_N == "")] = None
    return Samples(
        at, str(rows["sampler"][0]), int(rows["seed"][0]), temperature, tuple(sorted(chosen)), tuple(ids.tolist()), stored,
        code[fresh], rows["index"][fresh], rows["length"][fresh], rows["logprob"][fresh].astype(float),
        rows["entropy"][fresh].astype(float), cut_N, spread(main, said, UNVERIFIED, np.int8), answer_N,
        spread(main, rows["format"], None, object), others,
    )  # fmt: skip


def _first_version(task: str, versions: set[str]) -> str:
    """The verifier whose verdicts count: the task's own of today, else the last by name."""
    try:
        today = tasks.get(task).verifier_version
    except OffleashError:  # a task of another machine's, or of a file that is not named here
        today = ""
    return today if today in versions else max(versions)


def _tally(samples: Samples) -> list[CountRow]:
    def each(mask: Array) -> Array:
        return np.bincount(samples.problem_N[mask], minlength=len(samples.ids))

    said = samples.correct_N
    columns = (each(said == RIGHT), each(said >= WRONG), each(said == UNDECIDED), each(said == UNVERIFIED))
    return [CountRow(name, *(int(column[i]) for column in columns)) for i, name in enumerate(samples.ids)]


def texts(samples: Samples) -> Iterator[tuple[int, list[str]]]:
    """(position in `ids`, the texts of its samples in their order), one problem after the other."""
    sizes = np.bincount(samples.problem_N, minlength=len(samples.ids))
    chunk = (np.cumsum(sizes) - sizes) // CHUNK
    for number in np.unique(chunk):
        chosen = np.flatnonzero(chunk == number)
        known = _texts_of(samples, [samples.ids[i] for i in chosen])
        for i in chosen:
            own = samples.index_N[np.searchsorted(samples.problem_N, i) :][: sizes[i]]
            try:
                yield int(i), [known[samples.ids[i], int(index)] for index in own]
            except KeyError as error:
                raise InputError(
                    f"{samples.place.store.path}: samples were removed while it was read; try again"
                ) from error


def _texts_of(samples: Samples, ids: list[str]) -> dict[tuple[str, int], str]:
    query = f"""
    SELECT problem_id, index, text FROM samples WHERE model = {_literal(samples.place.record["id"])}
        AND sampler = {_literal(samples.sampler)} AND seed = {samples.seed}
        AND problem_id IN ({", ".join(map(_literal, ids))})
    """
    columns = samples.place.store.sql(query).to_pydict()
    keys = zip(columns["problem_id"], columns["index"], strict=True)
    return dict(zip(keys, columns["text"], strict=True))


def operations_needed(samples: Samples, i: int) -> int | None:
    """Arithmetic operations that the problem needs, where its record says so: `operations`, or one less than its numbers."""
    found = samples.stored.get(samples.ids[i])
    meta = {} if found is None else found.problem.meta
    if isinstance(meta.get("operations"), int) and meta["operations"] > 0:
        return int(meta["operations"])
    numbers = meta.get("numbers")
    return len(numbers) - 1 if isinstance(numbers, (list, tuple)) and len(numbers) > 1 else None


def guesses(samples: Samples, ids: tuple[str, ...]) -> Array:
    """(P,) chance that one blind guess solves each problem; NaN where unknown."""
    return np.array([samples.stored[i].guess if i in samples.stored else math.nan for i in ids])
