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
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash.core import OffleashError
from offleash.store.checkpoints import write_checksums
from offleash.training import lora
from offleash.training.processes import ALONE, Processes
from offleash.training.references import References
from offleash.training.sharding import like, weights_of, whole

STATE = "training_state.json"


def save(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: torch.optim.Optimizer,
    state: dict[str, object],
    references: References | None = None,
    processes: Processes = ALONE,
) -> None:
    """Write `folder`; replaces an incomplete one, and leaves nothing half-written under its name.

    The main process writes what one process alone would write: sharded weights and moments are gathered.

    Raises:
        OffleashError: where the disk is full or not writable; earlier checkpoints are untouched.
    """
    weights = weights_of(model, kept=processes.main) if processes.sharded else None
    if lora.adapted(model):
        weights = lora.merged(model)
    zero = processes.zero
    moments = zero.moments(kept=processes.main) if zero else _moments(model, optimizer, kept=processes.main)
    state = state | {"processes": processes.count}
    processes.share(lambda: _write(folder, model, tokenizer, weights, moments, state, references))


def _write(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: dict[str, torch.Tensor] | None,
    moments: dict[str, torch.Tensor],
    state: dict[str, object],
    references: References | None,
) -> None:
    partial = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        model.save_pretrained(partial, state_dict=weights)
        tokenizer.save_pretrained(partial)
        lora.save(model, partial)
        save_file(moments, str(partial / "optimizer.safetensors"))
        if references is not None:
            references.save(partial)
        (partial / STATE).write_text(json.dumps(state, sort_keys=True))
        write_checksums(partial)
        for file in (*partial.rglob("*"), partial):
            _sync(file)
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
        _sync(folder.parent)
    except (OSError, SafetensorError) as error:  # the writer of tensors has an error of its own for a full disk
        shutil.rmtree(partial, ignore_errors=True)
        raise OffleashError(
            f"checkpoint {folder}: {getattr(error, 'strerror', None) or error}; earlier checkpoints are intact"
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _moments(model: PreTrainedModel, optimizer: torch.optim.Optimizer, *, kept: bool = True) -> dict[str, torch.Tensor]:
    """AdamW's state by the parameters' names. All processes have to ask; one that keeps nothing gets {}."""
    found: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():  # in one order in all processes
        for key, value in optimizer.state.get(parameter, {}).items():
            values = whole(value.detach())
            if kept:
                found[f"{name}.{key}"] = values.clone().contiguous()
    return found


def restore(
    folder: Path,
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    references: References | None = None,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Put a checkpoint's weights, moments and moved reference into existing ones, bit for bit; returns its state."""
    if strange := lora.read(model, folder):
        raise OffleashError(f"checkpoint {folder}: its tensors are not this model's: {strange[:3]}")
    moments = load_file(str(folder / "optimizer.safetensors"))
    if processes.zero is not None:
        processes.zero.weights_were_written()
        processes.zero.restore(moments)
    for name, parameter in () if processes.zero else model.named_parameters():
        own = {k.removeprefix(name + "."): v for k, v in moments.items() if k.rsplit(".", 1)[0] == name}
        if own:
            # Moments lie where their parameter lies, and are sharded like it; the count of steps is a number.
            optimizer.state[parameter] = {
                k: like(v, parameter) if v.shape == parameter.shape else v.to(parameter.device) for k, v in own.items()
            }
    if references is not None:
        references.restore(folder)
    state: dict[str, Any] = json.loads((folder / STATE).read_text())
    return state
