"""Penalties added to a surrogate: each `fn(batch, *, settings) -> (penalty_NT, diagnostics)`."""

from offleash.objectives.regularizers.entropy import adaptive_entropy, control_entropy, negative_entropy
from offleash.objectives.regularizers.imitation import nll_on_correct, sft
from offleash.objectives.regularizers.kl import k1, k2, k3, kl_penalty

__all__ = [
    "k1",
    "k2",
    "k3",
    "kl_penalty",
    "adaptive_entropy",
    "control_entropy",
    "negative_entropy",
    "nll_on_correct",
    "sft",
]
