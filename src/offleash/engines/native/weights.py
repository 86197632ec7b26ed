"""The weights of a decoder, fused for fast decoding: one product for q, k and v, one for gate and up.

The fused tensors are copies, refreshed by `refresh` after a training step; the others are the trainer's own tensors, read in
place, unless another dtype is asked for. In the copies of q and k, components that rotate together stand side by side, so that
a rotation is one complex product; that leaves their products as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from offleash.engines.native.limits import context_length


@dataclass
class Layer:
    """One decoder layer. Biases and per-head norms are None where the family has none."""

    input_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    post_norm: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


class Decoder:
    """A Llama-like model taken apart: embedding, layers, final norm, head, rotary tables.

    Args:
        model: of a family that `limits.reads` accepts.
        dtype: of the layers' matrices; None is the model's own. The final head is float32 in any case, and so are, on a CPU,
            the residual stream, norms and attention: only the products with weights are made in `dtype`.

    Attributes:
        stays: whether copies are refreshed in place, as recorded steps need it (a GPU). Otherwise they are made anew.
        version: rises when a refresh could not leave every tensor where it was.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None = None) -> None:
        config = model.config
        self.context = context_length(config)
        self.model = model
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps: float = config.rms_norm_eps
        self.vocab_size: int = config.vocab_size
        weight = model.model.embed_tokens.weight
        self.device, self.dtype = weight.device, dtype or weight.dtype
        self.stream = torch.float32 if self.device.type == "cpu" else self.dtype
        self.stays, self.version = self.device.type == "cuda", 0
        self.borrowed: set[int] = set()
        positions = torch.arange(self.context, device=self.device)[None]
        with torch.no_grad():
            cos, sin = model.model.rotary_emb(torch.empty(0, device=self.device), positions)
        half = self.head_dim // 2
        self.turn_TD = torch.complex(cos[0, :, :half].float(), sin[0, :, :half].float())
        self.layers: list[Layer] = []
        self.ends: list[Tensor] = []
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Read the model's present weights. Sharded ones are gathered, so every process of their group has to call it."""
        inner, head = self.model.model, self.model.lm_head
        old = self.layers if self.stays else []
        self.layers = [
            self._settle(old[i], self._layer(layer)) if old else self._layer(layer)
            for i, layer in enumerate(inner.layers)
        ]
        ends = [self._vector(inner.norm.weight), _whole(inner.embed_tokens.weight), _whole(head.weight).float()]
        self.ends = [self._in_place(a, b) for a, b in zip(self.ends, ends, strict=True)] if old else ends
        self.norm, self.embedding, self.head = self.ends
        self.borrowed = {_storage(p) for p in self.model.parameters()} if self.stays else set()

    def _settle(self, old: Layer, new: Layer) -> Layer:
        pairs = ((f.name, getattr(old, f.name), getattr(new, f.name)) for f in fields(old))
        return replace(new, **{name: self._in_place(a, b) for name, a, b in pairs if a is not None})

    def _in_place(self, old: Tensor, new: Tensor) -> Tensor:
        """The new values in the old place: already there, or written over our own copy. The trainer's memory is never written."""
        if old.data_ptr() == new.data_ptr():
            return new
        if _storage(old) in self.borrowed:
            self.version += 1
            return new
        return old.copy_(new)

    def _layer(self, layer: Any) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
        normed = hasattr(attention, "q_norm")
        biased = q.bias is not None
        return Layer(
            input_norm=self._vector(layer.input_layernorm.weight),
            qkv=self._matrix(self._paired(_merged(q)), self._paired(_merged(k)), _merged(v)),
            qkv_bias=self._matrix(self._paired(q.bias), self._paired(k.bias), _whole(v.bias)) if biased else None,
            q_norm=self._vector(self._paired(attention.q_norm.weight)) if normed else None,
            k_norm=self._vector(self._paired(attention.k_norm.weight)) if normed else None,
            out=self._matrix(_merged(attention.o_proj)),
            out_bias=self._bias(attention.o_proj),
            post_norm=self._vector(layer.post_attention_layernorm.weight),
            gate_up=self._matrix(_merged(mlp.gate_proj), _merged(mlp.up_proj)),
            gate_up_bias=self._bias(mlp.gate_proj, mlp.up_proj),
            down=self._matrix(_merged(mlp.down_proj)),
            down_bias=self._bias(mlp.down_proj),
        )

    def _paired(self, weight: Tensor) -> Tensor:
        """Rows (head, D) with component j beside the one it rotates with, j + D / 2."""
        weight = _whole(weight)
        return weight.view(-1, 2, self.head_dim // 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)

    def _matrix(self, *parts: Tensor) -> Tensor:
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).to(self.dtype)

    def _vector(self, weight: Tensor) -> Tensor:
        return _whole(weight).to(self.stream)

    def _bias(self, *linears: Any) -> Tensor | None:
        biases: Sequence[Tensor] = [_whole(x.bias) for x in linears if x.bias is not None]
        return self._matrix(*biases) if biases else None


def _storage(weight: Tensor) -> int:
    """Where a tensor's memory begins; of a sharded one, that of its part here."""
    local = getattr(weight, "to_local", None)
    return (weight if local is None else local()).untyped_storage().data_ptr()


def _merged(linear: Any) -> Tensor:
    """A layer's weight; of one with adapters (peft's LoRA) the sum, since `weight` there is that of the layer below."""
    weight = _whole(linear.weight)
    if hasattr(linear, "get_delta_weight") and not linear.merged and not linear.disable_adapters:
        for adapter in linear.active_adapters:
            weight = weight + linear.get_delta_weight(adapter).detach()
    return weight


def _whole(weight: Tensor) -> Tensor:
    """A parameter's values; a sharded one (torch's DTensor, as FSDP makes them) is gathered."""
    weight = weight.detach()
    full = getattr(weight, "full_tensor", None)
    return weight if full is None else full()
