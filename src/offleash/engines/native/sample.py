"""One pass from logits to a token, its log-prob and the entropy it was drawn from."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(logits_RV: Tensor, uniform_R: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse-CDF sampling; temperature 0 takes the most likely token.

    Args:
        logits_RV: float32.
        uniform_R: numbers in [0, 1), float64.
        temperature: at 0 the log-probs and entropies are those of temperature 1.

    Returns:
        token ids, their log-probs and the full-distribution entropies (nats), each (R,).
    """
    logp = (logits_RV / temperature if temperature > 0 else logits_RV).log_softmax(-1)
    p = logp.exp()
    if temperature > 0:
        cdf = p.double().cumsum(-1)
        # The first token whose cumulative probability exceeds the uniform: a token of probability 0 is never taken.
        token = (
            torch.searchsorted(cdf, uniform_R[:, None] * cdf[:, -1:], right=True)
            .squeeze(-1)
            .clamp_(max=logp.shape[-1] - 1)
        )
    else:
        token = logp.argmax(-1)
    logprob = logp.gather(-1, token[:, None]).squeeze(-1)
    # A probability that underflows to 0 contributes 0, not 0 * -inf. In place: a large vocabulary's rows are megabytes.
    entropy = -logp.clamp_(min=-1e4).mul_(p).sum(-1)
    return token, logprob, entropy
