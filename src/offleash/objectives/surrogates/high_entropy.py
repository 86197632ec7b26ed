"""80/20: only the tokens of highest entropy carry the policy gradient.

S. Wang et al., "Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM
Reasoning", arXiv 2506.01939.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, surrogate
from offleash.objectives.surrogates.ppo import ppo_clip


def select_high_entropy(
    batch: TokenBatch, key: tuple[str | int, ...], *, entropy_fraction: float = 0.2
) -> Bool[Tensor, "N T"]:
    """The fraction of all tokens (rounded up) with the highest entropy under the current policy."""
    if not 0 <= entropy_fraction <= 1:
        raise InputError(f"entropy_fraction: is {entropy_fraction}; give a fraction between 0 and 1")
    entropy_NT: Float[Tensor, "N T"] = batch.require("entropy").detach().masked_fill(~batch.mask, -torch.inf)
    tokens = int(batch.mask.sum())
    # A tiny step back: 0.2 x 5 must not become 2 by rounding in binary fractions.
    count = min(math.ceil(entropy_fraction * tokens - 1e-9), tokens)
    chosen = torch.zeros(batch.mask.numel(), dtype=torch.bool, device=batch.mask.device)
    chosen[entropy_NT.flatten().topk(max(count, 0)).indices] = True
    return chosen.view_as(batch.mask)


@surrogate(
    "high-entropy",
    needs=("old_logprobs", "entropy", "selected"),
    select=select_high_entropy,
    scales_with_advantage=True,
)
def high_entropy(batch: TokenBatch, *, epsilon_low: float | None = 0.2, epsilon_high: float | None = 0.28) -> PerToken:
    """ppo-clip at the selected tokens, nothing elsewhere. Which tokens are counted is the reduction's matter."""
    loss_NT, diagnostics = ppo_clip(batch, epsilon_low=epsilon_low, epsilon_high=epsilon_high)
    selected = batch.require("selected")
    return batch.keep(loss_NT, selected), diagnostics | {"selected_fraction": selected}
