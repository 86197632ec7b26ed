"""Training as a run folder logged it: metrics over steps, probes, events, timings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store import RunFolder, read_study

Json = dict[str, Any]

CURVES = {
    "reward": "reward, mean of the batch",
    "token_entropy": "token entropy, nats",
    "completion_length": "completion length, tokens",
    "grad_norm": "gradient norm",
}
TITLES = {
    "reward": "Reward",
    "token_entropy": "Token entropy",
    "completion_length": "Completion length",
    "grad_norm": "Gradient norm",
}
CAPTIONS = {
    "reward": "Mean reward of each step's sampled completions: how fast training raises accuracy on its own problems.",
    "token_entropy": "How undecided the policy is at each token. A fall to zero means it has stopped exploring.",
    "completion_length": "Mean tokens of a sampled completion, the end token included.",
    "grad_norm": "Length of the gradient before clipping; spikes are steps to distrust.",
}


def history(path: Path) -> Json:
    """A run's logs as columns; `notes` says in words what is missing.

    Raises:
        InputError: a log with a damaged line in its middle.
    """
    empty: Json = {"step": [], "metrics": {}, "probes": [], "events": [], "timings": {}, "recipe": "", "info": {}}
    try:
        run = RunFolder.open(path)
    except InputError as error:
        return empty | {"notes": [f"No training curves: {error}."]}
    rows = run.metrics()
    notes = [f"The last line of {name}.jsonl is incomplete and left out." for name, n in run.truncated().items() if n]
    if not rows:
        notes.append("No training curves: metrics.jsonl has no line yet.")
    missing = _incomplete(run, rows)
    if missing:
        notes.append(f"The run is incomplete: {missing}.")
    events = run.events()
    probes = [_probe(e) for e in events if e.get("kind") == "probe" and isinstance(e.get("pass_at_k"), Mapping)]
    return {
        "step": [row.get("step") for row in rows],
        "metrics": _columns(rows),
        "probes": probes,
        "events": [e for e in events if e.get("kind") != "probe"],
        "timings": timings(run.timings()),
        "recipe": _recipe(run),
        "info": run.info(),
        "notes": notes,
    }


def incomplete(folder: Path) -> list[str]:
    """A line for each run of a study or run folder that has not reached the last step of its recipe."""
    runs = [folder]
    if (folder / "study.json").is_file():
        runs = [arm.run for arm in read_study(folder).arms if arm.run is not None and (arm.run / "run.json").is_file()]
    found = [(path, RunFolder.open(path)) for path in runs]
    missing = [(path, _incomplete(run, run.metrics())) for path, run in found]
    return [f"{path} is incomplete: {what}; `offleash train ... --resume` goes on" for path, what in missing if what]


def _incomplete(run: RunFolder, rows: Sequence[Mapping[str, Any]]) -> str:
    """How far a run got, where that is not the end; "" where it is, or the recipe does not say."""
    import yaml

    try:
        recipe = yaml.safe_load(_recipe(run))
    except yaml.YAMLError:
        return ""
    steps = recipe.get("steps") if isinstance(recipe, Mapping) else None
    reached = max((int(row.get("step") or 0) for row in rows), default=0)
    return f"step {reached} of {steps}" if isinstance(steps, int) and reached < steps else ""


def timings(rows: Sequence[Mapping[str, Any]]) -> Json:
    """Totals and rates over a run; keys that end in `_s` are seconds."""
    if not rows:
        return {}
    seconds = {k: _sum(rows, k) for row in rows for k in row if k.endswith("_s") and k != "tokens_per_s"}
    tokens = _sum(rows, "tokens")
    out: Json = {"steps": len(rows), "seconds": dict(sorted(seconds.items())), "tokens": tokens}
    rollout = seconds.get("rollout_s", 0.0)
    return out | {"seconds_total": math.fsum(seconds.values()), "tokens_per_s": tokens / rollout if rollout else None}


def _sum(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return math.fsum(_number(row.get(key)) or 0.0 for row in rows)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    names = sorted({name for row in rows for name in row} - {"step"})
    columns = {name: [_number(row.get(name)) for row in rows] for name in names}
    return {name: values for name, values in columns.items() if any(v is not None for v in values)}


def _number(value: Any) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and math.isfinite(value) else None


def _probe(event: Mapping[str, Any]) -> Json:
    passes = {}
    for k, e in event["pass_at_k"].items():
        ends = e if isinstance(e, Mapping) else {"value": e}
        passes[str(int(k))] = {name: _number(ends.get(name)) for name in ("value", "low", "high")}
    others = {k: v for k, v in event.items() if k not in ("kind", "pass_at_k")}
    return {"pass_at_k": passes, **others}


def _recipe(run: RunFolder) -> str:
    try:
        return run.recipe_text()
    except FileNotFoundError:
        return ""
