"""The native engine against Hugging Face: greedy tokens, log-probs, sampled frequencies, independence of the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from offleash import nn
from offleash.core import InputError, rng
from offleash.engines import Request, SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.nn.tiny import character_tokenizer

TOKENIZER = character_tokenizer("0123456789+-*/()= :", 96)
PROMPTS = ["1 2 3=7:", "10 12 13 25 4=999:", "5=5:", "7 7 7 7=28:", "24 3 1=22:"]
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": None}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 24}),
}


def tiny(family: str, kv_heads: int = 2) -> PreTrainedModel:
    config_class, model_class, extra = FAMILIES[family]
    config = config_class(
        vocab_size=len(TOKENIZER), hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=kv_heads, max_position_embeddings=96, **extra,
    )  # fmt: skip
    model = model_class(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # wide enough that the most likely token is a clear one and attention matters
                parameter.normal_(0.0, 0.35, generator=generator)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def requests(n: int, prompts: list[str] = PROMPTS) -> list[Request]:
    return [Request(p, p, i, rng.key64("sample", 0, p, i)) for p in prompts for i in range(n)]


def hf_greedy(model: PreTrainedModel, prompt: str, limit: int) -> list[int]:
    ids = torch.tensor([TOKENIZER(prompt)["input_ids"]])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False,
        eos_token_id=TOKENIZER.eos_token_id, pad_token_id=TOKENIZER.pad_token_id,
    )  # fmt: skip
    return out[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_greedy_equals_hugging_face(family: str, kv_heads: int) -> None:
    model = tiny(family, kv_heads)
    engine = NativeEngine(model, TOKENIZER, SamplingSettings(0.0, 20), rows=3)
    for completion in engine.generate(requests(1)):
        assert list(completion.token_ids) == hf_greedy(model, completion.problem_id, 20)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.5])
def test_logprobs_and_entropies_equal_a_teacher_forced_forward(family: str, temperature: float) -> None:
    model = tiny(family)
    completions = NativeEngine(model, TOKENIZER, SamplingSettings(temperature, 12), rows=16).generate(requests(8))
    prompts = [TOKENIZER(c.problem_id)["input_ids"] for c in completions]
    batch = nn.pad(prompts, [list(c.token_ids) for c in completions], 0)
    with torch.no_grad():
        logp, entropy = nn.score(model, batch, temperature)
    for i, c in enumerate(completions):
        n = len(c.token_ids)
        np.testing.assert_allclose(logp[i, :n].numpy(), c.logprobs, atol=2e-5)
        np.testing.assert_allclose(entropy[i, :n].numpy(), c.entropies, atol=2e-5)


def test_a_sample_is_the_same_alone_and_in_any_batch() -> None:
    model = tiny("llama")
    asked = requests(6)
    settings = SamplingSettings(1.0, 16)
    together = NativeEngine(model, TOKENIZER, settings, rows=30).generate(asked)
    narrow = NativeEngine(model, TOKENIZER, settings, rows=4).generate(asked)
    backwards = NativeEngine(model, TOKENIZER, settings, rows=7).generate(asked[::-1])[::-1]
    alone = [NativeEngine(model, TOKENIZER, settings, rows=1).generate([r])[0] for r in asked[::5]]
    # Tokens may differ only where a uniform lies within rounding of a CDF boundary; at these sizes none does.
    assert [c.token_ids for c in together] == [c.token_ids for c in narrow] == [c.token_ids for c in backwards]
    assert [c.token_ids for c in together[::5]] == [c.token_ids for c in alone]


def test_sampled_frequencies_match_the_exact_distribution() -> None:
    model = tiny("llama")
    engine = NativeEngine(model, TOKENIZER, SamplingSettings(1.3, 2), rows=512)
    n = 20_000
    completions = engine.generate(requests(n, PROMPTS[:1]))
    ids = TOKENIZER(PROMPTS[0])["input_ids"]
    with torch.no_grad():
        first = (model(torch.tensor([ids])).logits[0, -1] / 1.3).softmax(-1).double().numpy()
        likely = int(first.argmax())
        second = (model(torch.tensor([[*ids, likely]])).logits[0, -1] / 1.3).softmax(-1).double().numpy()
    for expected, drawn in (
        (first, [c.token_ids[0] for c in completions]),
        (second, [c.token_ids[1] for c in completions if c.token_ids[0] == likely and len(c.token_ids) > 1]),
    ):
        counts = np.bincount(drawn, minlength=len(expected))
        wanted = expected * len(drawn)
        cells = wanted > 5
        chi2 = ((counts - wanted)[cells] ** 2 / wanted[cells]).sum()
        assert chi2 < cells.sum() + 5 * np.sqrt(2 * cells.sum())


def test_stop_and_length_are_told_apart_and_the_end_token_is_kept() -> None:
    completions = NativeEngine(tiny("llama"), TOKENIZER, SamplingSettings(1.5, 24), rows=64).generate(requests(60))
    reasons = {c.finish_reason for c in completions}
    assert reasons == {"stop", "length"}
    for c in completions:
        ended = c.token_ids[-1] == TOKENIZER.eos_token_id
        assert ended == (c.finish_reason == "stop") and TOKENIZER.eos_token_id not in c.token_ids[:-1]
        assert len(c.token_ids) == len(c.logprobs) == len(c.entropies) and (ended or len(c.token_ids) == 24)
        kept = c.token_ids[:-1] if ended else c.token_ids
        assert c.text == TOKENIZER.decode(list(kept), skip_special_tokens=False)


def test_refresh_reads_the_trainers_new_weights() -> None:
    model = tiny("qwen2")
    engine = NativeEngine(model, TOKENIZER, SamplingSettings(0.0, 10))
    before = engine.generate(requests(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.1)
    engine.refresh()
    after = engine.generate(requests(1))
    assert [c.token_ids for c in before] != [c.token_ids for c in after]
    assert list(after[0].token_ids) == hf_greedy(model, after[0].problem_id, 10)


def test_progress_counts_every_request_once() -> None:
    seen: list[int] = []
    NativeEngine(tiny("llama"), TOKENIZER, SamplingSettings(1.5, 12), rows=8).generate(requests(9), seen.append)
    assert sum(seen) == 45


def test_bad_input_is_named() -> None:
    model = tiny("llama")
    engine = NativeEngine(model, TOKENIZER, SamplingSettings(1.0, 90))
    with pytest.raises(InputError, match=r"9 tokens \+ max_completion_length 90 exceed the model's context of 96"):
        engine.generate(requests(1))
    with pytest.raises(InputError, match="temperature: -1"):
        SamplingSettings(-1.0)
    with pytest.raises(InputError, match="max_completion_length: 0"):
        SamplingSettings(1.0, 0)
    assert engine.generate([]) == []


def test_a_finished_row_that_waits_long_for_its_neighbours_writes_nowhere_else() -> None:
    """Rows are refilled while a few finished ones linger: those must not grow past the cache."""
    model = tiny("llama")
    with torch.no_grad():
        model.lm_head.weight[TOKENIZER.eos_token_id] += 0.5  # ends early, at scattered times
    asked = requests(40, ["1=1:", *PROMPTS])
    settings = SamplingSettings(1.5, 40)
    wide = NativeEngine(model, TOKENIZER, settings, rows=8).generate(asked)
    alone = NativeEngine(model, TOKENIZER, settings, rows=len(asked)).generate(asked)
    assert [c.token_ids for c in wide] == [c.token_ids for c in alone]
