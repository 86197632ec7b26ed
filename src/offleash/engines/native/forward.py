"""The decoder's arithmetic: prefill of whole prompts and one decode step for many rows.

Suffixes: R rows (sequences), S positions computed now, T positions in the cache, H hidden, A query heads, K key heads, Q query
heads of one key head (A = K Q), D head width, G prompts (groups of rows), M rows of the largest group.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from offleash.engines.native.cache import Cache, Step
from offleash.engines.native.products import linear
from offleash.engines.native.weights import Decoder, Layer


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


def _add_linear(x_RH: Tensor, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x + h W' + b, in place."""
    return x_RH.add_(linear(h, weight, bias))


def _pairs(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    return torch.view_as_real(_pairs(x) * turn).flatten(-2).to(x.dtype)


def _qkv(decoder: Decoder, layer: Layer, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (..., A, D), keys and values (..., K, D), not yet rotated."""
    a, k, d = decoder.heads, decoder.kv_heads, decoder.head_dim
    qkv = linear(_norm(x, layer.input_norm, decoder.eps), layer.qkv, layer.qkv_bias)
    q, keys, values = qkv.unflatten(-1, (a + 2 * k, d)).split([a, k, k], dim=-2)
    if layer.q_norm is not None and layer.k_norm is not None:
        q, keys = _norm(q, layer.q_norm, decoder.eps), _norm(keys, layer.k_norm, decoder.eps)
    return q, keys, values


def _mlp(decoder: Decoder, layer: Layer, x_RH: Tensor) -> Tensor:
    """x + MLP(norm x), in place."""
    both = linear(_norm(x_RH, layer.post_norm, decoder.eps), layer.gate_up, layer.gate_up_bias)
    gate, up = both.chunk(2, dim=-1)
    return _add_linear(x_RH, F.silu(gate).mul_(up), layer.down, layer.down_bias)


def _logits(decoder: Decoder, x_RH: Tensor) -> Tensor:
    return linear(_norm(x_RH, decoder.norm, decoder.eps).float(), decoder.head)


def prefill(decoder: Decoder, ids_GS: Tensor, lengths_G: Tensor) -> tuple[Tensor, Tensor]:
    """Read whole prompts, right-padded.

    Returns:
        keys and values (2, layers, G, K, S, D), and the float32 logits (G, V) after each row's last token.
    """
    groups, steps = ids_GS.shape
    turn = decoder.turn_TD[:steps, None]
    x = F.embedding(ids_GS, decoder.embedding).to(decoder.stream).flatten(0, 1)
    kept: tuple[list[Tensor], list[Tensor]] = ([], [])
    for layer in decoder.layers:
        q, k, v = (h.unflatten(0, (groups, steps)) for h in _qkv(decoder, layer, x))
        q, k, v = _turned(q, turn).transpose(1, 2), _turned(k, turn).transpose(1, 2), v.transpose(1, 2)
        kept[0].append(k)
        kept[1].append(v)
        gqa = decoder.heads != decoder.kv_heads
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa)
        x = _add_linear(x, attended.transpose(1, 2).reshape(groups * steps, -1), layer.out, layer.out_bias)
        x = _mlp(decoder, layer, x)
    last = x.view(groups, steps, -1)[torch.arange(groups, device=x.device), lengths_G - 1]
    return torch.stack([torch.stack(kept[0]), torch.stack(kept[1])]), _logits(decoder, last)


def decode(decoder: Decoder, ids_R: Tensor, cache: Cache, step: Step) -> Tensor:
    """One token for each row; writes its keys and values into the step's column of the rows' own cache.

    Returns:
        float32 logits (R, V) for the token after it.
    """
    x = F.embedding(ids_R, decoder.embedding).to(decoder.stream)
    turn = decoder.turn_TD[step.positions_R][:, None]
    for i, layer in enumerate(decoder.layers):
        q, k, v = _qkv(decoder, layer, x)
        q = _turned(q, turn)
        cache.write(i, step, _turned(k, turn), v)
        x = _add_linear(x, _attend(decoder, cache, step, i, q), layer.out, layer.out_bias)
        x = _mlp(decoder, layer, x)
    return _logits(decoder, x)


def _attend(decoder: Decoder, cache: Cache, step: Step, layer: int, q_RAD: Tensor) -> Tensor:
    """Attention of each row to its group's prompt and its own completion, (R, A D).

    A group's queries stand below each other, so the prompt's keys are read once for all of them; rows whose group is smaller
    than the largest leave gaps in that rectangle.
    """
    rows, d, reps = len(q_RAD), decoder.head_dim, decoder.heads // decoder.kv_heads
    q = q_RAD.reshape(rows * decoder.kv_heads, reps, d)
    prompt_k, prompt_v = cache.prompt(layer, step)
    own_k, own_v = cache.own(layer, step)
    stacked = q.index_select(0, step.grid).view(len(prompt_k), -1, d)
    to_prompt = (
        torch.bmm(stacked, prompt_k.transpose(1, 2)).view(-1, reps, prompt_k.shape[1]).index_select(0, step.ungrid)
    )
    scores = torch.cat([to_prompt, torch.bmm(q, own_k.transpose(1, 2))], -1).view(rows, decoder.heads, -1)
    p = torch.add(step.bias_RT[:, None], scores, alpha=d**-0.5).softmax(-1).view(len(q), reps, -1)
    p_prompt, p_own = p.split([prompt_k.shape[1], own_k.shape[1]], dim=-1)
    p_stacked = p_prompt.index_select(0, step.grid).view(len(prompt_k), -1, prompt_k.shape[1])
    mixed = torch.bmm(p_stacked, prompt_v).view(-1, reps, d).index_select(0, step.ungrid)
    return mixed.baddbmm_(p_own, own_v).view(rows, -1)
