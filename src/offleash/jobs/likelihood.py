"""`offleash likelihood`: how probable B's solutions are under A, without sampling A.

A's own samples say that a problem was solved in 0 of n draws; they do not say whether it would be in 10 n. B's correct
completions, read by A (teacher forcing), do: their probabilities under A add up to a floor of A's chance to solve it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash import nn, tasks
from offleash.boundary.likelihood import SolutionProbability, solution_probability
from offleash.core import InputError, Problem
from offleash.engines.episodes import stops_of
from offleash.jobs.display import progress
from offleash.jobs.sides import Selection, look_for_verdicts
from offleash.store import Store, read_study
from offleash.tasks import HasSolutions


@dataclass(frozen=True)
class Place:
    """A model in a store."""

    store: Store
    record: dict[str, Any]

    @property
    def label(self) -> str:
        """What it is called."""
        return str(self.record["label"])


def run(
    a: str, b: str, *, selection: Selection | None = None, exact: bool = False, as_json: bool = False
) -> dict[str, Any]:
    """Read B's correct completions under A's weights; print and return a row a problem.

    Args:
        a: STORE#LABEL of the model whose probabilities are asked for; its weights are loaded from where it was sampled.
        b: STORE#LABEL of the model whose solutions are read.
        selection: which samples of B.
        exact: also list every correct text where the task can, and add up their probabilities.
        as_json: print one JSON document instead of a table.

    Raises:
        InputError: a side is no model in a store, A's weights are gone, B's samples are unverified or none is correct, or
            solutions are to be listed that cannot be.
    """
    selection = selection or Selection()
    base, trained = locate(a), locate(b)
    table = trained.store.rows(trained.record["id"], **selection.of_store(), tokens=True)
    if table.num_rows:
        look_for_verdicts(
            trained.label, trained.store.counts(trained.record["id"], **selection.of_store()), trained.store
        )
    if table.num_rows == 0 or not any(table["correct"].to_pylist()):
        raise InputError(f"{b}: has no correct sample here, so there is no solution to read")
    problems = {s.problem.id: s.problem for s in trained.store.problems()}
    for name in sorted({problems[i].task for i in table["problem_id"].to_pylist()}):
        if stops_of(tasks.get(name)):
            raise InputError(f"{b}: {name} is played in turns; what was sampled is not what follows the prompt alone")
    listed = _solutions(table, problems) if exact else {}
    model, tokenizer = nn.load(str(base.record["path"]))
    if nn.identity(model, tokenizer) != base.record["id"]:
        raise InputError(f"{a}: the weights at {base.record['path']} are not those that were sampled; put them back")
    temperature = _temperature(trained.store, trained.record["id"], selection)
    found = _read(table.to_pylist(), problems, model, tokenizer, temperature, listed)
    own = {r.id: (r.c, r.n) for r in base.store.counts(base.record["id"], **selection.of_store())}
    result = document(found, own, base.label, trained.label, temperature)
    print(json.dumps(result, indent=2, allow_nan=False) if as_json else text_of(result))
    return result


def locate(text: str) -> Place:
    """The model at STORE#LABEL or STUDY#LABEL."""
    head, _, label = text.rpartition("#")
    path = Path(head or label)
    if (path / "study.json").is_file():
        study = read_study(path)
        arm = next((arm for arm in study.arms if arm.label == label), None)
        return Place(store := Store.open(study.store), store.model(arm.model if arm else label))
    if not head or not (path / "store.json").is_file():
        raise InputError(f"{text!r}: give STORE#LABEL, a model in a store (`offleash sample` makes one)")
    store = Store.open(path)
    return Place(store, store.model(label))


def _temperature(store: Store, model: str, selection: Selection) -> float:
    names = [selection.sampler] if selection.sampler else _used(store, model)
    found = {float(store.samplers()[name]["temperature"]) for name in names}
    if len(found) != 1:
        raise InputError("--sampler: the samples are of several temperatures; choose one of the store's samplers")
    return found.pop()


def _used(store: Store, model: str) -> list[str]:
    rows = store.sql(f"SELECT DISTINCT sampler FROM samples WHERE model = '{model}'").to_pylist()
    return [str(row["sampler"]) for row in rows]


def _read(
    rows: Sequence[dict[str, Any]],
    problems: dict[str, Problem],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    temperature: float,
    listed: dict[str, list[str]],
) -> dict[str, SolutionProbability]:
    by_problem: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["correct"] is not None:
            by_problem.setdefault(row["problem_id"], []).append(row)
    found = {}
    with progress("reading solutions", len(by_problem)) as report:
        for i, (name, own) in enumerate(sorted(by_problem.items())):
            right = [row for row in own if row["correct"]]
            ids = [tuple(row["token_ids"]) for row in right]
            prompt = list(tokenizer(problems[name].prompt)["input_ids"])
            known = logprobs(model, prompt, set(ids), temperature)
            everything = math.nan
            if name in listed:
                texts = {
                    (*tokenizer(t, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id) for t in listed[name]
                }
                everything = sum(map(math.exp, logprobs(model, prompt, texts, temperature).values()))
            found[name] = solution_probability(
                ids, [known[x] for x in ids], [row["logprob"] for row in right], len(own), everything
            )
            report(i + 1)
    return found


def _solutions(table: Any, problems: dict[str, Problem]) -> dict[str, list[str]]:
    """Every solution of each problem with a verdict; asked for before the model is loaded, so that a refusal costs nothing.

    Raises:
        InputError: a task cannot list its solutions, or not those of such a problem.
    """
    decided = zip(table["problem_id"].to_pylist(), table["correct"].to_pylist(), strict=True)
    names = sorted({name for name, correct in decided if correct is not None})
    # The largest first: what a task refuses, it refuses for the size, and at once.
    names.sort(key=lambda name: -len(problems[name].meta.get("numbers", ())))
    found = {}
    with progress("listing solutions", len(names)) as report:
        for i, name in enumerate(names):
            problem = problems[name]
            task = tasks.get(problem.task)
            if not isinstance(task, HasSolutions):
                raise InputError(f"--exact: task {task.name} cannot list its solutions; leave it out")
            try:
                found[name] = task.solutions(problem)
            except InputError as error:
                raise InputError(f"--exact: {error}; leave it out, or choose easier problems with --level") from error
            report(i + 1)
    return found


def logprobs(
    model: PreTrainedModel, prompt: list[int], completions: Iterable[tuple[int, ...]], temperature: float
) -> dict[tuple[int, ...], float]:
    """Log-probability of each completion after the prompt, in nats at the temperature, summed over its tokens."""
    given = list(completions)
    scored = nn.score_all(model, [prompt] * len(given), given, temperature)
    return {ids: float(s.logprobs_T.double().sum()) for ids, s in zip(given, scored, strict=True)}


def document(
    found: dict[str, SolutionProbability], own: dict[str, tuple[int, int]], a: str, b: str, temperature: float
) -> dict[str, Any]:
    """What `--json` prints: a row a problem that B solved, and what they come to."""
    rows: list[dict[str, Any]] = []
    for name, p in found.items():
        c, n = own.get(name, (0, 0))
        floor = p.bound if math.isnan(p.exact) else p.exact
        rows.append(
            {
                "id": name,
                "bound": p.bound,
                "estimate": p.estimate,
                "standard_error": None if math.isnan(p.standard_error) else p.standard_error,
                "effective_samples": p.effective,
                "exact": None if math.isnan(p.exact) else p.exact,
                "distinct": p.distinct,
                "a": {"c": c, "n": n},
                "b": {"n": p.samples},
                "draws_for_one_half": math.log(0.5) / math.log1p(-floor) if 0 < floor < 1 else None,
            }
        )
    solved = [r for r in rows if r["distinct"]]
    new = [r for r in solved if r["a"]["n"] and not r["a"]["c"]]
    floors = sorted(r["bound"] if r["exact"] is None else r["exact"] for r in new)
    summary = {
        "problems": len(rows),
        "solved_by_b": len(solved),
        "solved_by_b_never_by_a": len(new),
        "median_probability_of_those": floors[len(floors) // 2] if floors else None,
        "mean_exact": _mean([r["exact"] for r in rows]),
        "mean_sampled_by_a": _mean([r["a"]["c"] / r["a"]["n"] for r in rows if r["a"]["n"]]),
    }
    return {"a": a, "b": b, "temperature": temperature, "summary": summary, "problems": rows}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def text_of(result: dict[str, Any]) -> str:
    """The problems that B solved and A never did, least probable first, and a summary."""
    s, a, b = result["summary"], result["a"], result["b"]
    new = [r for r in result["problems"] if r["distinct"] and r["a"]["n"] and not r["a"]["c"]]
    new.sort(key=lambda r: r["bound"] if r["exact"] is None else r["exact"])
    lines = [f"{b} solved {s['solved_by_b']} of {s['problems']} problems, {len(new)} of them never solved by {a}."]
    if new:
        lines += [f"Probability of one sample of {a} on those (at least; draws for an even chance):"]
        for r in new[:20]:
            p = r["bound"] if r["exact"] is None else r["exact"]
            draws = f"{r['draws_for_one_half']:,.0f} draws" if r["draws_for_one_half"] else "no draws"
            kind = "listed" if r["exact"] is not None else f"{r['distinct']} solutions"
            lines.append(f"  {r['id'][:12]}  {p:.2e}  {draws:>16}  0 of {r['a']['n']} samples  {kind}")
        lines += [f"  ... and {len(new) - 20} more (--json has all)"] if len(new) > 20 else []
    if s["mean_exact"] is not None and s["mean_sampled_by_a"] is not None:
        lines.append(
            f"Over all {s['problems']} problems {a} solves one sample with probability {s['mean_exact']:.4f} (solutions listed "
            f"and added up); its samples were right {s['mean_sampled_by_a']:.4f} of the time."
        )
    return "\n".join(lines)
