"""Entropy bonus: the mean entropy of the policy at the sampled positions, its gradient straight through the logits."""

from __future__ import annotations

import math

import torch

from offleash.core.errors import InputError
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, State, regularizer


@regularizer("entropy", needs=("entropy",))
def negative_entropy(batch: TokenBatch) -> PerToken:
    """-H per token, so that a positive coefficient rewards entropy.

    Raises:
        InputError: the entropy carries no gradient while the log-probs do; the bonus would silently do nothing.
    """
    entropy_NT = batch.require("entropy")
    if batch.logprobs.requires_grad and not entropy_NT.requires_grad:
        raise InputError("entropy: carries no gradient; compute it with the log-probs, not under no_grad")
    return -entropy_NT, {}


def control_entropy(
    batch: TokenBatch,
    state: State,
    *,
    entropy_target: float | None = None,
    entropy_delta: float = 1e-4,
    entropy_coef_max: float = 5e-3,
) -> tuple[dict[str, float], State]:
    """The next coefficient: raised by entropy_delta while the entropy is below the target, lowered above it.

    The entropy that controls is the mean of -log pi_old over the step's tokens; the bonus that is controlled uses that
    of the whole distribution. The bonus is on only while the entropy is below the target.

    Args:
        batch: a whole optimizer step, with old_logprobs.
        state: {"coefficient": ...}; 0 at the start.
        entropy_target: nats per token; None for no adaptive bonus.
        entropy_delta: change of the coefficient per optimizer step.
        entropy_coef_max: its upper bound; the lower one is 0.
    """
    if entropy_target is None or not entropy_target > 0:
        raise InputError(f"entropy_target: is {entropy_target}; give nats per token above 0, or null for no bonus")
    before = state.get("coefficient", 0.0)
    if not isinstance(before, int | float) or not math.isfinite(before):
        raise InputError(f"state: the coefficient is {before!r}; that of a checkpoint is a finite number")
    if not 0 <= entropy_delta <= entropy_coef_max:
        raise InputError(f"entropy_delta: is {entropy_delta}; give a number from 0 to entropy_coef_max")
    old_NT = torch.where(batch.mask, batch.require("old_logprobs"), 0.0)
    entropy = float(-old_NT.sum() / batch.mask.sum().clamp(min=1))
    below = entropy < entropy_target
    coefficient = float(before) + (entropy_delta if below else -entropy_delta)
    coefficient = min(max(coefficient, 0.0), entropy_coef_max)
    return {"entropy_coefficient": coefficient if below else 0.0}, {"coefficient": coefficient}


@regularizer("adaptive-entropy", needs=("entropy", "old_logprobs"), prepare=control_entropy)
def adaptive_entropy(batch: TokenBatch) -> PerToken:
    """-c H per token with the coefficient that `prepare` set (Skywork-OR1, J. He et al., arXiv 2505.22312)."""
    if "entropy_coefficient" not in batch.controls:
        raise InputError("controls: adaptive entropy needs the coefficient of this step; call prepare() first")
    coefficient = batch.controls["entropy_coefficient"]
    penalty_NT = negative_entropy(batch)[0]
    used_NT = torch.full_like(penalty_NT.detach(), coefficient)
    return coefficient * penalty_NT, {"entropy_coefficient": used_NT}
