"""Models of other families, decoded through their own forward: same tokens, log-probs and streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from offleash.engines import SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.engines.native.generic import Generic
from tests.engines.native_models import OTHERS, TOKENIZER, hf_greedy, llama, requests, spread


@pytest.mark.parametrize("family", OTHERS)
def test_greedy_equals_hugging_face(family: str) -> None:
    model = spread(OTHERS[family]())
    engine = NativeEngine(model, TOKENIZER, SamplingSettings(0.0, 20), rows=3)
    assert isinstance(engine.decoder, Generic)
    for completion in engine.generate(requests(1)):
        assert list(completion.token_ids) == hf_greedy(model, completion.problem_id, 20)


@pytest.mark.parametrize("family", OTHERS)
def test_logprobs_and_entropies_equal_a_teacher_forced_forward(family: str) -> None:
    model = spread(OTHERS[family]())
    for c in NativeEngine(model, TOKENIZER, SamplingSettings(0.8, 12), rows=8).generate(requests(4)):
        prompt = TOKENIZER(c.problem_id)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *c.token_ids]])).logits[0, len(prompt) - 1 : -1].float()
        logp = (logits / 0.8).log_softmax(-1)
        chosen = logp[torch.arange(len(c.token_ids)), list(c.token_ids)]
        np.testing.assert_allclose(chosen.numpy(), c.logprobs, atol=2e-5)
        np.testing.assert_allclose(-(logp.exp() * logp).sum(-1).numpy(), c.entropies, atol=2e-5)


def test_it_draws_the_same_samples_as_the_engines_own_decoder() -> None:
    model, asked, settings = llama(), requests(8), SamplingSettings(1.0, 16)
    own = NativeEngine(model, TOKENIZER, settings, rows=16)
    other = NativeEngine(model, TOKENIZER, settings, rows=7)
    other.decoder = Generic(model)
    assert [c.token_ids for c in own.generate(asked)] == [c.token_ids for c in other.generate(asked)]


def test_a_change_of_the_weights_is_seen() -> None:
    model = spread(OTHERS["gpt2"]())
    engine = NativeEngine(model, TOKENIZER, SamplingSettings(0.0, 8))
    engine.generate(requests(1))
    spread(model, seed=2)
    engine.refresh()
    for completion in engine.generate(requests(1)):
        assert list(completion.token_ids) == hf_greedy(model, completion.problem_id, 8)
