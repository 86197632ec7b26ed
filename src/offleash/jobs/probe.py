"""The boundary probe a training run is handed: pass@k and entropies on held-out probe problems, with intervals."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash import tasks
from offleash.boundary import Counts, curve
from offleash.core import rng
from offleash.engines import Request, SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.training import TrainSettings
from offleash.training.loop import Probe


def make_probe(settings: TrainSettings) -> Probe:
    """A probe on the task's `probe` split: problems and uniform numbers are the same at every step, so changes are paired."""
    task = tasks.get(settings.task.name)
    problems = list(
        itertools.islice(tasks.problems(task, settings.task.levels[0], "probe", settings.seed), settings.probe.problems)
    )
    requests = [
        Request(p.id, p.prompt, i, rng.key64("probe", settings.seed, p.id, i))
        for p in problems
        for i in range(settings.probe.samples)
    ]
    sampling = SamplingSettings(settings.rollout.temperature, settings.rollout.max_completion_length)

    def probe(step: int, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        n = settings.probe.samples
        completions = NativeEngine(model, tokenizer, sampling, settings.rollout.rows).generate(requests)
        verdicts = [task.verify(problems[i // n], c.text) for i, c in enumerate(completions)]
        correct = [sum(v.correct is True for v in verdicts[i * n : (i + 1) * n]) for i in range(len(problems))]
        decided = [sum(v.correct is not None for v in verdicts[i * n : (i + 1) * n]) for i in range(len(problems))]
        counts = Counts(tuple(p.id for p in problems), np.array(correct), np.array(decided))
        ks = [k for k in (1, 4, 16, 64, 256, 1024) if k <= n]
        tokens = sum(len(c.token_ids) for c in completions)
        return {
            "pass_at_k": {
                str(k): {"value": e.value, "low": e.low, "high": e.high} for k, e in curve(counts, ks).items()
            },
            "token_entropy": sum(sum(c.entropies) for c in completions) / tokens,
            "problems": len(problems),
            "samples": n,
        }

    return probe
