"""The hf engine on families of other shapes: it draws with our uniforms, whatever the model's generation config says."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
)

from offleash.core import InputError, rng
from offleash.engines import Request, SamplingSettings
from offleash.engines.hf import HfEngine
from offleash.nn.tiny import character_tokenizer

TOKENIZER = character_tokenizer("0123456789+-*/()= :", 96)
PROMPTS = ["1 2 3=7:", "10 12 13 25 4=999:", "5=5:"]
_DEPTH = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 96}
FAMILIES = {
    "gpt2": (GPT2LMHeadModel, GPT2Config, {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 96}),
    "gpt-neox": (GPTNeoXForCausalLM, GPTNeoXConfig, {"hidden_size": 48, **_DEPTH}),
    "gemma": (GemmaForCausalLM, GemmaConfig, {"hidden_size": 48, "head_dim": 12, "num_key_value_heads": 2, **_DEPTH}),
    "mamba": (MambaForCausalLM, MambaConfig, {"hidden_size": 48, "num_hidden_layers": 2, "state_size": 8}),
}


def tiny(family: str) -> PreTrainedModel:
    model_class, config_class, shape = FAMILIES[family]
    special = {"eos_token_id": TOKENIZER.eos_token_id, "bos_token_id": TOKENIZER.bos_token_id, "pad_token_id": 0}
    torch.manual_seed(1)  # what is no matrix keeps its initial values
    model = model_class(config_class(vocab_size=len(TOKENIZER), **special, **shape)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.3, generator=generator)
    return model


def requests(n: int) -> list[Request]:
    return [Request(p, p, i, rng.key64("sample", 0, p, i)) for p in PROMPTS for i in range(n)]


def forced(model: PreTrainedModel, prompt: str, ids: list[int], temperature: float) -> torch.Tensor:
    """Log-probs of the whole distributions that the tokens were drawn from, (T, V)."""
    whole = [*TOKENIZER(prompt)["input_ids"], *ids]
    with torch.no_grad():
        logits = model(torch.tensor([whole]), use_cache=False).logits[0, -len(ids) - 1 : -1]
    return (logits / temperature).log_softmax(-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_any_causal_model_draws_by_inverse_cdf(family: str) -> None:
    """Second implementation: whole forward passes and a running sum, a request at a time, without padding or cache."""
    model = tiny(family)
    asked = requests(3)
    for c, r in zip(HfEngine(model, TOKENIZER, SamplingSettings(1.2, 10)).generate(asked), asked, strict=True):
        logp = forced(model, r.prompt, list(c.token_ids), 1.2)
        uniform = torch.from_numpy(rng.uniforms([r.key], 0, 10))[0, : len(c.token_ids)]
        below = logp.exp().double().cumsum(-1)
        at = torch.arange(len(c.token_ids)), torch.tensor(c.token_ids)
        assert (uniform <= below[at] + 1e-5).all()
        assert (uniform >= below[at] - logp.exp().double()[at] - 1e-5).all()
        torch.testing.assert_close(torch.tensor(c.logprobs), logp[at], atol=3e-5, rtol=0)
        torch.testing.assert_close(torch.tensor(c.entropies), -(logp.exp() * logp).sum(-1), atol=3e-5, rtol=0)


def test_recurrent_models_are_the_same_in_any_batch() -> None:
    model, asked = tiny("mamba"), requests(2)
    found = HfEngine(model, TOKENIZER, SamplingSettings(1.0, 10)).generate(asked)
    alone = [HfEngine(model, TOKENIZER, SamplingSettings(1.0, 10), rows=1).generate([r])[0] for r in asked]
    assert [c.token_ids for c in found] == [c.token_ids for c in alone]


def test_the_models_generation_config_changes_nothing_but_the_end_tokens() -> None:
    model = tiny("gpt2")
    plain = HfEngine(model, TOKENIZER, SamplingSettings(1.0, 10)).generate(requests(3))
    config = model.generation_config
    config.repetition_penalty, config.top_k, config.do_sample, config.max_length = 3.0, 2, True, 12
    engine = HfEngine(model, TOKENIZER, SamplingSettings(1.0, 10))
    assert [c.token_ids for c in engine.generate(requests(3))] == [c.token_ids for c in plain]
    assert model.generation_config is config
    config.eos_token_id = [TOKENIZER.eos_token_id, 7]
    engine = HfEngine(model, TOKENIZER, SamplingSettings(1.0, 10))
    assert engine.settings()["end_tokens"] == [TOKENIZER.eos_token_id, 7]
    for c, whole in zip(engine.generate(requests(3)), plain, strict=True):
        assert c.token_ids == whole.token_ids[: len(c.token_ids)] and 7 not in c.token_ids[:-1]
        assert TOKENIZER.decode(7) not in c.text


def test_it_reads_the_weights_as_they_are_now() -> None:
    model = tiny("gpt2")
    engine = HfEngine(model, TOKENIZER, SamplingSettings(0.0, 10))
    before = engine.generate(requests(1))
    with torch.no_grad():
        model.transformer.wte.weight.mul_(-1.0)
    assert [c.token_ids for c in engine.generate(requests(1))] != [c.token_ids for c in before]


def test_stop_strings_across_tokens() -> None:
    model = tiny("gpt2")
    free = HfEngine(model, TOKENIZER, SamplingSettings(1.0, 30)).generate(requests(4))
    stop = max((c.text for c in free), key=len)[4:7]
    found = HfEngine(model, TOKENIZER, SamplingSettings(1.0, 30, (stop,)), rows=5).generate(requests(4))
    assert any(stop in c.text for c in free)
    for c, whole in zip(found, free, strict=True):
        assert c.text == whole.text.split(stop)[0]
        assert c.token_ids == whole.token_ids[: len(c.token_ids)]
        if stop in whole.text:
            assert c.finish_reason == "stop" and stop in TOKENIZER.decode(list(c.token_ids))


def test_bad_input_is_named() -> None:
    engine = HfEngine(tiny("gpt2"), TOKENIZER, SamplingSettings(1.0, 90))
    with pytest.raises(InputError, match="exceed the model's context of 96"):
        engine.generate(requests(1))
    model, blind = tiny("gpt2"), character_tokenizer("01", 96)
    blind.eos_token = model.generation_config.eos_token_id = None
    with pytest.raises(InputError, match="set eos_token"):
        HfEngine(model, blind, SamplingSettings())
