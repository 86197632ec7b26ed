"""Correction for a sampling engine whose probabilities are not the trainer's (other kernels, other precision).

With w = pi_old(trainer) / pi_old(engine), samples of the engine are weighted as if the trainer had drawn them. The weight
multiplies the surrogate's per-token loss and carries no gradient; what it takes out stays in the denominator.

  token-truncate      min(w_t, high)                       TIS: F. Yao et al., "Your Efficient RL Framework Secretly Brings
                                                           You Off-Policy RL Training", 2025
  token-mask          w_t in [low, high], else 0           IcePop: Ling team, "Every Step Evolves", arXiv 2510.18855
  sequence-truncate   min(prod_t w_t, high)
  sequence-mask       prod_t w_t in [low, high], else 0    MIS: J. Liu et al., "When Speed Kills Stability", 2025
  geometric-mask      1 if (prod_t w_t)^(1/L) in [low, high], else 0
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken

MISMATCHES = ("none", "token-truncate", "token-mask", "sequence-truncate", "sequence-mask", "geometric-mask")
MISMATCH_DEFAULTS: dict[str, float | None] = {"mismatch_low": None, "mismatch_high": 2.0}


def mismatch_weight(
    batch: TokenBatch, mismatch: str, low: float | None = None, high: float | None = 2.0
) -> Float[Tensor, "N _"]:
    """The weight of each token (N x T) or completion (N x 1); 1 for demonstrations, which no engine sampled.

    Args:
        batch: with old_logprobs (the trainer's) and engine_logprobs.
        mismatch: one of MISMATCHES.
        low: smallest w kept by a mask; None for no bound. Truncation has no lower bound.
        high: largest w kept, or the cap; None for no bound.
    """
    if mismatch not in MISMATCHES:
        raise unknown_name("mismatch", mismatch, MISMATCHES)
    bounds = []
    for name, value, none in (("mismatch_low", low, -math.inf), ("mismatch_high", high, math.inf)):
        if value is not None and not value > 0:
            raise InputError(f"{name}: is {value}; give a ratio above 0, or null for no bound")
        bounds.append(none if value is None else math.log(value))
    if bounds[0] >= bounds[1]:
        raise InputError(f"mismatch_low: is {low} and mismatch_high {high}; give a low bound below the high one")
    difference_NT = batch.require("old_logprobs") - batch.require("engine_logprobs")
    log_NT = batch.keep(difference_NT, batch.mask).detach()
    level = mismatch.partition("-")[0]
    if level in ("sequence", "geometric"):
        log_NT = log_NT.sum(1, keepdim=True)
    if level == "geometric":
        log_NT = log_NT / batch.mask.sum(1, keepdim=True).clamp(min=1)
    if mismatch.endswith("truncate"):
        weight_NT = log_NT.clamp(max=bounds[1]).exp()
    else:
        kept_NT = (log_NT >= bounds[0]) & (log_NT <= bounds[1])
        # The exponent is taken where it is kept: a ratio that overflows is masked before it is formed.
        inside_NT = torch.where(kept_NT, log_NT, 0.0).exp()
        weight_NT = torch.where(kept_NT, torch.ones_like(inside_NT) if level == "geometric" else inside_NT, 0.0)
    return weight_NT if batch.external is None else torch.where(batch.external[:, None], 1.0, weight_NT)


def corrected(
    surrogate: Callable[[TokenBatch], PerToken], mismatch: str, low: float | None, high: float | None
) -> Callable[[TokenBatch], PerToken]:
    """The surrogate with its per-token loss weighted."""
    return functools.partial(_weighted, surrogate, mismatch, low, high)


def _weighted(
    surrogate: Callable[[TokenBatch], PerToken], mismatch: str, low: float | None, high: float | None, batch: TokenBatch
) -> PerToken:
    loss_NT, diagnostics = surrogate(batch)
    weight_NT = mismatch_weight(batch, mismatch, low, high)
    return loss_NT * weight_NT, diagnostics | {"mismatch_weight": weight_NT.expand_as(batch.mask)}
