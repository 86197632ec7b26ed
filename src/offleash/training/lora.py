"""LoRA (arXiv 2106.09685) through peft: small matrices beside the weights, which themselves stay as they are.

The adapters are inside the model that everything else is handed: scoring goes through them, the native engine merges them into its own
copy, and a reference is the same frozen weights with other adapters. A checkpoint is a whole model, merged, so that whatever
reads models reads it; training goes on from the adapters beside it, bit for bit.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from offleash.core import InputError, rng
from offleash.training.settings import LoraSettings
from offleash.training.sharding import put

FOLDER = "adapter"
"""Inside a checkpoint; peft's own format: `PeftModel.from_pretrained(base, checkpoint / "adapter")`."""
FILE = "adapter_model.safetensors"


def check(settings: LoraSettings, config: PretrainedConfig) -> None:
    """Raise an InputError where peft is missing, a target module is none of the model's, or the rank is above a layer's own."""
    if not settings.rank:
        return
    _peft()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    targets = _targets(settings, model)
    for name, layer in model.get_decoder().named_modules():
        if isinstance(layer, torch.nn.Linear) and name.rsplit(".", 1)[-1] in targets:
            most = min(layer.in_features, layer.out_features)
            if settings.rank > most:
                raise InputError(
                    f"lora.rank: {settings.rank} is above {most}, the smaller side of {name}, whose every change has at most "
                    "that rank; lower it, or leave the layer out of lora.target_modules"
                )


def add_adapters(model: PreTrainedModel, settings: LoraSettings, seed: int, name: str = "") -> None:
    """Put adapters into a model and freeze everything else; nothing without a rank.

    B starts at zero, so the model computes what it did; A is drawn as peft draws it, from a generator of its own.

    Args:
        model: changed in place.
        settings: rank, alpha and target modules.
        seed: of A.
        name: of the base model, as peft's configuration keeps it.

    Raises:
        InputError: peft is not installed, or a target module is none of the model's.
    """
    if not settings.rank:
        return
    peft = _peft()
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=_targets(settings, model),
        base_model_name_or_path=name,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        peft.inject_adapter_in_model(config, model)
    draw = torch.Generator().manual_seed(rng.key64("lora", seed) % 2**63)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if ".lora_A." in key:
                bound = 1 / math.sqrt(parameter.shape[1])  # kaiming_uniform_(a=sqrt(5)), torch's own for linear layers
                drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=draw)
                parameter.copy_(drawn)
    model.eval()


def adapted(model: PreTrainedModel) -> bool:
    """Whether there are adapters in it."""
    return hasattr(model, "peft_config")


def merged(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights by the names they have without adapters, W + (alpha / rank) B A in their place; tied ones as often as named."""
    found = {k: v for k, v in model.state_dict().items() if ".lora_" not in k}
    with torch.no_grad():
        for name, module in model.named_modules():
            if hasattr(module, "get_delta_weight"):
                delta = sum(module.get_delta_weight(adapter) for adapter in module.active_adapters)
                found[f"{name}.base_layer.weight"] = found[f"{name}.base_layer.weight"] + delta
    return {k.replace(".base_layer.", "."): v for k, v in found.items()}


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write the adapters into a folder of a checkpoint; nothing where there are none."""
    if not adapted(model):
        return
    target = folder / FOLDER
    target.mkdir()
    config: Any = model.peft_config["default"]
    config.save_pretrained(str(target))
    save_file({_key(n): p.detach().contiguous() for n, p in _own(model).items()}, str(target / FILE))


def read(model: PreTrainedModel, folder: Path) -> list[str]:
    """Put a checkpoint's weights into a model, of one with adapters those; returns names that do not fit."""
    if not adapted(model):
        return put(model, load_file(str(folder / "model.safetensors")))
    if not (folder / FOLDER / FILE).is_file():
        return [f"{FOLDER}/{FILE}"]
    own, given = _own(model), load_file(str(folder / FOLDER / FILE))
    fits = {n for n, p in own.items() if _key(n) in given and given[_key(n)].shape == p.shape}
    with torch.no_grad():
        for name in fits:
            own[name].copy_(given[_key(name)])
    return sorted({_key(n) for n in own} ^ given.keys() | {_key(n) for n in own.keys() - fits})


def _own(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if ".lora_" in name}


def _key(name: str) -> str:
    """As peft's files call it."""
    return "base_model.model." + name.replace(".default.", ".")


def _targets(settings: LoraSettings, model: PreTrainedModel) -> list[str]:
    """The last names of the linear layers that get adapters; all but the output layer unless some are named."""
    layers = model.get_decoder().named_modules()
    there = sorted({name.rsplit(".", 1)[-1] for name, module in layers if isinstance(module, torch.nn.Linear)})
    for name in settings.target_modules:
        if name not in there:
            raise InputError(
                f"lora.target_modules: the model has no linear layer {name!r}; it has {', '.join(there) or 'none'}"
            )
    if not there:
        raise InputError(f"lora.rank: {model.config.model_type!r} has no linear layers for adapters; set it to 0")
    return list(settings.target_modules) or there


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise InputError(f"lora.rank: {error}; pip install 'offleash[peft]', or set it to 0") from error
    return peft
