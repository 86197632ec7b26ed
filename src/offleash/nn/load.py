"""Load a causal language model from a folder, and give it an identity by content."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from offleash.core import InputError

EMBEDDED = "base"
EMBEDDED_MODELS = {EMBEDDED: "countdown", "base:families": "families"}
"""The models that travel with the package, by name, with their folders below models/."""
disable_progress_bar()  # one bar per file loaded and saved would drown the run's own


def model_folder(name: str) -> Path:
    """The folder of a model: `base` is the embedded one for countdown, `base:families` that for the families, anything else a path.

    Raises:
        InputError: where there is no such folder, or it holds no config.json.
    """
    embedded = EMBEDDED_MODELS.get(name)
    path = Path(str(resources.files("offleash") / "models" / embedded)) if embedded else Path(name)
    if not path.is_dir():
        raise InputError(
            f"model: no folder {str(path)!r}; give a Hugging Face model folder, or an embedded one: "
            f"{', '.join(EMBEDDED_MODELS)}"
        )
    if not (path / "config.json").is_file():
        raise InputError(f"model: folder {str(path)!r} has no config.json; it is not a Hugging Face model folder")
    return path


def load_outline(name: str) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """Configuration and tokenizer of a model, without its weights; from local files only.

    Raises:
        InputError: where files are missing or broken.
    """
    folder = model_folder(name)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return config, AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_loaded(folder, error) from error


def load(name: str, dtype: torch.dtype = torch.float32) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (evaluation mode) and tokenizer from local files only; no remote code is ever run.

    Raises:
        InputError: where files are missing or broken, or a weight is not finite (names the first such tensor).
    """
    folder = model_folder(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, dtype=dtype, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _not_loaded(folder, error) from error
    check_finite(model)
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"model: the tokenizer in {str(folder)!r} has no eos token; set eos_token in tokenizer_config.json"
        )
    model.eval()
    return model, tokenizer


def _not_loaded(folder: Path, error: Exception) -> InputError:
    return InputError(f"model: {str(folder)!r} cannot be loaded: {str(error).strip().splitlines()[0]}")


def check_finite(model: PreTrainedModel) -> None:
    """Raise an InputError that names the first parameter with a NaN or an infinity."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise InputError(f"model: tensor {name!r} has values that are not finite; the weights are broken")


def identity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Hex id of the weights (name, dtype, shape, bytes, sorted by name), the architecture and the vocabulary.

    Where the files lie and how they were written does not matter: two folders with the same model have one id.
    """
    h = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        data = tensor.detach().cpu().contiguous()
        h.update(f"{name}|{data.dtype}|{tuple(data.shape)}|".encode())
        h.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    config = {
        k: v for k, v in model.config.to_diff_dict().items() if k not in ("_name_or_path", "transformers_version")
    }
    h.update(json.dumps(config, sort_keys=True, default=str).encode())
    h.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    return h.hexdigest()[:32]
