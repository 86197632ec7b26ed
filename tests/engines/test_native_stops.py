"""What ends a completion: end tokens, stop strings, the length."""

from __future__ import annotations

import pytest
import torch

from offleash.engines import SamplingSettings
from offleash.engines.base import cut
from offleash.engines.native import NativeEngine
from tests.engines.native_models import OTHERS, TOKENIZER, hf_greedy, llama, requests, spread

STOP = ("7:", ")", "22")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_completion_ends_with_the_token_that_completes_a_stop_string(family: str) -> None:
    model = llama() if family == "llama" else spread(OTHERS["gpt2"]())
    asked = requests(40)
    free = NativeEngine(model, TOKENIZER, SamplingSettings(1.3, 20), rows=64).generate(asked)
    found = NativeEngine(model, TOKENIZER, SamplingSettings(1.3, 20, STOP), rows=64).generate(asked)
    stopped = 0
    for without, c in zip(free, found, strict=True):
        text = TOKENIZER.decode(list(c.token_ids), skip_special_tokens=False)
        assert without.token_ids[: len(c.token_ids)] == c.token_ids  # the same stream, only shorter
        if any(s in without.text for s in STOP):
            stopped += 1
            assert c.finish_reason == "stop" and text.endswith(STOP)
            assert not any(s in TOKENIZER.decode(list(c.token_ids[:-1])) for s in STOP)
        else:
            assert c.token_ids == without.token_ids and c.finish_reason == without.finish_reason
        assert c.text == cut(without.text, STOP)[0]
        assert len(c.logprobs) == len(c.entropies) == len(c.token_ids)
    assert stopped > 20


def test_every_end_token_of_the_generation_config_ends() -> None:
    model = llama()
    more = [TOKENIZER.convert_tokens_to_ids(x) for x in "5)"]
    model.generation_config.eos_token_id = more
    engine = NativeEngine(model, TOKENIZER, SamplingSettings(0.0, 20))
    assert engine.ends == [TOKENIZER.eos_token_id, *sorted(more)]
    for c in engine.generate(requests(1)):
        assert list(c.token_ids) == hf_greedy(model, c.problem_id, 20, eos_token_id=engine.ends)
    ended = [
        c
        for c in NativeEngine(model, TOKENIZER, SamplingSettings(1.5, 30)).generate(requests(30))
        if c.finish_reason == "stop"
    ]
    assert {c.token_ids[-1] for c in ended} == set(engine.ends)
    for c in ended:
        assert c.text == TOKENIZER.decode(list(c.token_ids[:-1]), skip_special_tokens=False)


def test_untied_heads_and_biases_everywhere() -> None:
    for changes in (
        {"tie_word_embeddings": True},
        {"tie_word_embeddings": False},
        {"attention_bias": True, "mlp_bias": True},
    ):
        model = llama(**changes)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.add_(0.3)
        for c in NativeEngine(model, TOKENIZER, SamplingSettings(0.0, 12)).generate(requests(1)):
            assert list(c.token_ids) == hf_greedy(model, c.problem_id, 12)
