"""Tiny random models of many families, and what several tests of the native engine ask of them."""

from __future__ import annotations

import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from offleash.core import rng
from offleash.engines import Request
from offleash.nn.tiny import character_tokenizer

TOKENIZER = character_tokenizer("0123456789+-*/()= :", 96)
PROMPTS = ["1 2 3=7:", "10 12 13 25 4=999:", "5=5:", "7 7 7 7=28:", "24 3 1=22:"]
V = len(TOKENIZER)

OTHERS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=V, n_positions=96, n_embd=48, n_layer=2, n_head=4)),
    "gpt_neox": lambda: GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=V, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=96,
        )
    ),
    # Its window is shorter than the texts; every second layer has it.
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=V, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=12, max_position_embeddings=96, sliding_window=8, query_pre_attn_scalar=12,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )
    ),
    "bloom": lambda: BloomForCausalLM(BloomConfig(vocab_size=V, hidden_size=48, n_layer=2, n_head=4)),
    "llama with gelu": lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=V, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=96, hidden_act="gelu",
        )
    ),
}  # fmt: skip


def spread(model: PreTrainedModel, seed: int = 1) -> PreTrainedModel:
    """Weights wide enough that the most likely token is a clear one and attention matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.35, generator=generator)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def llama(**changes: object) -> PreTrainedModel:
    settings = {
        "vocab_size": V, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 96,
    }  # fmt: skip
    return spread(LlamaForCausalLM(LlamaConfig(**{**settings, **changes})))


def requests(n: int, prompts: list[str] = PROMPTS) -> list[Request]:
    return [Request(p, p, i, rng.key64("sample", 0, p, i)) for p in prompts for i in range(n)]


def hf_greedy(model: PreTrainedModel, prompt: str, limit: int, **settings: object) -> list[int]:
    ids = torch.tensor([TOKENIZER(prompt)["input_ids"]])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False,
        **{"eos_token_id": TOKENIZER.eos_token_id, "pad_token_id": TOKENIZER.pad_token_id, **settings},
    )  # fmt: skip
    return out[0, ids.shape[1] :].tolist()
