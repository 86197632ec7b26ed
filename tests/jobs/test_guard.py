"""The guard's rules: quiet under no change however often they look, awake when the boundary narrows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from offleash.core import rng
from offleash.jobs.guard import look_level, make_guard, planned_looks
from offleash.training import TrainSettings
from offleash.training.settings import GuardSettings, ProbeSettings

P, N, K = 64, 32, 16


def settings(*rules: GuardSettings) -> TrainSettings:
    return TrainSettings(steps=10, probe=ProbeSettings(every=1, problems=P, samples=N), guard=rules)


def event(step: int, c: np.ndarray) -> dict[str, object]:
    return {
        "kind": "probe", "step": step, "samples": N, "c": c.tolist(), "n": [N] * len(c),
        "pass_at_k": {"1": {"value": float(c.mean() / N)}},
    }  # fmt: skip


@pytest.mark.parametrize(("steps", "every", "looks"), [(240, 30, 8), (10, 4, 3), (3, 5, 1)])
def test_misses_add_up_over_the_looks_of_the_run(steps: int, every: int, looks: int) -> None:
    planned = TrainSettings(steps=steps, probe=ProbeSettings(every=every))
    probed = [s for s in range(1, steps + 1) if s % every == 0 or s == steps]  # as the loop probes
    assert planned_looks(planned) == looks == len(probed)
    above = (1 - look_level(0.95, looks)) / 2  # the share of an interval's misses that lies below its upper end
    assert looks * above == pytest.approx(0.05)


def test_narrowed_is_said_with_its_evidence_and_as_often_as_asked() -> None:
    draw = rng.stream("guard narrowed")
    rate = draw.beta(0.5, 2, P)
    guard = make_guard(settings(GuardSettings("narrowed", ("warn", "stop"), times=2)))
    assert guard is not None
    events: list[dict[str, object]] = [event(0, draw.binomial(N, rate))]
    assert guard(events) == []
    events.append(event(5, draw.binomial(N, np.where(draw.random(P) < 0.6, 0, rate))))
    found = guard(events)
    assert [(a.do, a.rule) for a in found] == [("warn", 0), ("stop", 0)]
    assert f"pass@{K} of {P} probe problems moved by -" in found[0].message
    for step in (5, 6):
        events.append({"kind": "guard", "step": step, "do": "warn", "rule": 0})
    assert guard(events) == []


@pytest.mark.slow
def test_false_alarms_over_a_whole_run() -> None:
    """No change, 10 looks a run: at most 5% of 40 runs are ever called narrowed, plus two standard errors (6.9%)."""
    draw = rng.stream("guard null")
    guard = make_guard(settings(GuardSettings("narrowed")))
    assert guard is not None
    alarms = 0
    for _ in range(40):
        rate = draw.beta(0.3, 1.5, P)
        events = [event(0, draw.binomial(N, rate))]
        for look in range(1, 11):
            events.append(event(look, draw.binomial(N, rate)))
            if guard(events):
                alarms += 1
                break
    assert alarms / 40 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 40)


def test_a_plateau_counts_from_the_last_act() -> None:
    guard = make_guard(settings(GuardSettings("plateau", ("reset_reference",), patience=2, times=5)))
    assert guard is not None
    rising = [event(i, np.full(P, 4 + i)) for i in range(4)]
    assert guard(rising) == []
    flat = [*rising, event(4, np.full(P, 7)), event(5, np.full(P, 6))]
    assert [a.do for a in guard(flat)] == ["reset_reference"]
    acted = [*flat, {"kind": "guard", "step": 5, "do": "reset_reference", "rule": 0}]
    assert guard([*acted, event(6, np.full(P, 5))]) == []
    assert guard([*acted, *(event(i, np.full(P, 5)) for i in (6, 7, 8))]) != []


def test_a_change_carries_its_fields() -> None:
    rule = GuardSettings("plateau", ("change",), {"objective": {"name": "grpo-n"}}, patience=1)
    guard = make_guard(settings(rule))
    assert guard is not None
    (action,) = guard([event(0, np.full(P, 5)), event(1, np.full(P, 5))])
    assert action.to_json()["change"] == {"objective": {"name": "grpo-n"}}


def test_samples_that_nobody_could_judge_are_no_evidence() -> None:
    guard = make_guard(settings(GuardSettings("narrowed")))
    assert guard is not None
    last = event(1, np.zeros(P, dtype=int)) | {"n": [3] * P}
    assert guard([event(0, np.full(P, 20)), last]) == []
