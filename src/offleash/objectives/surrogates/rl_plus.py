"""RL-PLUS: multiple importance sampling and an exploration-based advantage on demonstrations.

Y. Dong et al., "RL-PLUS: Countering Capability Boundary Collapse of LLMs in Reinforcement Learning with Hybrid-policy
Optimization", arXiv 2508.00222, Eq. 4-7.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, surrogate
from offleash.objectives.surrogates.ppo import active_log_bounds

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
    adv = batch.advantages_NT
    external_N1 = external_column(batch)
    log_ratio_NT = torch.where(external_N1, 0.0, batch.log_ratio_NT)
    kept_NT = log_ratio_NT.clamp(*active_log_bounds(adv, epsilon_low, epsilon_high))
    logprobs_NT, old_NT = demonstrated(batch, "logprobs"), demonstrated(batch, "old_logprobs")
    density: dict[str, float | Tensor] = {"paper": 1.0 / batch.vocab_size, "released": 1.0, "old": old_NT.exp()}
    demo_NT = multiple_importance_ratio(logprobs_NT, old_NT, density[uniform]) * exploration_weight(logprobs_NT, gamma)
    loss_NT = -adv * torch.where(external_N1, demo_NT, kept_NT.exp())
    return loss_NT, {"clip_fraction": (kept_NT != log_ratio_NT).detach()}


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


def demonstrated(batch: TokenBatch, name: str) -> Float[Tensor, "N T"]:
    """A field at the tokens of demonstrations, 0 elsewhere: what stands in padding must not reach an exp."""
    return torch.where(external_column(batch) & batch.mask, batch.require(name), 0.0)


def external_column(batch: TokenBatch) -> Tensor:
    """External as a column, all False if the batch has no demonstrations."""
    if batch.external is None:
        return torch.zeros(len(batch.mask), 1, dtype=torch.bool, device=batch.mask.device)
    return batch.external[:, None]
