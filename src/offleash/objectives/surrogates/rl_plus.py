"""RL-PLUS: multiple importance sampling and an exploration-based advantage on demonstrations.

Y. Dong et al., "RL-PLUS: Countering Capability Boundary Collapse of LLMs in Reinforcement Learning with Hybrid-policy
Optimization", arXiv 2508.00222, Eq. 4-7.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, surrogate
from offleash.objectives.surrogates.ppo import clip

UNIFORMS = ("paper", "released", "old")


@surrogate("rl-plus", needs=("old_logprobs",), external=True, scales_with_advantage=True)
def rl_plus(
    batch: TokenBatch,
    *,
    uniform: str = "paper",
    gamma: float = 0.5,
    epsilon_low: float | None = None,
    epsilon_high: float | None = None,
) -> PerToken:
    """Rollouts: -rho A. Demonstrations: -r A (1 - sg(pi))^gamma with r = 2 pi / (1.5 pi_old + 0.5 U).

    Gradient weight on demonstrations: r (1 - pi)^gamma, since the exploration weight is detached.

    Args:
        batch: tokens; demonstrations carry old log-probs scored under the old policy.
        uniform: U = 1/V (paper) or U = 1 (released). For p >> 1/V the first gives 4/3 for every token, the second about
            4p. "old" puts pi_old in its place, and r is the plain ratio rho.
        gamma: exponent of the exploration weight, at least 0; 0 switches it off.
        epsilon_low: clip of the rollouts' ratio; None as in the paper.
        epsilon_high: the same, above.
    """
    if uniform not in UNIFORMS:
        raise unknown_name("uniform", uniform, UNIFORMS)
    rows_M, demos = demonstrations(batch)
    ratio_NT, clipped_NT = rollout_ratio(batch, rows_M, epsilon_low, epsilon_high)
    logprobs_MT, old_MT = demos.logprobs, demos.require("old_logprobs")
    density: dict[str, float | Tensor] = {"paper": 1.0 / batch.vocab_size, "released": 1.0, "old": old_MT.exp()}
    demo_MT = multiple_importance_ratio(logprobs_MT, old_MT, density[uniform]) * exploration_weight(logprobs_MT, gamma)
    return -batch.advantages_NT * ratio_NT.index_copy(0, rows_M, demo_MT), {"clip_fraction": clipped_NT}


def multiple_importance_ratio(
    logprobs_NT: Float[Tensor, "N T"], old_logprobs_NT: Float[Tensor, "N T"], uniform: float | Tensor
) -> Float[Tensor, "N T"]:
    """2 pi / (pi_old + pi_w) with pi_w = pi_old / 2 + uniform / 2, the guess at the demonstrator (Theorem 3.2)."""
    old_NT = old_logprobs_NT.exp()
    demonstrator_NT = 0.5 * old_NT + 0.5 * uniform
    return 2.0 * logprobs_NT.exp() / (old_NT + demonstrator_NT)


def exploration_weight(logprobs_NT: Float[Tensor, "N T"], gamma: float) -> Float[Tensor, "N T"]:
    """(1 - sg(pi))^gamma: more weight where the policy does not yet go. Detached: its slope at pi = 1 is infinite."""
    if not gamma >= 0:
        raise InputError(f"gamma: is {gamma}; give a number of at least 0")
    # Rounding can put pi a little above 1.
    return (-torch.expm1(logprobs_NT.detach())).clamp(min=0.0).pow(gamma)


def demonstrations(batch: TokenBatch) -> tuple[Int[Tensor, " M"], TokenBatch]:
    """Which rows are demonstrations, and their tokens; log-probs are 0 where masked, so that padding reaches no exp."""
    if batch.external is None:
        rows_M = torch.zeros(0, dtype=torch.long, device=batch.mask.device)
    else:
        rows_M = batch.external.nonzero().flatten()
    logprobs_MT, old_MT = batch.logprobs[rows_M], batch.require("old_logprobs")[rows_M]
    mask_MT = batch.mask[rows_M]
    demos = replace(
        batch.rows(rows_M),
        logprobs=torch.where(mask_MT, logprobs_MT, 0.0),
        old_logprobs=torch.where(mask_MT, old_MT, 0.0),
    )
    return rows_M, demos


def rollout_ratio(
    batch: TokenBatch, demonstrations_M: Int[Tensor, " M"], epsilon_low: float | None, epsilon_high: float | None
) -> tuple[Float[Tensor, "N T"], Bool[Tensor, "N _"]]:
    """The clipped ratio of rollouts, and where it was clipped; 1 at demonstrations, which have a rule of their own."""
    # Filled before the exp: the plain ratio of a demonstration may overflow, and is of no use.
    log_ratio_NT = batch.log_ratio_NT.index_fill(0, demonstrations_M, 0.0)
    kept_NT, clipped_NT = clip(log_ratio_NT, batch.advantages_NT, epsilon_low, epsilon_high)
    return kept_NT.exp(), clipped_NT
