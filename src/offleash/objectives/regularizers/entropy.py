"""Entropy bonus: the mean entropy of the policy at the sampled positions, its gradient straight through the logits."""

from __future__ import annotations

from offleash.core.errors import InputError
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, regularizer


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
