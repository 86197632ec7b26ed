"""Checkpoints: a Hugging Face model folder with the optimizer's moments and the step beside it.

A checkpoint appears whole or not at all: it is written under another name, synced to disk, then renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash.core import OffleashError
from offleash.store.checkpoints import write_checksums
from offleash.training.references import References

STATE = "training_state.json"


def save(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: torch.optim.Optimizer,
    state: dict[str, object],
    references: References | None = None,
) -> None:
    """Write `folder`; replaces an incomplete one, and leaves nothing half-written under its name.

    Raises:
        OffleashError: where the disk is full or not writable; earlier checkpoints are untouched.
    """
    partial = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        save_file(_moments(model, optimizer), str(partial / "optimizer.safetensors"))
        if references is not None:
            references.save(partial)
        (partial / STATE).write_text(json.dumps(state, sort_keys=True))
        write_checksums(partial)
        for file in partial.iterdir():
            _sync(file)
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
        _sync(folder.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OffleashError(
            f"checkpoint {folder}: {error.strerror or error}; earlier checkpoints are intact"
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _moments(model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}.{key}": value.detach().clone().contiguous()
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore(
    folder: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer, references: References | None = None
) -> dict[str, Any]:
    """Put a checkpoint's weights, moments and moved reference into existing ones, bit for bit; returns its state."""
    weights = load_file(str(folder / "model.safetensors"))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = set(getattr(model, "all_tied_weights_keys", None) or getattr(model, "_tied_weights_keys", None) or ())
    if unexpected or set(missing) - tied:
        raise OffleashError(
            f"checkpoint {folder}: its tensors are not this model's: {sorted(set(missing) | set(unexpected))[:3]}"
        )
    moments = load_file(str(folder / "optimizer.safetensors"))
    for name, parameter in model.named_parameters():
        own = {k.removeprefix(name + "."): v for k, v in moments.items() if k.rsplit(".", 1)[0] == name}
        if own:
            optimizer.state[parameter] = own
    if references is not None:
        references.restore(folder)
    state: dict[str, Any] = json.loads((folder / STATE).read_text())
    return state
