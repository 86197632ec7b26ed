"""The numbers a recipe may give: one table for all fields, so that none is found out in the middle of a run."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

from offleash.core import InputError

ABOVE_0 = (
    "optimizer.learning_rate",
    "optimizer.eps",
    "rollout.temperature",
    "rollout.server.max_mismatch",
    "lora.alpha",
)
"""Positive and finite."""
AT_LEAST = {
    "steps": 1,
    "checkpoint_every": 1,
    "warn_after": 0,
    "max_bad_steps": 1,
    "task.problems": 0,
    "rollout.num_prompts": 1,
    "rollout.rows": 1,
    "rollout.max_completion_length": 1,
    "rollout.max_rounds": 1,
    "rollout.server.patience": 0,
    "optimizer.warmup_steps": 0,
    "optimizer.weight_decay": 0,
    "optimizer.minibatches": 1,
    "optimizer.micro_batch_rows": 1,
    "lora.rank": 0,
    "resets.reference_every": 0,
    "resets.optimizer_every": 0,
    "probe.every": 0,
}
OF_PROBES = {"probe.problems": 1, "probe.samples": 1}
"""Where there are probes."""
OF_A_RULE = {"patience": 1, "times": 1}


def check_bounds(settings: Any) -> None:
    """Raise an InputError for the first number of a TrainSettings that is out of its bounds; names field and bound."""
    for name in ABOVE_0:
        value = _of(settings, name)
        if not 0 < value < math.inf:
            raise InputError(f"{name}: {value} is not above 0 (and finite); give a number that is")
    if not settings.optimizer.max_grad_norm > 0:
        raise InputError(
            f"optimizer.max_grad_norm: {settings.optimizer.max_grad_norm} is not above 0; give a positive number"
        )
    for name, least in (AT_LEAST | (OF_PROBES if settings.probe.every > 0 else {})).items():
        _at_least(name, _of(settings, name), least)
    for i, rule in enumerate(settings.guard):
        for name, least in OF_A_RULE.items():
            _at_least(f"guard.{i}.{name}", getattr(rule, name), least)
    for beta in settings.optimizer.betas:
        if not 0 <= beta < 1:
            raise InputError(f"optimizer.betas: {beta} is not from 0 to below 1; give two such numbers, as [0.9, 0.95]")


def _of(settings: Any, name: str) -> Any:
    return reduce(getattr, name.split("."), settings)


def _at_least(name: str, value: float, least: int) -> None:
    if not least <= value < math.inf:
        raise InputError(f"{name}: {value} is below {least}; give {least} or more")
