"""Three estimators of KL(pi || pi_ref) from sampled tokens, and what each one's gradient really is.

With d = log pi - log pi_ref at a token sampled from pi, all three have mean KL(pi || pi_ref) (k2 only to second order).
As a loss term the gradient is what counts, and there they differ (J. Schulman, "Approximating KL divergence", 2020,
gives the values; the expectations of the gradients below are derived, and tested on an enumerated policy):

  k1 = d                 gradient 1 x grad log pi              mean 0: it penalises nothing
  k2 = d^2 / 2           gradient d x grad log pi              mean grad KL(pi || pi_ref): the penalty one means
  k3 = exp(-d) - 1 + d   gradient (1 - exp(-d)) x grad log pi  mean grad KL(pi_ref || pi): the other direction
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import unknown_name
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, regularizer


def k1(log_ratio: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
    """D = log pi - log pi_ref: unbiased in value, of either sign; its gradient averages to 0."""
    return log_ratio


def k2(log_ratio: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
    """d^2 / 2: biased in value; its gradient averages to that of KL(pi || pi_ref)."""
    return 0.5 * log_ratio.square()


def k3(log_ratio: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
    """exp(-d) - 1 + d: unbiased in value, never negative; its gradient averages to that of KL(pi_ref || pi)."""
    return torch.expm1(-log_ratio) + log_ratio


ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


@regularizer("kl", needs=("ref_logprobs",))
def kl_penalty(batch: TokenBatch, *, kl_estimator: str = "k3") -> PerToken:
    """KL to the reference, per token, by k1, k2 or k3."""
    if kl_estimator not in ESTIMATORS:
        raise unknown_name("kl_estimator", kl_estimator, ESTIMATORS)
    reference_NT = batch.require("ref_logprobs")
    log_ratio_NT = batch.keep(batch.logprobs - reference_NT, batch.mask)
    return ESTIMATORS[kl_estimator](log_ratio_NT), {}
