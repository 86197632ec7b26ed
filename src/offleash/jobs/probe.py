"""The boundary probe a training run is handed: pass@k and entropies on held-out probe problems, with intervals."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash import tasks
from offleash.boundary import Counts, answer_entropy, curve
from offleash.core import Completion, Verdict, rng
from offleash.engines import Request, SamplingSettings
from offleash.engines.episodes import sampler_for, stops_of
from offleash.engines.native import NativeEngine
from offleash.store import RunFolder
from offleash.training import TrainSettings
from offleash.training.loop import Probe
from offleash.training.processes import start


def make_probe(settings: TrainSettings, run: RunFolder) -> Probe:
    """A probe on the task's `probe` split: problems and uniform numbers are the same at every step, so changes are paired.

    Args:
        settings: the recipe; temperature and lengths are those of its first stage throughout.
        run: where the probe of step 0 is read from, against which problems are kept, lost and gained.
    """
    task = tasks.get(settings.task.name)
    problems = list(
        itertools.islice(tasks.problems(task, settings.task.levels[0], "probe", settings.seed), settings.probe.problems)
    )
    requests = [
        Request(p.id, p.prompt, i, rng.key64("probe", settings.seed, p.id, i))
        for p in problems
        for i in range(settings.probe.samples)
    ]
    rollout = settings.rollout
    sampling = SamplingSettings(rollout.temperature, rollout.max_completion_length, stops_of(task))

    def probe(step: int, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        n = settings.probe.samples
        engine = NativeEngine(model, tokenizer, sampling, rollout.rows)
        sampler, processes = sampler_for(task, engine, {p.id: p for p in problems}), start()

        def drawn() -> list[tuple[Completion, Verdict]]:
            mine = processes.part(len(requests))
            found = sampler.generate([requests[i] for i in mine])
            texts = [(problems[i // n], c.text) for i, c in zip(mine, found, strict=True)]
            return list(zip(found, tasks.verify_all(task, texts), strict=True))

        pairs = [pair for part in processes.gather(drawn) for pair in part]
        completions, verdicts = [c for c, _ in pairs], [v for _, v in pairs]
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
            "answer_entropy": _answer_entropy(verdicts, n),
            "formats": _shares([v.format or "none" for v in verdicts]),
            **_support(run, correct),
            "problems": len(problems),
            "samples": n,
            "c": correct,
            "n": decided,
        }

    return probe


def _answer_entropy(verdicts: Sequence[Verdict], n: int) -> float | None:
    """Mean over problems of the entropy of the answers, in nats; a sample without an answer has the answer "none"."""
    answers = {str(i): [v.answer or "none" for v in verdicts[i : i + n]] for i in range(0, len(verdicts), n)}
    value = answer_entropy(answers, replicates=100).value
    return None if math.isnan(value) else value


def _shares(names: Sequence[str]) -> dict[str, float]:
    counted = Counter(names)
    return {name: counted[name] / len(names) for name in sorted(counted)}


def _support(run: RunFolder, correct: Sequence[int]) -> dict[str, dict[str, int]]:
    """Problems kept, lost and gained since step 0; nothing at step 0 itself."""
    first = next((e for e in run.events() if e.get("kind") == "probe"), None)
    if first is None:
        return {}
    pairs = [(a > 0, b > 0) for a, b in zip(first["c"], correct, strict=True)]
    counted = Counter(pairs)
    return {"support": {"kept": counted[True, True], "lost": counted[True, False], "gained": counted[False, True]}}
