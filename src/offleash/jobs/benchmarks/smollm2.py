"""SmolLM2-135M-Instruct for benchmarks: see `jobs.smollm2_weights`."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash.jobs.smollm2_weights import missing, read


def smollm2(dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase] | None:
    """Model and tokenizer, or None where the package or `gguf` is not installed."""
    if missing():
        return None
    model, tokenizer = read()
    torch.nn.Module.to(model, dtype)  # in place; the wrapper of transformers has no usable type
    return model.eval(), tokenizer
