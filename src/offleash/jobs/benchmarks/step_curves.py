"""The same work beside TRL: reward curves of both from the embedded base over some seeds, and the time to the same pass@1.

Seconds are those of the steps alone. Held-out pass@1 is measured between them, of both by the same engine on the same problems.
"""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from offleash import nn, tasks
from offleash.core import Problem, rng
from offleash.engines import Request, SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.jobs.benchmarks import step_trl
from offleash.jobs.benchmarks.step import OVER_BEST, grpo
from offleash.jobs.benchmarks.step_sides import Side, Told, ours
from offleash.training import TrainSettings

SEEDS, STEPS, EVERY = (0, 1, 2), 30, 5
PROBLEMS, SAMPLES = 128, 8
"""Of the measurement of pass@1: test problems, completions of each."""


@dataclass
class Curve:
    """One run: reward of every step, and (step, seconds, pass@1) where it was measured."""

    rewards: list[float] = field(default_factory=list)
    looks: list[tuple[int, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0

    def time_to(self, pass1: float) -> float:
        """Seconds of training until the first measurement that reaches it."""
        return next((seconds for _, seconds, value in self.looks if value >= pass1), math.nan)


def curves_beside_trl() -> list[dict[str, Any]]:
    """One row: the time to the pass@1 that every run of both reaches, and the curves."""
    settings = replace(grpo(nn.EMBEDDED), steps=STEPS + 1)
    chosen = step_trl.candidates(settings.rollout.num_prompts * settings.rollout.num_generations)[3]
    found = [_pair(replace(settings, seed=seed), chosen) for seed in SEEDS]
    own, peer = [a for a, _ in found], [b for _, b in found]
    reached = min(max(value for _, _, value in curve.looks) for curve in own + peer)
    ratios = [b.time_to(reached) / a.time_to(reached) for a, b in found]
    return [
        {
            "name": f"time to a held-out pass@1 of {reached:.3f}, embedded base, beside TRL ({chosen.name})",
            "unit": "s",
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            "target": OVER_BEST,
            "better": "higher",
            "ours": statistics.median(c.time_to(reached) for c in own),
            "peer": statistics.median(c.time_to(reached) for c in peer),
            "pairs": len(found),
            "dtype": "float32",
            "cpu_ratio": statistics.median(b.cpu / a.cpu for a, b in found),
            **gap(own, peer),
            "peer_settings": chosen.to_json(),
            "curves": [c.rewards for c in own],
            "peer_curves": [c.rewards for c in peer],
            "looks": [c.looks for c in own],
            "peer_looks": [c.looks for c in peer],
        }
    ]


def gap(own: list[Curve], peer: list[Curve]) -> dict[str, float | bool]:
    """Mean reward over all steps and over the last ten: the difference, and the noise that seeds alone put into it.

    The noise is sqrt((v + v') / seeds), v and v' the variance between a side's seeds; within it means at most two of it.
    """
    out: dict[str, float | bool] = {}
    for name, steps in (("", slice(None)), ("_last10", slice(-10, None))):
        a = [statistics.mean(c.rewards[steps]) for c in own]
        b = [statistics.mean(c.rewards[steps]) for c in peer]
        noise = math.sqrt((statistics.variance(a) + statistics.variance(b)) / len(a))
        difference = statistics.mean(a) - statistics.mean(b)
        out |= {f"reward{name}": statistics.mean(a), f"peer_reward{name}": statistics.mean(b)}
        out |= {f"reward_gap{name}": difference, f"seed_noise{name}": noise}
        out[f"within_noise{name}"] = abs(difference) <= 2 * noise
    return out


def _pair(settings: TrainSettings, chosen: step_trl.Chosen) -> tuple[Curve, Curve]:
    sides = [
        Side(ours(settings), torch.get_num_threads()),
        Side(step_trl.theirs(settings, chosen), chosen.threads),
    ]
    curves = Curve(), Curve()
    problems = list(itertools.islice(tasks.problems(tasks.get("countdown"), 5, "test", 1), PROBLEMS))
    try:
        for step in range(1, STEPS + 1):
            for curve, side in zip(curves, sides, strict=True):
                done = side.step()
                if step > 1:  # the first one includes loading
                    curve.seconds += done.seconds
                    curve.cpu += done.cpu
                curve.rewards.append(done.told.reward)
                if step % EVERY == 0:
                    curve.looks.append((step, curve.seconds, _pass1(done.told, problems)))
    finally:
        for side in sides:
            side.close()
    return curves


@torch.no_grad()
def _pass1(told: Told, problems: list[Problem]) -> float:
    task = tasks.get("countdown")
    engine = NativeEngine(told.model, told.tokenizer, SamplingSettings(1.0, 24))
    requests = [
        Request(p.id, p.prompt, i, rng.key64("bench curves", p.id, i)) for p in problems for i in range(SAMPLES)
    ]
    pairs = zip(itertools.chain.from_iterable([p] * SAMPLES for p in problems), engine.generate(requests), strict=True)
    verdicts = tasks.verify_all(task, [(problem, completion.text) for problem, completion in pairs])
    return statistics.mean(v.correct is True for v in verdicts)
