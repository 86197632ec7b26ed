"""A model's samples by temperature, and the answer to "is it only temperature?"."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from offleash.boundary import Counts, token_entropy
from offleash.boundary.temperature import Heat, Temperatures, temperatures
from offleash.core import InputError
from offleash.store import Store

if TYPE_CHECKING:
    from offleash.jobs.sides import Selection

Json = dict[str, Any]


def samplers_of(store: Store, model: str) -> dict[str, float]:
    """The samplers a model was sampled with, and their temperatures."""
    known = store.samplers()
    rows = store.sql(f"SELECT DISTINCT sampler FROM samples WHERE model = '{store.model(model)['id']}'").to_pylist()
    return {str(r["sampler"]): float(known[str(r["sampler"])]["temperature"]) for r in rows}


def choose(store: Store, record: Json, selection: Selection) -> tuple[Selection, float, bool]:
    """The selection with the sampler of its temperature, that temperature, and whether there are others.

    Where nothing is chosen and a model was sampled at several temperatures, 1 is taken if it is among them.

    Raises:
        InputError: no samples at the chosen temperature, or several temperatures without 1 among them and none chosen.
    """
    known = samplers_of(store, record["id"])
    warmths = sorted(set(known.values()))
    if selection.sampler is not None:
        chosen = {store.samplers()[s]["temperature"] for s in known if s.startswith(selection.sampler)}
        return selection, float(chosen.pop()) if len(chosen) == 1 else math.nan, False
    wanted = selection.temperature
    if wanted is None and len(warmths) < 2:
        return selection, warmths[0] if warmths else math.nan, False
    wanted = 1.0 if wanted is None else wanted
    if wanted not in warmths:
        found = ", ".join(f"{t:g}" for t in warmths) or "none"
        raise InputError(f"--temperature: {record['label']} has no samples at {wanted:g}; it has {found}")
    at = [sampler for sampler, temperature in known.items() if temperature == wanted]
    # Several samplers of one temperature are a mixture that the store refuses by name.
    return replace(selection, sampler=at[0] if len(at) == 1 else None), wanted, len(warmths) > 1


def by_temperature(store: Store, model: str, chosen: Json) -> dict[float, Heat]:
    """Counts and mean token entropy at each temperature; empty where there is no verified sample.

    Args:
        store: holds the model.
        model: id or label.
        chosen: task, level, split, seed as `Store.counts` takes them.

    Raises:
        InputError: two samplers of one temperature differ in something else, so that it is not temperature alone.
    """
    found: dict[float, Heat] = {}
    names: dict[float, str] = {}
    for sampler, temperature in samplers_of(store, model).items():
        table = store.rows(model, **(chosen | {"sampler": sampler}))
        decided = [r for r in table.to_pylist() if r["correct"] is not None]
        if not decided:
            continue
        if temperature in found:
            raise InputError(
                f"--sampler: {names[temperature][:12]} and {sampler[:12]} both have temperature {temperature:g} and differ in "
                "other settings; choose one"
            )
        names[temperature] = sampler
        entropies: dict[str, list[float]] = {}
        right: dict[str, list[bool]] = {}
        for r in decided:
            entropies.setdefault(r["problem_id"], []).append(math.nan if r["entropy"] is None else r["entropy"])
            right.setdefault(r["problem_id"], []).append(bool(r["correct"]))
        ids = tuple(sorted(right))
        counts = Counts(ids, np.array([sum(right[i]) for i in ids]), np.array([len(right[i]) for i in ids]))
        found[temperature] = Heat(counts, token_entropy(entropies, replicates=200).value)
    return found


def only_temperature(a: dict[float, Heat], b: dict[float, Heat], k: int, reference: float) -> Temperatures | None:
    """The comparison, where either model was sampled at more than one temperature; None where there is nothing to say."""
    if max(len(a), len(b)) < 2 or reference not in a or reference not in b:
        return None
    return temperatures(a, b, k=k, reference=reference)


def to_json(found: Temperatures, k: int) -> Json:
    """The `temperature` part of `compare --json`."""

    def at(name: str) -> Json | None:
        difference = getattr(found, name)
        return None if difference is None else dict(zip(("value", "low", "high"), difference.at(k), strict=True))

    j = found.best.ks.index(k)
    return {
        "answer": found.answer,
        "because": found.because,
        "k": k,
        "reference": found.reference,
        "same_temperature": at("plain"),
        "matched_entropy": at("matched"),
        "matched_at": None if math.isnan(found.matched_at) else found.matched_at,
        **({"matched_reason": found.matched_reason} if found.matched_reason else {}),
        "best_temperature": at("best"),
        "best_a": float(found.best_a[j]),
        "best_b": float(found.best_b[j]),
        "token_entropy": {
            side: {f"{t:g}": None if math.isnan(h) else h for t, h in values.items()}
            for side, values in (("a", found.entropy_a), ("b", found.entropy_b))
        },
    }
