"""Imitation added to another objective: of demonstrations, or of the model's own correct rollouts."""

from __future__ import annotations

from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, regularizer


@regularizer("sft")
def sft(batch: TokenBatch) -> PerToken:
    """-log pi, reduced over the tokens of demonstrations."""
    return -batch.logprobs, {}


@regularizer("nll")
def nll_on_correct(batch: TokenBatch) -> PerToken:
    """-log pi, reduced over the tokens of correct completions (the joint loss of GPPO)."""
    return -batch.logprobs, {}
