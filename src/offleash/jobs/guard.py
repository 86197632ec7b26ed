"""The guard of a training run: rules that read the boundary probes and act on what they show.

A run is looked at many times, and each look has its chance of a false alarm. The recipe says how many probes there will be, so
each look is held to an equal share of alpha, one-sided: misses add up to alpha at most over the whole run, and a rule may act at
any look (a union bound). Shares that fall with t, as an endless run would need (6 alpha / (pi t)^2), left the later looks too weak
to see what plain GRPO loses in 240 steps (log/EXPERIMENTS.md).
"""

from __future__ import annotations

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
            if rule.when == "narrowed":
                evidence = _narrowed(probes, rule, planned_looks(settings))
            else:
                evidence = _plateau(probes, rule, max(fired, default=-1))
            if evidence:
                found += [Action(do, evidence, rule.change if do == "change" else {}, i) for do in rule.do]
        return found

    return guard


def planned_looks(settings: TrainSettings) -> int:
    """How many probes follow that of step 0: one every `probe.every` steps, and one at the end."""
    return -(-settings.steps // settings.probe.every)


def look_level(confidence: float, looks: int) -> float:
    """The level of a two-sided interval whose upper end misses with probability (1 - confidence) / looks."""
    return 1 - 2 * (1 - confidence) / looks


def _narrowed(probes: Sequence[Event], rule: GuardSettings, looks: int) -> str:
    """The evidence that pass@k is below that of step 0, or ""; `looks` is how many there are in the whole run."""
    first, last = _counts(probes[0]), _counts(probes[-1])
    k = rule.k or max(1, int(probes[-1]["samples"]) // 2)
    if min(first.n.min(), last.n.min()) < k:
        return ""  # a verifier that could not decide left too few samples to say
    level = look_level(rule.confidence, looks)
    found = difference(first, last, [k], level=level)
    value, _, high = found.at(k)
    if high >= 0:
        return ""
    return (
        f"pass@{k} of {len(first)} probe problems moved by {value:+.3f} since step {probes[0]['step']}, by {high:+.3f} or "
        f"less at {(1 + level) / 2:.2%}: {rule.confidence:.0%} for all {looks} looks of the run together"
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
