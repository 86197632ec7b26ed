"""The forward pass without padding gives the numbers of the one with padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from offleash.nn import logprobs, packed, pad, score, slots

SIZES: dict[str, Any] = {
    "vocab_size": 31,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def model(kind: str, heads: int = 4, **changed: Any) -> Any:
    made = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
        "mistral": (MistralConfig, MistralForCausalLM),
    }[kind]
    given = SIZES | {"num_key_value_heads": heads, "head_dim": 8} | changed
    built = made[1](made[0](**given)).double().eval()
    draw = torch.Generator().manual_seed(0)
    for p in built.parameters():
        if p.ndim > 1:
            p.data.normal_(0.0, 0.3, generator=draw)
    return built


def texts(lengths: list[int], prompts: list[int], seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    draw = torch.Generator().manual_seed(seed)

    def some(n: int) -> list[int]:
        return torch.randint(1, 31, (n,), generator=draw).tolist()

    distinct = [some(n) for n in prompts]
    return [distinct[i % len(distinct)] for i in range(len(lengths))], [some(n) for n in lengths]


def both(built: Any, prompts: Any, completions: Any, monkeypatch: Any, **how: Any) -> list[tuple[torch.Tensor, ...]]:
    batch = pad(prompts, completions, 0)
    found = []
    for way in (True, False):
        with monkeypatch.context() as patch:
            if not way:
                patch.setattr(packed, "supported", lambda model: False)
            built.zero_grad()
            logp, entropy = score(built, batch, **how)
            weight = torch.arange(1.0, logp.numel() + 1, dtype=logp.dtype).view_as(logp)
            (weight * (logp + 0.3 * entropy)).sum().backward()
            grads = torch.cat([p.grad.flatten() for p in built.parameters()])
            found.append((logp.detach(), entropy.detach(), grads))
    return found


@pytest.mark.parametrize(
    ("kind", "heads", "lengths", "prompts"),
    [
        ("llama", 4, [5, 1, 9, 3, 3, 7], [6, 4]),
        ("llama", 2, [5, 1, 9, 3, 3, 7], [1, 8, 3]),
        ("qwen3", 2, [2, 6, 1, 4], [5]),
        ("llama", 4, [1, 1, 1], [4, 2]),
        ("mistral", 2, [3, 5], [4]),
    ],
)
def test_same_numbers_and_gradient(kind: str, heads: int, lengths: Any, prompts: Any, monkeypatch: Any) -> None:
    changed = {"sliding_window": None} if kind == "mistral" else {}
    built = model(kind, heads, **changed)
    assert packed.supported(built)
    # log-probs are float32 by contract; 1e-5 of a sum over all tokens is its rounding
    one, other = both(built, *texts(lengths, prompts), monkeypatch)
    for a, b in zip(one, other, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_in_chunks_too(monkeypatch: Any) -> None:
    one, other = both(model("llama"), *texts([4, 8, 2, 6], [5, 3]), monkeypatch, chunk=3, temperature=0.7)
    for a, b in zip(one, other, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_each_token_is_computed_once(monkeypatch: Any) -> None:
    built, seen = model("llama"), []
    built.model.layers[0].mlp.register_forward_pre_hook(lambda m, given: seen.append(given[0].shape))
    prompts, completions = texts([5, 1, 9, 3], [6, 4])
    score(built, pad(prompts, completions, 0))
    # 10 prompt tokens, and of each completion all tokens but the last
    assert [tuple(s) for s in seen] == [(1, 10 + 4 + 0 + 8 + 2, 32)]
    assert slots(built, pad(prompts, completions, 0)) == (24, 0)


def test_padding_is_counted_where_there_is_some(monkeypatch: Any) -> None:
    monkeypatch.setattr(packed, "supported", lambda model: False)
    built, seen = model("llama"), []
    built.model.layers[0].mlp.register_forward_pre_hook(lambda m, given: seen.append(given[0].shape[:2].numel()))
    batch = pad(*texts([5, 1, 9, 3], [6, 4]), 0)
    score(built, batch)
    assert slots(built, batch) == (sum(seen), sum(seen) - 24) == (2 * 6 + 4 * 8, 20)


def test_the_model_is_left_as_it_was() -> None:
    built = model("llama")
    before = built.config._attn_implementation
    score(built, pad([[1, 2]], [[3, 4]], 0))
    assert built.config._attn_implementation == before != packed.NAME


@pytest.mark.parametrize("change", [{"sliding_window": 4}, {"model_type": "unheard-of"}])
def test_other_attention_is_computed_with_padding(change: dict[str, Any], monkeypatch: Any) -> None:
    built = model("mistral", 2)
    for name, value in ({"sliding_window": None} | change).items():
        setattr(built.config, name, value)
    assert not packed.supported(built)
    called = []
    hidden = logprobs._hidden
    monkeypatch.setattr(logprobs, "_hidden", lambda *given: called.append(1) or hidden(*given))
    score(built, pad([[1, 2]], [[3, 4]], 0))
    assert called


def test_dropout_is_left_to_the_model() -> None:
    assert not packed.supported(model("llama").train())
