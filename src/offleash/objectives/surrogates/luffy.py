"""LUFFY: policy shaping on demonstrations.

J. Yan et al., "Learning to Reason under Off-Policy Guidance", arXiv 2504.14945, Eq. 4-6.
"""

from __future__ import annotations

from offleash.core.errors import InputError
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, surrogate
from offleash.objectives.surrogates.rl_plus import demonstrations, rollout_ratio


@surrogate("luffy", needs=("old_logprobs",), external=True, scales_with_advantage=True)
def luffy(
    batch: TokenBatch,
    *,
    shaping: float | None = 0.1,
    epsilon_low: float | None = None,
    epsilon_high: float | None = None,
) -> PerToken:
    """Rollouts: -rho A (clipped if epsilons are given). Demonstrations: -A pi / (pi + shaping), or -A pi without it.

    Gradient weight on demonstrations: shaping x pi / (pi + shaping)^2, at most 1/4 and that at pi = shaping. The
    gradient goes through the shaping function.

    Args:
        batch: tokens.
        shaping: the paper's gamma, a probability (RL-PLUS's gamma is an exponent); None for the plain ratio to a
            demonstrator of probability 1, whose gradient weight is pi.
        epsilon_low: clip of the rollouts' ratio below 1; None for no clip.
        epsilon_high: the same, above 1.
    """
    if shaping is not None and not shaping > 0:
        raise InputError(f"shaping: is {shaping}; give a probability above 0, or null for none")
    rows_M, demos = demonstrations(batch)
    ratio_NT, clipped_NT = rollout_ratio(batch, rows_M, epsilon_low, epsilon_high)
    pi_MT = demos.logprobs.exp()
    shaped_MT = pi_MT if shaping is None else pi_MT / (pi_MT + shaping)
    return -batch.advantages_NT * ratio_NT.index_copy(0, rows_M, shaped_MT), {"clip_fraction": clipped_NT}
