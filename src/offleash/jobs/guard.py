"""The guard of a training run: rules that read the boundary probes and act on what they show.

A run is looked at many times, and each look has its chance of a false alarm. Look t is therefore held to the level
1 - alpha * 6 / (pi t)^2, whose misses add up to alpha over any number of looks, so a rule may act at any of them
(a union bound; Robbins 1970 spends alpha in the same way).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from offleash.boundary import Counts, difference
from offleash.training import TrainSettings
from offleash.training.actions import Action
from offleash.training.settings import GuardSettings

Event = Mapping[str, Any]


def make_guard(settings: TrainSettings) -> Callable[[Sequence[Event]], list[Action]] | None:
    """What a recipe's rules make of the events so far; None without rules."""
    if not settings.guard:
        return None

    def guard(events: Sequence[Event]) -> list[Action]:
        probes = [e for e in events if e.get("kind") == "probe"]
        found: list[Action] = []
        for i, rule in enumerate(settings.guard):
            fired = [int(e["step"]) for e in events if e.get("kind") == "guard" and e.get("rule") == i]
            if len(set(fired)) >= rule.times or len(probes) < 2:
                continue
            evidence = (
                _narrowed(probes, rule) if rule.when == "narrowed" else _plateau(probes, rule, max(fired, default=-1))
            )
            if evidence:
                found += [Action(do, evidence, rule.change if do == "change" else {}, i) for do in rule.do]
        return found

    return guard


def look_level(confidence: float, look: int) -> float:
    """The level of look 1, 2, ... at which all looks together err with probability at most 1 - confidence."""
    return 1 - (1 - confidence) * 6 / (math.pi * look) ** 2


def _narrowed(probes: Sequence[Event], rule: GuardSettings) -> str:
    """The evidence that pass@k is below that of step 0, or ""."""
    first, last, look = _counts(probes[0]), _counts(probes[-1]), len(probes) - 1
    k = rule.k or max(1, int(probes[-1]["samples"]) // 2)
    if min(first.n.min(), last.n.min()) < k:
        return ""  # a verifier that could not decide left too few samples to say
    level = look_level(rule.confidence, look)
    found = difference(first, last, [k], level=level)
    value, low, high = found.at(k)
    if high >= 0:
        return ""
    return (
        f"pass@{k} of {len(first)} probe problems moved by {value:+.3f} since step {probes[0]['step']} "
        f"[{low:+.3f}, {high:+.3f}], at {level:.2%} for this look ({look}), {rule.confidence:.0%} for all looks together"
    )


def _plateau(probes: Sequence[Event], rule: GuardSettings, since: int) -> str:
    """The evidence that pass@1 has not improved for `patience` probes since the rule last acted, or ""."""
    rates = [(int(e["step"]), float(e["pass_at_k"]["1"]["value"])) for e in probes if int(e["step"]) > since]
    if len(rates) <= rule.patience:
        return ""
    best = max(rate for _, rate in rates[: -rule.patience])
    recent = max(rate for _, rate in rates[-rule.patience :])
    if recent > best:
        return ""
    return f"pass@1 on the probe problems was at most {recent:.3f} in the last {rule.patience} probes, {best:.3f} before them"


def _counts(event: Event) -> Counts:
    c, n = np.array(event["c"]), np.array(event["n"])
    return Counts(tuple(str(i) for i in range(len(c))), c, n)
