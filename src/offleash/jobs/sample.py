"""`offleash sample`: fill a store with n verified completions of each problem."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from offleash import tasks
from offleash.core import InputError, Problem
from offleash.engines import Sampler, SamplingSettings, get, open_engine
from offleash.engines.episodes import stops_of
from offleash.jobs.display import console, progress, say
from offleash.sampling.fill import check_numbers, fill
from offleash.store import Store, open_or_create
from offleash.store.files import require_writable
from offleash.store.schema import sampler_id
from offleash.tasks import Task

BATCH = 2048
"""Completions between two writes to the store."""
CUT_OFF = 0.01
"""A larger share of completions cut off by the limit of tokens is told: they count as wrong, whatever they were about to say."""


class Filled(NamedTuple):
    """The ids under which a store holds the samples."""

    model: str
    sampler: str


class Source(NamedTuple):
    """A model that can be sampled, and what a store records of it."""

    sampler: Sampler
    about: dict[str, Any]
    check: Callable[[Iterable[str]], object]
    """Refuses prompts that the engine cannot continue."""

    @property
    def ids(self) -> Filled:
        """Under which a store holds its samples."""
        return Filled(self.about["id"], sampler_id(self.sampler.settings()))


def run(
    *,
    model: str,
    task: str,
    level: int | None,
    n: int,
    out: Path,
    problems: int = 100,
    split: str = "test",
    seed: int = 0,
    engine: str = "native",
    temperature: float = 1.0,
    max_completion_length: int = 32,
    stop: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    label: str | None = None,
    as_json: bool = False,
) -> dict[str, Any]:
    """Sample what is missing; returns what the store now holds of this model. `options` are the engine's own."""
    level = tasks.main_level(tasks.get(task)) if level is None else level
    with progress("sampling", n * problems) as report:
        identity, sampler = fill_store(
            model=model, task=task, level=level, n=n, out=out, problems=problems, split=split, seed=seed,
            temperature=temperature, max_completion_length=max_completion_length, label=label or Path(model).name,
            engine=engine, stop=stop, options=options, tell=lambda done, total: report(done),
        )  # fmt: skip
    # The store may hold the same model at other temperatures.
    store, name = Store.open(out), tasks.get(task).name
    counts = store.counts(identity, task=name, level=level, split=split, seed=seed, sampler=sampler)
    total = sum(row.n for row in counts)
    accuracy = sum(row.c for row in counts) / total if total else None
    result: dict[str, Any] = {
        "store": str(out),
        "model": identity,
        "problems": len(counts),
        "samples": total,
        "accuracy": accuracy,
    }
    chosen = {"model": identity, "sampler": sampler, "seed": seed}
    result["cut_off"] = _cut_off(store, chosen, {"task": name, "level": level, "split": split}) / max(1, total)
    if as_json:
        print(json.dumps(result))
    else:
        line = f"store: {out}  model {identity[:12]}  {len(counts)} problems, {total} verified samples"
        console().print(line + ("" if accuracy is None else f", {accuracy:.3g} right"))
        if result["cut_off"] > CUT_OFF:
            say(
                f"note: {result['cut_off']:.0%} were cut off at {max_completion_length} tokens; raise --max-completion-length"
            )
    return result


def fill_store(
    *,
    model: str,
    task: str,
    level: int,
    n: int,
    out: Path,
    problems: int,
    label: str,
    split: str = "test",
    seed: int = 0,
    temperature: float = 1.0,
    max_completion_length: int = 32,
    engine: str = "native",
    stop: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> Filled:
    """Complete a store to n samples a problem."""
    if n < 1 or problems < 1:
        raise InputError("--n, --problems: both must be at least 1")
    check_numbers(n, BATCH, seed)
    require_writable(out)
    chosen_task = tasks.get(task)
    chosen = choose(chosen_task, level, split, seed, problems)
    stop = tuple(dict.fromkeys((*stop, *stops_of(chosen_task))))
    drawn = source(model, label, temperature, max_completion_length, engine=engine, stop=stop, options=options)
    drawn.check(p.prompt for p in chosen)  # refuses what does not fit the model, before a store is made
    fill(
        open_or_create(out),
        drawn.sampler,
        chosen_task,
        chosen,
        model=drawn.about,
        n=n,
        settings=drawn.sampler.settings(),
        seed=seed,
        batch=min(BATCH, get(engine).chunk),
        progress=tell,
    )
    return drawn.ids


def source(
    model: str,
    label: str,
    temperature: float,
    max_completion_length: int,
    *,
    engine: str = "native",
    stop: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Source:
    """Load a model to be sampled, or name a server's."""
    more = {**(options or {}), **({"label": label} if get(engine).reads == "server" else {})}
    opened = open_engine(engine, model, SamplingSettings(temperature, max_completion_length, tuple(stop)), **more)
    return Source(opened.sampler, {"id": opened.model_id, "label": label, "path": str(model)}, opened.check)


def server_options(
    engine: str, endpoints: Sequence[str], body: str, concurrency: int | None, **more: Any
) -> dict[str, Any]:
    """The command line's options of a server, as the engine takes them; values of None are the engine's own defaults.

    Raises:
        InputError: they are given to an engine that reads a folder, or `body` is no JSON object.
    """
    given = {name: value for name, value in more.items() if value is not None}
    if get(engine).reads != "server":
        if endpoints or body or concurrency or given:
            raise InputError(
                f"--engine {engine}: reads a model's folder and takes no server's options; use --engine openai"
            )
        return {}
    from offleash.engines.endpoints import Patience

    try:
        fields = json.loads(body or "{}")
    except ValueError as error:
        raise InputError(f"--body: is no JSON ({error}); give an object such as '{{\"top_k\": -1}}'") from error
    if not isinstance(fields, dict):
        raise InputError(f"--body: {body} is no object; give one such as '{{\"top_k\": -1}}'")
    patience = Patience(concurrency=concurrency) if concurrency is not None else Patience()
    return {"endpoints": tuple(endpoints), "body": fields, "patience": patience, **given}


def choose(task: Task, level: int, split: str, seed: int, problems: int) -> list[Problem]:
    """The first problems of a split."""
    return list(itertools.islice(tasks.problems(task, level, split, seed), problems))


def _cut_off(store: Store, samples: Mapping[str, Any], problems: Mapping[str, Any]) -> int:
    """How many samples ended at the limit of tokens."""

    def literal(value: object) -> str:
        return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"

    def where(fields: Mapping[str, Any]) -> str:
        return " AND ".join(f"{name} = {literal(value)}" for name, value in fields.items())

    query = f"""
    SELECT count(*) AS n FROM samples WHERE {where(samples)} AND finish_reason = 'length'
        AND problem_id IN (SELECT id FROM problems WHERE {where(problems)})
    """
    return int(store.sql(query).to_pylist()[0]["n"])
