"""Teacher-forced log-probs and entropies of completions: each prompt is read once for all its completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedModel

from offleash.nn import packed


class PaddedBatch(NamedTuple):
    """P distinct prompts and N completions, right-padded. S = longest prompt, T = longest completion.

    `prompt_of_N` tells which prompt a completion continues.
    """

    prompts_PS: Int[Tensor, "P S"]
    prompt_mask_PS: Bool[Tensor, "P S"]
    prompt_of_N: Int[Tensor, " N"]
    completions_NT: Int[Tensor, "N T"]
    mask_NT: Bool[Tensor, "N T"]


def pad(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad_id: int) -> PaddedBatch:
    """Right-pad token lists, one prompt for each completion; equal prompts become one. Neither may be empty."""
    distinct: dict[tuple[int, ...], int] = {}
    prompt_of = [distinct.setdefault(tuple(p), len(distinct)) for p in prompts]
    prompts_PS, prompt_mask = _rectangle(list(distinct), pad_id)
    completions_NT, mask = _rectangle(completions, pad_id)
    return PaddedBatch(prompts_PS, prompt_mask, torch.tensor(prompt_of), completions_NT, mask)


def _rectangle(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(width) < lengths[:, None]


def _head(
    hidden_MH: Float[Tensor, "M H"],
    weight_VH: Float[Tensor, "V H"],
    bias_V: Float[Tensor, " V"] | None,
    target_M: Int[Tensor, " M"],
    temperature: float,
) -> tuple[Tensor, Tensor]:
    logits = torch.nn.functional.linear(hidden_MH, weight_VH, bias_V).float() / temperature
    logp = logits.log_softmax(-1)
    entropy = -(logp.exp() * logp).sum(-1)
    return logp.gather(-1, target_M[:, None]).squeeze(-1), entropy


def longest(batch: PaddedBatch) -> int:
    """Tokens of the longest prompt with its completion."""
    return int((batch.prompt_mask_PS.sum(1)[batch.prompt_of_N] + batch.mask_NT.sum(1)).max())


def slots(model: PreTrainedModel, batch: PaddedBatch) -> tuple[int, int]:
    """Token slots that `score` computes for a batch, attention apart, and how many of them are padding."""
    tokens = int(batch.prompt_mask_PS.sum()) + int(batch.mask_NT[:, 1:].sum())  # a last token is no input
    if packed.supported(model, longest(batch)):
        return tokens, 0
    computed = batch.prompts_PS.numel() + batch.completions_NT[:, 1:].numel()
    return computed, computed - tokens


def score(
    model: PreTrainedModel,
    batch: PaddedBatch,
    temperature: float = 1.0,
    chunk: int = 4096,
    dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
    """Log-prob of every completion token and entropy of the distribution it came from, in nats, 0 where masked.

    Args:
        model: a causal LM with a key-value cache whose logits are its output layer of the last hidden state
            (`scoring.require_plain_head` refuses others).
        batch: from `pad`.
        temperature: the sampling temperature; both results are of softmax(logits / temperature).
        chunk: completion tokens whose logits exist at one time; under autograd they are recomputed chunk by chunk in the
            backward pass, so memory does not grow with tokens x vocabulary.
        dtype: of the products in the layers, bfloat16 for float32 weights (autocast); None is the model's own. The output
            layer and the softmax keep the weights' precision, and gradients have the weights' dtype.
    """
    device = next(model.parameters()).device
    batch = PaddedBatch(*(x.to(device) for x in batch))
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        fits = packed.supported(model, longest(batch))
        hidden_MH = packed.hidden(model, *batch) if fits else _hidden(model, batch)[batch.mask_NT]
    target_M = batch.completions_NT[batch.mask_NT]
    head = model.get_output_embeddings()
    weight, bias = head.weight, getattr(head, "bias", None)
    hidden_MH = hidden_MH.to(weight.dtype)
    pieces = []
    for h, y in zip(hidden_MH.split(chunk), target_M.split(chunk), strict=True):
        if torch.is_grad_enabled() and len(hidden_MH) > chunk:
            pieces.append(checkpoint(_head, h, weight, bias, y, temperature, use_reentrant=False))
        else:
            pieces.append(_head(h, weight, bias, y, temperature))
    logp_M = torch.cat([p[0] for p in pieces])
    entropy_M = torch.cat([p[1] for p in pieces])
    zeros = torch.zeros(batch.mask_NT.shape, device=logp_M.device, dtype=logp_M.dtype)
    return zeros.masked_scatter(batch.mask_NT, logp_M), zeros.masked_scatter(batch.mask_NT, entropy_M)


def _hidden(model: PreTrainedModel, batch: PaddedBatch) -> Float[Tensor, "N T H"]:
    """The hidden state that predicts each completion token. The prompts' keys and values carry their gradient."""
    length_P = batch.prompt_mask_PS.sum(1)
    decoder, cache = model.get_decoder(), DynamicCache(config=model.config)
    # Right padding under a causal mask: no real token sees padding, so the prompts need no attention mask.
    prompt_PSH = decoder(input_ids=batch.prompts_PS, past_key_values=cache, use_cache=True).last_hidden_state
    last_PH = prompt_PSH[torch.arange(len(length_P), device=length_P.device), length_P - 1]
    first_N1H = last_PH[batch.prompt_of_N][:, None]
    if batch.completions_NT.shape[1] == 1:
        return first_N1H
    cache.batch_select_indices(batch.prompt_of_N)
    inputs_NT = batch.completions_NT[:, :-1]
    steps = torch.arange(inputs_NT.shape[1], device=inputs_NT.device)
    rest_NTH = decoder(
        input_ids=inputs_NT,
        past_key_values=cache,
        use_cache=True,
        attention_mask=torch.cat(
            [batch.prompt_mask_PS[batch.prompt_of_N], torch.ones_like(inputs_NT, dtype=torch.bool)], 1
        ),
        position_ids=length_P[batch.prompt_of_N][:, None] + steps,
    ).last_hidden_state
    return torch.cat([first_N1H, rest_NTH], 1)
