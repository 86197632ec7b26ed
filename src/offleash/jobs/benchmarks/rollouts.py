"""Rollouts beside transformers' `generate`.

Tokens are those of the completions, the end token included, so a side that decodes padding gains nothing by it.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from offleash import nn, tasks
from offleash.core import rng
from offleash.engines import Request, SamplingSettings
from offleash.engines.native import NativeEngine

LEVEL, PROMPTS, SAMPLES, LENGTH, PAIRS = 5, 32, 16, 32, 5
TARGET = 4.0
"""Tokens per second on the embedded base at 512 concurrent samples, as a multiple of the peer's."""


def beside_transformers() -> list[dict[str, Any]]:
    """Countdown completions of the embedded base at temperature 1: our engine against `generate`."""
    model, tokenizer = nn.load(nn.EMBEDDED)
    prompts = [p.prompt for p in itertools.islice(tasks.problems(tasks.get("countdown"), LEVEL, "train", 0), PROMPTS)]
    engine = NativeEngine(model, tokenizer, SamplingSettings(1.0, LENGTH), rows=PROMPTS * SAMPLES)
    keys = itertools.count()

    def ours() -> int:
        seed = next(keys)
        requests = [Request(p, p, i, rng.key64("bench", seed, p, i)) for p in prompts for i in range(SAMPLES)]
        return sum(len(c.token_ids) for c in engine.generate(requests))

    def theirs() -> int:
        return _generate(model, tokenizer, prompts)

    pairs = [(_speed(ours), _speed(theirs)) for _ in range(PAIRS + 1)][1:]  # the first pair warms both up
    ratios = [a / b for a, b in pairs]
    return [
        {
            "name": f"rollouts, embedded base, {PROMPTS * SAMPLES} samples",
            "unit": "tokens/s",
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            "target": TARGET,
            "better": "higher",
            "ours": statistics.median(a for a, _ in pairs),
            "peer": statistics.median(b for _, b in pairs),
            "pairs": PAIRS,
            "dtype": "float32",
        }
    ]


def _generate(model: Any, tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> int:
    """Completion tokens drawn by `generate`: all samples in one left-padded batch, its best case."""
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
    with torch.inference_mode():
        ids = model.generate(
            **encoded,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=LENGTH,
            num_return_sequences=SAMPLES,
        )
    new = ids[:, encoded["input_ids"].shape[1] :]
    ended = (new == tokenizer.eos_token_id).int()
    before_end = (ended.cumsum(1) - ended) == 0
    return int(before_end.sum())


def _speed(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    tokens = work()
    return tokens / (time.perf_counter() - start)
