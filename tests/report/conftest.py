"""A study as the demo leaves it, made from drawn numbers through the real store: plausible, quick, and partly hostile."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from offleash.core import Problem, rng
from offleash.store import RunFolder, SampleRow, Store, VerdictRow

HOSTILE = '</script><img src=x onerror=alert(1)><!-- <b>"&amp;\u202e'
VERIFIER = "arithmetic-1"
SETTINGS = {"engine": "native", "temperature": 1.0, "max_completion_length": 32, "dtype": "float32"}


@dataclass(frozen=True)
class ArmSpec:
    """An arm: how it changes the base's success rates, and its entropy."""

    label: str
    gain: float = 1.0
    dead: float = 0.0
    """Share of problems it can no longer solve, the base's rare ones first."""
    born: float = 0.0
    """Share of the problems the base hardly ever solves that it learns."""
    entropy: float = 0.6
    checkpoints: tuple[int, ...] = ()


ARMS = (
    ArmSpec("base"),
    ArmSpec("GRPO", gain=4.0, dead=0.35, entropy=0.18, checkpoints=(50, 100)),
    ArmSpec("GRPO-N", gain=2.2, dead=0.12, born=0.05, entropy=0.41, checkpoints=(50, 100)),
    ArmSpec("RL-PLUS", gain=3.0, dead=0.05, born=0.25, entropy=0.47, checkpoints=(50, 100)),
    ArmSpec("SFT on the same traces", gain=1.5, born=0.12, entropy=0.55, checkpoints=(50, 100)),
)
STRATA = (("five numbers", 2, 0.35, 9.0), ("six numbers", 3, 0.16, 16.0))


def make_study(
    folder: Path,
    *,
    problems: int = 24,
    samples: int = 32,
    arms: tuple[ArmSpec, ...] = ARMS,
    ks: tuple[int, ...] = (1, 4, 16, 32),
) -> Path:
    """Write a whole study into `folder`; returns it."""
    store = Store.create(folder / "store")
    with store.writer() as writer:
        sampler = writer.add_sampler(SETTINGS)
        for arm in arms:
            writer.add_model({"id": f"model-{arm.label}", "label": arm.label, "path": f"runs/{arm.label}"})
            for step in arm.checkpoints:
                writer.add_model({"id": f"model-{arm.label}@{step}", "label": f"{arm.label} @{step}", "step": step})
        for place, (name, level, *shape) in enumerate(STRATA):
            drawn = stratum_problems(level, problems if place == 0 else max(8, problems // 2))
            writer.add_problems([p for p, _ in drawn], guess=[g for _, g in drawn])
            base = rng.stream("rates", name).beta(*shape, size=len(drawn))
            for arm in arms:
                rates = arm_rates(base, arm)
                _sample(writer, sampler, f"model-{arm.label}", [p for p, _ in drawn], rates, samples, arm.entropy)
                for i, step in enumerate(arm.checkpoints if place == 0 else ()):
                    part = (i + 1) / (len(arm.checkpoints) + 1)
                    mixed = np.exp((1 - part) * np.log(base + 1e-5) + part * np.log(rates + 1e-5))
                    half = [p for p, _ in drawn[: len(drawn) // 2]]
                    _sample(writer, sampler, f"model-{arm.label}@{step}", half, mixed, samples, arm.entropy)
    for arm in arms[1:]:
        make_run(folder / "runs" / arm.label, arm)
    write_study_json(folder, arms, ks)
    return folder


def write_study_json(folder: Path, arms: tuple[ArmSpec, ...], ks: tuple[int, ...]) -> None:
    listed = [
        {
            "label": arm.label,
            "model": f"model-{arm.label}",
            "run": None if i == 0 else f"runs/{arm.label}",
            "checkpoints": [{"step": s, "model": f"model-{arm.label}@{s}"} for s in arm.checkpoints],
        }
        for i, arm in enumerate(arms)
    ]
    strata = [{"name": n, "task": "countdown", "level": level, "split": "test"} for n, level, *_ in STRATA]
    title = "countdown: what five minutes of RLVR do to a small model"
    study = {"title": title, "store": "store", "baseline": "base", "ks": list(ks), "strata": strata, "arms": listed}
    (folder / "study.json").write_text(json.dumps(study))


def stratum_problems(level: int, count: int) -> list[tuple[Problem, float]]:
    out = []
    generator = rng.stream("problems", level)
    for _ in range(count):
        numbers = sorted(int(x) for x in generator.integers(1, 26, size=level + 3))
        target = int(generator.integers(100, 1000))
        prompt = " ".join(map(str, numbers)) + f"={target}:"
        meta = {"numbers": numbers, "target": target}
        problem = Problem("countdown", "1", prompt, str(target), level=level, split="test", meta=meta)
        out.append((problem, float(generator.beta(1.0, 700.0))))
    return out


def arm_rates(base: np.ndarray, arm: ArmSpec) -> np.ndarray:
    """Success rates of an arm: the base's, multiplied, with some lost and some of the hardest gained."""
    rates = np.clip(base * arm.gain, 0.0, 0.95)
    order = np.argsort(base)
    rare = order[len(base) // 6 : len(base) // 6 + int(arm.dead * len(base))]
    rates[rare] = 0.0
    rates[order[: int(arm.born * len(base))]] = 0.05
    return rates


def _sample(
    writer: Any, sampler: str, model: str, problems: list[Problem], rates: np.ndarray, n: int, entropy: float
) -> None:
    samples, verdicts = [], []
    for problem, rate in zip(problems, rates, strict=False):
        generator = rng.stream("samples", model, problem.id)
        own = entropy * float(generator.uniform(0.7, 1.3))
        right = generator.random(n) < rate
        for index in range(n):
            sample, verdict = _one(generator, problem, model, sampler, index, bool(right[index]), own)
            samples.append(sample)
            verdicts.append(verdict)
    writer.add_samples(samples)
    writer.add_verdicts(verdicts)


def _one(
    generator: np.random.Generator, problem: Problem, model: str, sampler: str, index: int, right: bool, entropy: float
) -> tuple[SampleRow, VerdictRow]:
    numbers = [str(x) for x in generator.permutation(problem.meta["numbers"])]
    signs = generator.choice(list("+-*/"), size=len(numbers) - 1)
    text = "".join(a + b for a, b in zip(numbers, [*signs, ""], strict=True))
    hostile = index == 3 and not right
    if hostile:
        text = HOSTILE
    length = 6
    entropies = np.maximum(0.0, generator.normal(entropy, 0.1, size=length)).tolist()
    sample = SampleRow(model, problem.id, index, 0, sampler, text, [1] * length, [-0.5] * length, entropies, "stop")
    value = problem.answer if right else str(int(problem.answer) + int(generator.integers(1, 90)))
    reason = "" if right else f"cannot read {HOSTILE!r}" if hostile else f"equals {value}, not {problem.answer}"
    correct = None if index == 5 and model == "model-GRPO-N" and problem.level == 3 else right
    return sample, VerdictRow(
        model, problem.id, index, 0, sampler, VERIFIER, correct, float(right), value, "expression", reason
    )


def make_run(folder: Path, arm: ArmSpec, steps: int = 120) -> RunFolder:
    """A training run's folder: metrics, timings, events and probes, without checkpoints."""
    recipe = f'objective: {arm.label}\nsteps: {steps}\nnote: "</script><script>alert(1)</script>"\n'
    run = RunFolder.create(folder, recipe, {"objective": arm.label, "seed": 0, "started_from": "base"})
    generator = rng.stream("run", arm.label)
    for step in range(1, steps + 1):
        part = 1 - math.exp(-step / 50)
        noise = generator.normal(0, 1, size=4)
        run.append_metrics(
            {
                "step": step,
                "reward": 0.03 + 0.05 * arm.gain * part + 0.02 * noise[0],
                "accuracy": 0.03 + 0.05 * arm.gain * part + 0.02 * noise[0],
                "token_entropy": 0.62 - (0.62 - arm.entropy) * part + 0.01 * noise[1],
                "completion_length": 14 + 0.5 * noise[2],
                "grad_norm": math.nan if step == 7 else 0.6 + 0.15 * abs(noise[3]),
                "loss": 0.01 * noise[3],
                "zero_std_groups": 0.4 * part,
                "lr": 1e-4,
            }
        )
        run.append_timings({"step": step, "rollout_s": 0.8, "update_s": 0.5, "tokens": 7000, "tokens_per_s": 8750.0})
        if step % 40 == 0:
            passes = {
                str(k): {"value": v * (1 + 0.1 * part), "low": v * 0.8, "high": min(1.0, v * 1.2)}
                for k, v in ((1, 0.1 * part + 0.03), (4, 0.2), (16, 0.4), (64, 0.6))
            }
            run.append_event({"step": step, "kind": "probe", "pass_at_k": passes, "token_entropy": 0.4})
    run.append_event({"step": 60, "kind": "skipped", "message": "gradient not finite <b>; update skipped"})
    return run


def rows_of_one_problem(samples: int = 12) -> tuple[list[SampleRow], list[VerdictRow]]:
    """Samples and verdicts of one problem, as a run keeps them."""
    (problem, _), generator = stratum_problems(2, 1)[0], rng.stream("one problem")
    pairs = [_one(generator, problem, "run, step 2", "sampler", i, i % 4 == 0, 0.5) for i in range(samples)]
    return [s for s, _ in pairs], [v for _, v in pairs]


@pytest.fixture(scope="session")
def studio() -> ModuleType:
    """This module: what makes studies and runs."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study, made once; tests do not change it."""
    return make_study(tmp_path_factory.mktemp("study") / "demo", arms=ARMS[:4])


@pytest.fixture
def hostile() -> str:
    """A text that would act if anything let it."""
    return HOSTILE
