"""Weights that each process keeps a part of (FSDP2), and how they are read and written as a whole.

Accelerate's own preparation of FSDP2 starts at two accelerators and wraps `forward`; the trainer scores through the decoder and
reads the output layer apart, so that logits of whole sequences never exist. `fully_shard` takes any method for a forward.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from offleash.core import InputError
from offleash.nn import score
from offleash.training.processes import Processes, zero_wanted
from offleash.training.schedule import check_every
from offleash.training.settings import TrainSettings

METHOD = "offleash_score"
"""The attribute of a model that FSDP or DeepSpeed has in hand: its way to score."""


def check_launch(settings: TrainSettings, processes: Processes) -> None:
    """Raise an InputError for what a recipe asks and FSDP or DeepSpeed cannot give."""
    if settings.lora.rank and (processes.sharded or zero_wanted()):
        raise InputError("lora.rank: adapters are not sharded; launch without FSDP and DeepSpeed, or set it to 0")

    def check(part: TrainSettings) -> None:
        if part.rollout.engine != "native":
            raise InputError(
                "rollout.engine: only native gathers sharded weights; set it, or launch without --use_fsdp"
            )

    if processes.sharded:
        check_every(settings, check)


def shard(model: PreTrainedModel, processes: Processes) -> None:
    """Divide the parameters among the processes: a unit a decoder layer, gathered while it is at work, and one for the rest.

    Raises:
        InputError: the model's decoder has no list of layers.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    layers = getattr(model.get_decoder(), "layers", None)
    if layers is None:
        raise InputError(f"--use_fsdp: {model.config.model_type!r} has no list of layers to shard; launch without it")
    assert processes.device is not None
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    reshard = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() == "true"
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=reshard)
    fully_shard(model, mesh=mesh)
    setattr(model, METHOD, MethodType(score, model))
    register_fsdp_forward_method(model, METHOD)


def scorer(model: PreTrainedModel) -> Callable[..., tuple[Tensor, Tensor]]:
    """`nn.score` of this model; of a sharded one, with its weights gathered meanwhile."""
    return getattr(model, METHOD, None) or functools.partial(score, model)


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a part of a tensor (torch's DTensor)."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """All its values. Of a sharded one all processes have to ask, since they send each other their parts."""
    gather: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def like(values: Tensor, target: Tensor) -> Tensor:
    """Whole values on the target's device; of a sharded target, the part that this process keeps."""
    values = values.to(target.device)
    if not is_sharded(target):
        return values
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = target
    return distribute_tensor(values, sharded.device_mesh, sharded.placements, src_data_rank=None)


def weights_of(model: PreTrainedModel, *, kept: bool = True) -> dict[str, Tensor]:
    """The state dict with whole tensors, tied ones once. All processes have to ask; one that keeps nothing gets {}."""
    tied = tied_names(model)
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name in tied:
            continue
        values = whole(tensor.detach())
        if kept:
            found[name] = values.cpu() if is_sharded(tensor) else values
    return found


@torch.no_grad()
def put(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> list[str]:
    """Write whole tensors into a model, sharded or not; returns names that do not fit or that one side lacks, tied ones apart."""
    own = model.state_dict()
    fits = {name for name in own.keys() & weights.keys() if own[name].shape == weights[name].shape}
    for name in sorted(fits):
        own[name].copy_(like(weights[name], own[name]))
    return sorted((own.keys() | weights.keys()) - fits - tied_names(model))


def tied_names(model: PreTrainedModel) -> set[str]:
    """Names of tensors that are another one's."""
    names: Iterable[str] = (
        getattr(model, "all_tied_weights_keys", None) or getattr(model, "_tied_weights_keys", None) or ()
    )
    return set(names)


def number(value: Tensor) -> float:
    """A scalar, gathered where it is sharded."""
    return float(whole(value))
