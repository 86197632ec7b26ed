"""GSPO: the ratio of whole sequences, per token (a geometric mean).

C. Zheng et al., "Group Sequence Policy Optimization", arXiv 2507.18071.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, surrogate
from offleash.objectives.surrogates.ppo import clip


@surrogate("gspo", needs=("old_logprobs",), scales_with_advantage=True)
def gspo(batch: TokenBatch, *, epsilon_low: float | None = 3e-4, epsilon_high: float | None = 4e-4) -> PerToken:
    """-min(s A, clip(s) A) at every token of a completion, s = exp(mean_t log rho).

    Under a sequence mean the gradient weight is s / L at every token, or 0 for the whole completion when s is clipped.

    Args:
        batch: tokens, one advantage a completion.
        epsilon_low: room below 1, about a thousandth of PPO's since s is a geometric mean; None for no bound.
        epsilon_high: room above 1.
    """
    if batch.advantages.ndim != 1:
        raise InputError("advantages: gspo takes one a completion; gspo-token takes one a token")
    adv_N1 = batch.advantages_NT
    log_s_N1 = mean_log_ratio(batch)
    kept_N1, clipped_N1 = clip(log_s_N1, adv_N1, epsilon_low, epsilon_high)
    return -adv_N1 * kept_N1.exp(), {"clip_fraction": clipped_N1}


@surrogate("gspo-token", needs=("old_logprobs",), scales_with_advantage=True)
def gspo_token(batch: TokenBatch, *, epsilon_low: float | None = 3e-4, epsilon_high: float | None = 4e-4) -> PerToken:
    """GSPO with s_t = sg(s) pi_t / sg(pi_t): the same number, but each token keeps its own gradient and advantage."""
    adv_NT = batch.advantages_NT
    log_ratio_NT = batch.log_ratio_NT
    log_s_NT = mean_log_ratio(batch).detach() + log_ratio_NT - log_ratio_NT.detach()
    kept_NT, clipped_NT = clip(log_s_NT, adv_NT, epsilon_low, epsilon_high)
    return -adv_NT * kept_NT.exp(), {"clip_fraction": clipped_NT}


def mean_log_ratio(batch: TokenBatch) -> Float[Tensor, "N 1"]:
    """Mean over a completion's unmasked tokens of log rho; 0 for a completion without tokens."""
    return batch.log_ratio_NT.sum(1, keepdim=True) / batch.length_N[:, None].clamp(min=1)
