"""The policy gradient without a clip, in its two forms."""

from __future__ import annotations

from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, surrogate


@surrogate("score-function", scales_with_advantage=True)
def score_function(batch: TokenBatch) -> PerToken:
    """-A log pi. Gradient weight 1: right for samples of the policy being trained. The value has no meaning."""
    return -batch.advantages_NT * batch.logprobs, {}


@surrogate("importance", needs=("old_logprobs",), scales_with_advantage=True)
def importance(batch: TokenBatch) -> PerToken:
    """-A rho with rho = pi / pi_old. Gradient weight rho."""
    return -batch.advantages_NT * batch.log_ratio_NT.exp(), {}
