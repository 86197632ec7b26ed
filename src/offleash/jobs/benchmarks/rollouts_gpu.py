"""What the rollout benchmark adds on a GPU: a model in the shape of Qwen2.5-0.5B, and the floor that memory sets.

A decode step reads every weight once, however many rows it decodes, so no step is shorter than the weights' bytes over the measured
bandwidth.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from offleash.engines.native.weights import Decoder

GIB = 2**30


def shape(**changes: int) -> Qwen2Config:
    """Qwen2.5-0.5B's: 494 M parameters, 136 M of them the embedding, which is the head too."""
    settings: dict[str, Any] = {
        "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": True,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **changes,
    }  # fmt: skip
    return Qwen2Config(**settings)


def random_qwen2(config: Qwen2Config, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """Random weights, drawn on the device."""
    draw = torch.Generator(device).manual_seed(0)
    with torch.device(device):
        model: Any = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.normal_(0.0, 0.02, generator=draw)
    ready: PreTrainedModel = model.to(dtype).eval()
    return ready


def weight_bytes(decoder: Decoder) -> int:
    """Bytes of weights that a decode step reads; of the embedding only the rows' own lines, which are not counted."""
    tensors = [t for layer in decoder.layers for t in vars(layer).values() if t is not None]
    return sum(t.numel() * t.element_size() for t in [*tensors, decoder.norm, decoder.head])


def cache_bytes(decoder: Decoder, prompt_lengths: Sequence[int], lengths: Sequence[int]) -> int:
    """Bytes of keys and values that decoding reads: in each step each live prompt once, and each live row's own tokens.

    Args:
        decoder: the model.
        prompt_lengths: tokens of each prompt.
        lengths: tokens of each completion, prompt by prompt.
    """
    element = torch.empty(0, dtype=decoder.stream).element_size()
    token = 2 * len(decoder.layers) * decoder.kv_heads * decoder.head_dim * element
    samples = len(lengths) // len(prompt_lengths)
    # A completion of n tokens takes n - 1 steps, which read 1, 2, ..., n - 1 tokens of its own.
    prompts = sum(
        length * max(n - 1 for n in lengths[i * samples : (i + 1) * samples]) for i, length in enumerate(prompt_lengths)
    )
    return token * (prompts + sum(n * (n - 1) // 2 for n in lengths))


def memory_floor(
    decoder: Decoder, prompt_lengths: Sequence[int], lengths: Sequence[int], speed: float, bandwidth: float
) -> dict[str, float]:
    """The floor with all rows decoded together, so that the longest completion sets the number of steps.

    Args:
        decoder: the model.
        prompt_lengths: tokens of each prompt.
        lengths: tokens of each completion, prompt by prompt.
        speed: tokens a second that were reached.
        bandwidth: bytes a second that the device reads.

    Returns:
        `floor_tokens_per_s` and `of_floor` for the weights alone, the same with keys and values, and what they come from.
    """
    tokens, steps, weights = sum(lengths), max(lengths) - 1, weight_bytes(decoder)
    seconds = steps * weights / bandwidth
    with_cache = seconds + cache_bytes(decoder, prompt_lengths, lengths) / bandwidth
    return {
        "steps": steps,
        "weight_mib_a_step": weights / 2**20,
        "gib_per_s": bandwidth / GIB,
        "floor_tokens_per_s": tokens / seconds,
        "of_floor": speed * seconds / tokens,
        "of_floor_with_cache": speed * with_cache / tokens,
    }


def bandwidth(device: torch.device, size: int = 2 * GIB, rounds: int = 9) -> float:
    """Bytes a second that the device reads, measured by a sum over `size` bytes; the median of the rounds."""
    x = torch.ones(size // 4, device=device)
    return size / statistics.median(_seconds(x) for _ in range(rounds))


def _seconds(x: Tensor) -> float:
    synchronize()
    start = time.perf_counter()
    x.sum()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
