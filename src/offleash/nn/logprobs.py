"""Teacher-forced log-probs and entropies of completions, with the head applied to completion positions only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel


class PaddedBatch(NamedTuple):
    """N prompts with their completions, right-padded. L = longest prompt + completion, T = longest completion.

    `position_NT` is where the hidden state that predicts completion token t of row n stands in `ids_NL`.
    """

    ids_NL: Int[Tensor, "N L"]
    position_NT: Int[Tensor, "N T"]
    target_NT: Int[Tensor, "N T"]
    mask_NT: Bool[Tensor, "N T"]


def pad(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad_id: int) -> PaddedBatch:
    """Right-pad token lists. Every prompt has at least one token."""
    n, t = len(prompts), max(map(len, completions))
    length = max(len(p) + len(c) for p, c in zip(prompts, completions, strict=True))
    ids = torch.full((n, length), pad_id, dtype=torch.long)
    target = torch.full((n, t), pad_id, dtype=torch.long)
    mask = torch.zeros((n, t), dtype=torch.bool)
    start = torch.tensor([[len(p) - 1] for p in prompts])
    for i, (p, c) in enumerate(zip(prompts, completions, strict=True)):
        ids[i, : len(p) + len(c)] = torch.tensor([*p, *c])
        target[i, : len(c)] = torch.tensor(list(c), dtype=torch.long)
        mask[i, : len(c)] = True
    position = (start + torch.arange(t)).clamp(max=length - 1)
    return PaddedBatch(ids, position, target, mask)


def _head(
    hidden_MH: Float[Tensor, "M H"], weight_VH: Float[Tensor, "V H"], target_M: Int[Tensor, " M"], temperature: float
) -> tuple[Tensor, Tensor]:
    logits = torch.nn.functional.linear(hidden_MH, weight_VH).float() / temperature
    logp = logits.log_softmax(-1)
    entropy = -(logp.exp() * logp).sum(-1)
    return logp.gather(-1, target_M[:, None]).squeeze(-1), entropy


def score(
    model: PreTrainedModel, batch: PaddedBatch, temperature: float = 1.0, chunk: int = 4096
) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
    """Log-prob of every completion token and entropy of the distribution it came from, in nats, 0 where masked.

    Args:
        model: a causal LM whose backbone is `model.model` and whose head is `model.lm_head` without a bias.
        batch: from `pad`.
        temperature: the sampling temperature; both results are of softmax(logits / temperature).
        chunk: completion tokens whose logits exist at one time; under autograd they are recomputed chunk by chunk in the
            backward pass, so memory does not grow with tokens x vocabulary.
    """
    device = next(model.parameters()).device
    ids, position, target, mask = (x.to(device) for x in batch)
    # Right padding under a causal mask: no real token sees padding, so no attention mask is needed.
    hidden_NLH = model.model(input_ids=ids, use_cache=False).last_hidden_state
    rows = torch.arange(len(ids), device=device)[:, None].expand_as(position)[mask]
    hidden_MH, target_M = hidden_NLH[rows, position[mask]], target[mask]
    weight = model.lm_head.weight
    pieces = []
    for h, y in zip(hidden_MH.split(chunk), target_M.split(chunk), strict=True):
        if torch.is_grad_enabled() and len(hidden_MH) > chunk:
            pieces.append(checkpoint(_head, h, weight, y, temperature, use_reentrant=False))
        else:
            pieces.append(_head(h, weight, y, temperature))
    logp_M = torch.cat([p[0] for p in pieces])
    entropy_M = torch.cat([p[1] for p in pieces])
    zeros = torch.zeros(mask.shape, device=device, dtype=logp_M.dtype)
    return zeros.masked_scatter(mask, logp_M), zeros.masked_scatter(mask, entropy_M)
