"""DeepSpeed's ZeRO, stages 1 and 2: moments (and gradients) are divided among the processes, weights stay whole in each.

What accelerate's launcher was configured with is read; the engine is DeepSpeed's own, since accelerate has none on CPUs.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from offleash.core import InputError
from offleash.nn import score
from offleash.training.settings import OptimizerSettings
from offleash.training.sharding import METHOD

STAGES = (1, 2)
MOMENTS = ("exp_avg", "exp_avg_sq")


class Zero:
    """A model and its AdamW in DeepSpeed's hands. `scorer` and everything here has to be called by all processes."""

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: torch.optim.Optimizer,
        settings: OptimizerSettings,
        device: torch.device,
    ) -> None:
        os.environ.setdefault("DS_ACCELERATOR", device.type)
        import deepspeed

        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        self.named, self.optimizer = dict(model.named_parameters()), optimizer
        made = deepspeed.initialize(
            model=_Scored(model), optimizer=optimizer, config=config(settings.max_grad_norm), dist_init_required=False
        )
        self.engine: Any = made[0]
        model.eval()
        # The state is made now and only ever written in place: DeepSpeed links its parts once, by default at the first step.
        for group in optimizer.param_groups:
            for flat in group["params"]:
                zeros = {key: torch.zeros_like(flat) for key in MOMENTS}
                optimizer.state[flat] = {"step": torch.zeros((), device=flat.device), **zeros}
        self.engine.optimizer._lazy_init_hp_params_optimizer_state()
        # No bound method of a module: that would make the engine a part of its own model.
        setattr(model, METHOD, functools.partial(_forward, self.engine))

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add to the gradient; with the last pass of an optimizer step its mean over the processes is taken."""
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss)

    def norm(self) -> float:
        """Of the gradient, before it is clipped."""
        from deepspeed.utils import safe_get_full_grad

        return math.sqrt(sum(float(safe_get_full_grad(p).double().square().sum()) for p in self.named.values()))

    def step(self) -> None:
        """Clip, and let AdamW step."""
        self.engine.step()

    def reset(self) -> None:
        """Forget AdamW's moments."""
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()

    def moments(self, *, kept: bool) -> dict[str, Tensor]:
        """AdamW's state as one process would have it; {} where it is not kept."""
        from deepspeed.utils import safe_get_full_optimizer_state

        found: dict[str, Tensor] = {}
        step = next(iter(self.optimizer.state.values()))["step"]
        for name, parameter in self.named.items():
            for key in MOMENTS:
                value = safe_get_full_optimizer_state(parameter, key)
                if kept:
                    found[f"{name}.{key}"] = value.detach().cpu().clone().contiguous()
            if kept:
                found[f"{name}.step"] = step.detach().cpu().clone()
        return found

    def restore(self, moments: Mapping[str, Tensor]) -> None:
        """Take up what `moments` gave."""
        from deepspeed.utils import safe_set_full_optimizer_state

        self.reset()
        for name, parameter in self.named.items() if moments else ():
            for key in MOMENTS:
                safe_set_full_optimizer_state(parameter, moments[f"{name}.{key}"].to(parameter.device), key)
        steps = [value for key, value in moments.items() if key.endswith(".step")]
        for state in self.optimizer.state.values() if steps else ():
            state["step"].copy_(steps[0])

    def weights_were_written(self) -> None:
        """Take the model's weights for the masters that AdamW steps on."""
        from deepspeed.utils import safe_set_full_fp32_param

        for parameter in self.named.values():
            safe_set_full_fp32_param(parameter, parameter.detach().float())


class _Scored(torch.nn.Module):
    """The model as DeepSpeed calls it."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *given: Any, **named: Any) -> tuple[Tensor, Tensor]:
        return score(self.model, *given, **named)


def _forward(engine: Any, *given: Any, **named: Any) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = engine(*given, **named)
    return found


def config(max_grad_norm: float) -> dict[str, Any]:
    """DeepSpeed's configuration: the launcher's, with what the recipe decides put in its place.

    Raises:
        InputError: a stage that divides the weights, or a precision, which is the recipe's.
    """
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file.lower() == "none":
        found: dict[str, Any] = {
            "zero_optimization": {"stage": int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))}
        }
    else:
        try:
            with open(file, encoding="utf-8") as handle:
                found = json.load(handle)
        except (OSError, ValueError) as error:
            raise InputError(f"--deepspeed_config_file: {file}: cannot be read ({error})") from error
    stage = found.get("zero_optimization", {}).get("stage", 0)
    if stage not in STAGES:
        raise InputError(
            f"--zero_stage: {stage}; give 1 or 2, or --use_fsdp --fsdp_version 2, which divides the weights too and gathers "
            "them for sampling"
        )
    for name in ("bf16", "fp16"):
        if found.pop(name, {}).get("enabled") is True:
            raise InputError(
                f"--deepspeed_config_file: {name} is enabled, but the precision is the recipe's; leave it out"
            )
    ours = ("optimizer", "scheduler", "train_batch_size")
    return {name: value for name, value in found.items() if name not in ours} | {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "zero_allow_untested_optimizer": True,
    }
