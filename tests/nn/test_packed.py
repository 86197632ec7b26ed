"""The forward pass without padding gives the numbers of the one with padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

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
                patch.setattr(packed, "supported", lambda *_: False)
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
    assert packed.supported(built, 20)
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
    monkeypatch.setattr(packed, "supported", lambda *_: False)
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
    assert not packed.supported(built, 5)
    called = []
    hidden = logprobs._hidden
    monkeypatch.setattr(logprobs, "_hidden", lambda *given: called.append(1) or hidden(*given))
    score(built, pad([[1, 2]], [[3, 4, 5]], 0))
    assert called


def test_dropout_is_left_to_the_model() -> None:
    assert not packed.supported(model("llama").train(), 1)


FEW = {"num_experts": 4, "num_experts_per_tok": 2}
FULL = ["full_attention"] * 3
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
WINDOWS = ["sliding_attention", "full_attention", "sliding_attention"]
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in ("llama", "qwen2", "olmo2", "olmoe", "phi", "phi3", "starcoder2", "gpt_neox", "ernie4_5")),
    *((kind, {"head_dim": 8}) for kind in ("gemma", "glm", "glm4", "seed_oss", "qwen3")),
    ("olmo", {"clip_qkv": 0.5}),
    ("olmo3", {"sliding_window": 41, "layer_types": WINDOWS}),
    ("exaone4", {"sliding_window": 41, "layer_types": WINDOWS}),
    ("exaone4", {"sliding_window": None, "layer_types": FULL}),
    ("gemma3_text", {"sliding_window": 41, "layer_types": WINDOWS, "head_dim": 8, "query_pre_attn_scalar": 5}),
    ("smollm3", {"no_rope_layers": [1, 0, 1]}),
    ("mistral", {"sliding_window": 41}),
    ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    ("qwen2_moe", FEW | {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}),
    ("qwen3_moe", FEW | {"moe_intermediate_size": 16, "head_dim": 8}),
    ("gpt2", GPT2),
    ("gpt2", GPT2 | {"scale_attn_by_inverse_layer_idx": True}),
    ("phi3", {"rope_parameters": {"rope_type": "longrope", "short_factor": [1.5] * 4, "long_factor": [3.0] * 4,
              "rope_theta": 100.0}, "original_max_position_embeddings": 41}),
]  # fmt: skip


def of_family(kind: str, changed: dict[str, Any]) -> Any:
    """A float32 model of any family whose every parameter is drawn, those of norms and biases too."""
    given = SIZES | {"num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} | changed
    built = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **given)).float().eval()
    draw = torch.Generator().manual_seed(0)
    for p in built.parameters():
        noise = torch.randn(p.shape, generator=draw)
        p.data = 0.25 * noise if p.ndim > 1 else p.data + 0.2 * noise
    return built


def alone(built: Any, prompts: Any, completions: Any) -> list[torch.Tensor]:
    """Log-probs of each text by itself, by the model's own forward."""
    found = []
    for prompt, completion in zip(prompts, completions, strict=True):
        logits = built(input_ids=torch.tensor([prompt + completion]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        found.append(logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0])
    return found


def gradient(built: Any, logp: list[torch.Tensor]) -> torch.Tensor:
    built.zero_grad()
    row = torch.cat(logp)
    (row * torch.linspace(-1, 1, len(row))).mean().backward()
    return torch.cat([p.grad.flatten() for p in built.parameters() if p.grad is not None])


@pytest.mark.parametrize(("kind", "changed"), FAMILIES)
def test_every_family_gives_the_numbers_of_each_text_alone(
    kind: str, changed: dict[str, Any], monkeypatch: Any
) -> None:
    built = of_family(kind, changed)
    prompts, completions = texts([5, 1, 19, 3, 30, 7], [6, 11, 1])
    batch = pad(prompts, completions, 0)
    reached = logprobs.longest(batch)
    assert reached == 41  # as far as the windows above
    assert packed.supported(built, reached)
    monkeypatch.setattr(logprobs, "_hidden", None)  # the other way to compute it
    logp_NT, _ = score(built, batch)
    one, other = (
        alone(built, prompts, completions),
        [row[: len(c)] for row, c in zip(logp_NT, completions, strict=True)],
    )
    assert torch.allclose(torch.cat(one), torch.cat(other), rtol=0, atol=1e-5)
    assert torch.allclose(gradient(built, one), gradient(built, other), rtol=0, atol=1e-5)
    if "sliding_window" in changed or "rope_parameters" in changed:
        assert packed.supported(built, reached + 1) == (changed.get("sliding_window", 41) is None)


def test_every_family_is_tested() -> None:
    assert {kind for kind, _ in FAMILIES} == set(packed.FAMILIES)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 100.0}}),
        ("gemma3_text", {"head_dim": 8, "use_bidirectional_attention": True}),
        ("gemma2", {"head_dim": 8, "sliding_window": 64}),
        ("stablelm", {}),
    ],
)
def test_what_depends_on_other_tokens_is_not_packed(kind: str, changed: dict[str, Any]) -> None:
    assert not packed.supported(of_family(kind, changed), 65)
