"""Supervised fine-tuning on demonstrations."""

from __future__ import annotations

from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, surrogate


@surrogate("nll", external=True)
def negative_log_likelihood(batch: TokenBatch) -> PerToken:
    """-log pi of the tokens, without an advantage. Which rows it sees is the reduction's matter. Gradient weight 1."""
    return -batch.logprobs, {}
