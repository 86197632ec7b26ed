"""The weights of a decoder, fused for fast decoding: one product for q, k, v and one for gate and up.

The fused tensors are copies, refreshed by `refresh` after a training step (a few ms for small models); all others are the
trainer's own tensors, read in place.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    post_norm: Tensor
    gate_up: Tensor
    down: Tensor


class Decoder:
    """A Llama-like model taken apart: embedding, layers, final norm, head, rotary tables."""

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        self.context = context_length(config)
        self.model = model
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps: float = config.rms_norm_eps
        self.vocab_size: int = config.vocab_size
        self.embedding: Tensor = model.model.embed_tokens.weight
        self.device, self.dtype = self.embedding.device, self.embedding.dtype
        positions = torch.arange(self.context, device=self.device)[None]
        with torch.no_grad():
            cos, sin = model.model.rotary_emb(self.embedding[:1, None], positions)
        self.cos, self.sin = cos[0].to(self.dtype), sin[0].to(self.dtype)
        self.layers: list[Layer] = []
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Read the model's present weights."""
        self.layers = [self._layer(layer) for layer in self.model.model.layers]
        self.norm: Tensor = self.model.model.norm.weight.detach()
        self.head: Tensor = self.model.lm_head.weight.detach()
        self.embedding = self.model.model.embed_tokens.weight.detach()

    @staticmethod
    def _layer(layer: Any) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        return Layer(
            input_norm=layer.input_layernorm.weight.detach(),
            qkv=torch.cat([p.weight for p in parts]),
            qkv_bias=torch.cat([p.bias for p in parts]) if parts[0].bias is not None else None,
            q_norm=attention.q_norm.weight.detach() if hasattr(attention, "q_norm") else None,
            k_norm=attention.k_norm.weight.detach() if hasattr(attention, "k_norm") else None,
            out=attention.o_proj.weight.detach(),
            post_norm=layer.post_attention_layernorm.weight.detach(),
            gate_up=torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]),
            down=mlp.down_proj.weight.detach(),
        )
