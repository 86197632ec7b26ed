"""PPO's clipped ratio, with the two sides apart (clip-higher) and an optional third bound (dual clip)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, surrogate


@surrogate("ppo-clip", needs=("old_logprobs",), scales_with_advantage=True)
def ppo_clip(
    batch: TokenBatch,
    *,
    epsilon_low: float | None = 0.2,
    epsilon_high: float | None = 0.2,
    dual_clip: float | None = None,
) -> PerToken:
    """-min(rho A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A), and at least dual_clip x A where A < 0.

    Gradient weight: rho inside, 0 outside the bound that the sign of A makes active.

    Args:
        batch: tokens.
        epsilon_low: room below 1 (None: no bound). Acts where A < 0.
        epsilon_high: room above 1 (None: no bound). Acts where A > 0.
        dual_clip: bound above 1 on the ratio where A < 0 (None: no bound).
    """
    adv = batch.advantages_NT
    kept_NT, clipped_NT = clip(batch.log_ratio_NT, adv, epsilon_low, epsilon_high, dual_clip)
    return -adv * kept_NT.exp(), {"clip_fraction": clipped_NT}


def clip(
    log_ratio_NT: Float[Tensor, "N _"],
    adv: Float[Tensor, "N _"],
    epsilon_low: float | None,
    epsilon_high: float | None,
    dual_clip: float | None = None,
) -> tuple[Float[Tensor, "N _"], Bool[Tensor, "N _"]]:
    """The log-ratio within the bounds that are active, and where it was outside (as a mask without gradient)."""
    low, high = active_log_bounds(adv, epsilon_low, epsilon_high, dual_clip)
    if epsilon_low is None and epsilon_high is None and dual_clip is None:
        return log_ratio_NT, torch.zeros_like(adv, dtype=torch.bool)
    # Clamping the logarithm: an unbounded ratio is never formed where a bound holds, so its gradient cannot be 0 x inf.
    kept_NT = log_ratio_NT.clamp(low, high)
    return kept_NT, kept_NT.detach() != log_ratio_NT.detach()


def active_log_bounds(
    adv: Float[Tensor, "N _"], epsilon_low: float | None, epsilon_high: float | None, dual_clip: float | None = None
) -> tuple[Float[Tensor, "N _"], Float[Tensor, "N _"]]:
    """Bounds on log rho that PPO's min makes active: above where A > 0, below (and dual clip above) where A < 0."""
    low, high, dual = log_bounds(epsilon_low, epsilon_high, dual_clip)
    none = adv.new_tensor(math.inf)  # tensors: two plain numbers in `where` would be single precision
    low_NT = torch.where(adv < 0, adv.new_tensor(low), -none)
    high_NT = torch.where(adv > 0, adv.new_tensor(high), none)
    return low_NT, high_NT if dual_clip is None else high_NT.masked_fill(adv < 0, dual)


def log_bounds(
    epsilon_low: float | None, epsilon_high: float | None, dual_clip: float | None = None
) -> tuple[float, float, float]:
    """log(1 - epsilon_low), log(1 + epsilon_high), log(dual_clip); infinite where there is no bound."""
    for name, value in (("epsilon_low", epsilon_low), ("epsilon_high", epsilon_high)):
        if value is not None and not value >= 0:
            raise InputError(f"{name}: is {value}; give a number of at least 0, or null for no bound")
    if dual_clip is not None and not dual_clip > 1:
        raise InputError(f"dual_clip: is {dual_clip}; give a number above 1, or null for no bound")
    low = -math.inf if epsilon_low is None or epsilon_low >= 1 else math.log1p(-epsilon_low)
    high = math.inf if epsilon_high is None else math.log1p(epsilon_high)
    return low, high, math.inf if dual_clip is None else math.log(dual_clip)
