"""The decoder's arithmetic: prefill of whole prompts and one decode step for many rows.

Suffixes: R rows (sequences), S positions computed now, T positions in the cache, H hidden, A heads, D head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from offleash.engines.native.cache import Cache
from offleash.engines.native.weights import Decoder, Layer


def _rotate(x_RASD: Tensor, cos_RSD: Tensor, sin_RSD: Tensor) -> Tensor:
    half = x_RASD.shape[-1] // 2
    turned = torch.cat([-x_RASD[..., half:], x_RASD[..., :half]], -1)
    return x_RASD * cos_RSD[:, None] + turned * sin_RSD[:, None]


def _qkv(
    decoder: Decoder, layer: Layer, x_RSH: Tensor, cos_RSD: Tensor, sin_RSD: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    rows, steps, _ = x_RSH.shape
    h = F.rms_norm(x_RSH, (x_RSH.shape[-1],), layer.input_norm, decoder.eps)
    a, kv, d = decoder.heads, decoder.kv_heads, decoder.head_dim
    qkv = F.linear(h, layer.qkv, layer.qkv_bias).view(rows, steps, a + 2 * kv, d).transpose(1, 2)
    q, k, v = qkv.split([a, kv, kv], dim=1)
    if layer.q_norm is not None and layer.k_norm is not None:
        q = F.rms_norm(q, (d,), layer.q_norm, decoder.eps)
        k = F.rms_norm(k, (d,), layer.k_norm, decoder.eps)
    return _rotate(q, cos_RSD, sin_RSD), _rotate(k, cos_RSD, sin_RSD), v


def _finish_layer(decoder: Decoder, layer: Layer, x_RSH: Tensor, attended_RASD: Tensor) -> Tensor:
    rows, _, steps, _ = attended_RASD.shape
    x = x_RSH + F.linear(attended_RASD.transpose(1, 2).reshape(rows, steps, -1), layer.out)
    h = F.rms_norm(x, (x.shape[-1],), layer.post_norm, decoder.eps)
    gate, up = F.linear(h, layer.gate_up).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, layer.down)


def _logits(decoder: Decoder, x_RH: Tensor) -> Tensor:
    return F.linear(F.rms_norm(x_RH, (x_RH.shape[-1],), decoder.norm, decoder.eps), decoder.head).float()


def prefill(decoder: Decoder, ids_RS: Tensor, lengths_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Read whole prompts, right-padded.

    Returns:
        keys and values (layers, R, kv heads, S, D), and the float32 logits (R, V) after each row's last token.
    """
    rows, steps = ids_RS.shape
    cos = decoder.cos[:steps].expand(rows, -1, -1)
    sin = decoder.sin[:steps].expand(rows, -1, -1)
    x = F.embedding(ids_RS, decoder.embedding)
    keys, values = [], []
    for layer in decoder.layers:
        q, k, v = _qkv(decoder, layer, x, cos, sin)
        keys.append(k)
        values.append(v)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=decoder.heads != decoder.kv_heads)
        x = _finish_layer(decoder, layer, x, attended)
    last = x[torch.arange(rows, device=x.device), lengths_R - 1]
    return torch.stack(keys), torch.stack(values), _logits(decoder, last)


def decode(decoder: Decoder, ids_R: Tensor, cache: Cache, rows: int) -> Tensor:
    """One token for each of the first `rows` rows of the cache; writes its keys and values at each row's length.

    The caller lengthens the rows that go on; a finished row may be decoded again, in place, until it is taken out.

    Returns:
        float32 logits (R, V) for the token after it.
    """
    position_R = cache.length[:rows]
    width = cache.width(rows) + 1
    cos, sin = decoder.cos[position_R][:, None], decoder.sin[position_R][:, None]
    bias = cache.bias(rows, width)
    index = torch.arange(rows, device=ids_R.device)
    x = F.embedding(ids_R, decoder.embedding)[:, None]
    for i, layer in enumerate(decoder.layers):
        q, k, v = _qkv(decoder, layer, x, cos, sin)
        cache.keys[i][index, :, position_R] = k[:, :, 0]
        cache.values[i][index, :, position_R] = v[:, :, 0]
        attended = F.scaled_dot_product_attention(
            q,
            cache.keys[i][:rows, :, :width],
            cache.values[i][:rows, :, :width],
            attn_mask=bias,
            enable_gqa=decoder.heads != decoder.kv_heads,
        )
        x = _finish_layer(decoder, layer, x, attended)
    return _logits(decoder, x[:, 0])
