"""Surrogates whose gradient is not the derivative of their value: a clip bounds the weight, no token loses it."""

from __future__ import annotations

import math

import torch

from offleash.core.errors import InputError
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, surrogate
from offleash.objectives.surrogates.ppo import active_log_bounds, log_bounds


@surrogate("cispo", needs=("old_logprobs",), scales_with_advantage=True)
def cispo(batch: TokenBatch, *, epsilon_low: float | None = None, epsilon_high: float | None = 4.0) -> PerToken:
    """-sg(clip(rho, 1 - epsilon_low, 1 + epsilon_high)) A log pi. The value has no meaning.

    Gradient weight: the clipped ratio, whatever the sign of A.

    Args:
        batch: tokens.
        epsilon_low: the floor is 1 - epsilon_low; None for no floor.
        epsilon_high: the cap is 1 + epsilon_high (TRL's setting of the same name is the cap itself); None for no cap.
    """
    low, high, _ = log_bounds(epsilon_low, epsilon_high)
    log_ratio_NT = batch.log_ratio_NT.detach()
    weight_NT = log_ratio_NT.clamp(low, high).exp()
    outside_NT = torch.zeros_like(batch.mask)
    if high < math.inf:
        outside_NT = log_ratio_NT > high
    if low > -math.inf:
        outside_NT = outside_NT | (log_ratio_NT < low)
    return weight_NT * -batch.advantages_NT * batch.logprobs, {"clip_fraction": outside_NT}


@surrogate("gppo", needs=("old_logprobs",), scales_with_advantage=True)
def gppo(
    batch: TokenBatch,
    *,
    epsilon_low: float | None = 0.2,
    epsilon_high: float | None = 0.28,
    boundary_low: float = 1.0,
    boundary_high: float = 1.0,
    dual_clip: float | None = None,
) -> PerToken:
    """The value of ppo-clip, but a clipped token keeps a gradient: that of a ratio held at its bound.

    Gradient weight: rho inside; boundary_low x (1 - epsilon_low) below, boundary_high x (1 + epsilon_high) above; 0
    beyond the dual clip.

    Args:
        batch: tokens.
        epsilon_low: as in ppo-clip.
        epsilon_high: as in ppo-clip.
        boundary_low: b1 of the general form; 0 gives PPO's hard clip below.
        boundary_high: b2 of the general form; 0 gives PPO's hard clip above.
        dual_clip: as in ppo-clip.
    """
    for name, value in (("boundary_low", boundary_low), ("boundary_high", boundary_high)):
        if not value >= 0:
            raise InputError(f"{name}: is {value}; give a number of at least 0")
    adv = batch.advantages_NT
    low, high = active_log_bounds(adv, epsilon_low, epsilon_high, dual_clip)
    log_ratio_NT = batch.log_ratio_NT
    at_NT = log_ratio_NT.detach()
    kept_NT = at_NT.clamp(low, high).exp()
    weight_NT = torch.where(at_NT < low, boundary_low * kept_NT, kept_NT)
    # Above its bound a token of A > 0 meets epsilon_high, one of A < 0 the dual clip, which is hard.
    above_NT = torch.where(adv > 0, boundary_high * kept_NT, 0.0)
    weight_NT = torch.where(at_NT > high, above_NT, weight_NT)
    loss_NT = -adv * (kept_NT + weight_NT * (log_ratio_NT - at_NT))
    return loss_NT, {"clip_fraction": (at_NT < low) | (at_NT > high)}
