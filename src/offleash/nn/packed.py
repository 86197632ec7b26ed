"""One forward pass over prompts and completions without any padding: each token is computed once, each prompt once.

The tokens of all sequences stand in one row. Only attention, which is cheap at these lengths, sees rectangles: it is handed to
transformers as an attention function of its own, so the layers around it are the model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel

NAME = "offleash_packed"
FAMILIES = (
    *("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3", "gemma", "gemma3_text"),
    *("olmo", "olmo2", "olmo3", "olmoe", "phi", "phi3", "glm", "glm4", "starcoder2", "gpt2", "gpt_neox"),
    *("ernie4_5", "exaone4", "seed_oss"),
)
"""Model types whose layers, attention apart, treat every token by itself, and hand on what attention is given.

Not StableLM and Nemotron, whose layers keep it to themselves; and not those that change their logits after the output layer
(Gemma 2, Granite, Cohere), which scoring refuses.
"""
KINDS = {"full_attention", "sliding_attention"}
ENDLESS = 2**31


class Layout(NamedTuple):
    """Where tokens stand in the row: first all prompts, then the inputs of all completions (their last token is no input).

    P distinct prompts of at most S tokens, N completions of at most T inputs.
    """

    prompt_mask_PS: Bool[Tensor, "P S"]
    prompt_of_N: Int[Tensor, " N"]
    input_mask_NT: Bool[Tensor, "N T"]
    prompt_tokens: int
    seen_N1TK: Bool[Tensor, "N 1 T K"]
    """K = S + T: which of its prompt's and its own tokens an input attends to."""


def supported(model: PreTrainedModel, longest: int) -> bool:
    """Whether a batch can be computed without padding: a known family, causal attention that reaches as far, no dropout at work.

    Args:
        model: the model.
        longest: tokens of the longest text, prompt and completion together.
    """
    return model.config.model_type in FAMILIES and not model.training and longest <= _reach(model.config)


def _reach(config: PretrainedConfig) -> int:
    """Tokens of a text up to which each attends to all before it, at rotary angles that do not depend on its length."""
    kinds = set(getattr(config, "layer_types", None) or ())
    sliding = "sliding_attention" in kinds
    window = getattr(config, "sliding_window", None)
    if not kinds <= KINDS or (sliding and window is None) or getattr(config, "use_bidirectional_attention", False):
        return 0
    reach: int = ENDLESS if window is None or not (sliding or getattr(config, "use_sliding_window", True)) else window
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    tables = rope.values() if rope and all(isinstance(part, dict) for part in rope.values()) else [rope]
    for table in tables:
        if table.get("rope_type") == "longrope":
            reach = min(reach, table.get("original_max_position_embeddings", 0))
        elif table.get("rope_type") == "dynamic":
            reach = min(reach, config.max_position_embeddings)
    return reach


def hidden(
    model: PreTrainedModel,
    prompts_PS: Int[Tensor, "P S"],
    prompt_mask_PS: Bool[Tensor, "P S"],
    prompt_of_N: Int[Tensor, " N"],
    completions_NT: Int[Tensor, "N T"],
    mask_NT: Bool[Tensor, "N T"],
) -> Float[Tensor, "M H"]:
    """The hidden states that predict the M completion tokens, row by row, as `mask_NT` lists them."""
    layout = _layout(prompt_mask_PS, prompt_of_N, mask_NT)
    length_P = prompt_mask_PS.sum(1)
    inputs_NT = layout.input_mask_NT
    ids = torch.cat([prompts_PS[prompt_mask_PS], completions_NT[:, : inputs_NT.shape[1]][inputs_NT]])
    steps_S = torch.arange(prompts_PS.shape[1], device=ids.device).expand_as(prompts_PS)
    steps_NT = length_P[prompt_of_N][:, None] + torch.arange(inputs_NT.shape[1], device=ids.device)
    positions = torch.cat([steps_S[prompt_mask_PS], steps_NT[inputs_NT]])
    with _attention(model.config):
        row_1LH = model.get_decoder()(
            input_ids=ids[None], position_ids=positions[None], use_cache=False, packed_layout=layout
        ).last_hidden_state
    # A completion's first token comes from its prompt's last one, every other from the one before it.
    before_NT = torch.empty(mask_NT.shape, dtype=torch.long, device=ids.device)
    before_NT[:, 0] = (length_P.cumsum(0) - 1)[prompt_of_N]
    if mask_NT.shape[1] > 1:
        index_NT = torch.full(inputs_NT.shape, 0, device=ids.device)
        index_NT[inputs_NT] = torch.arange(layout.prompt_tokens, len(ids), device=ids.device)
        before_NT[:, 1:] = index_NT
    return row_1LH[0].index_select(0, before_NT[mask_NT])


def _layout(prompt_mask_PS: Tensor, prompt_of_N: Tensor, mask_NT: Tensor) -> Layout:
    # A token is an input if another one follows it.
    inputs_NT = mask_NT[:, 1:]
    count, width = inputs_NT.shape
    causal_TT = torch.ones(width, width, dtype=torch.bool, device=mask_NT.device).tril()
    prompt_NTS = prompt_mask_PS[prompt_of_N][:, None].expand(-1, width, -1)
    seen_NTK = torch.cat([prompt_NTS, causal_TT.expand(count, -1, -1)], 2)
    return Layout(prompt_mask_PS, prompt_of_N, inputs_NT, int(prompt_mask_PS.sum()), seen_NTK[:, None])


@contextmanager
def _attention(config: PretrainedConfig) -> Iterator[None]:
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, *, packed_layout: Layout, **given: Any
) -> tuple[Tensor, None]:
    """Attention over the row: (1, heads, L, D) in, (1, L, heads, D) out, as transformers asks of an attention function."""
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # Products this small take longer in bfloat16 than in float32 there; and the engine's attention is float32 too.
        with torch.autocast("cpu", enabled=False):
            return _attend_rows(query.float(), key.float(), value.float(), packed_layout, given.get("scaling")), None
    return _attend_rows(query, key, value, packed_layout, given.get("scaling")), None


def _attend_rows(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None) -> Tensor:
    cut = layout.prompt_tokens
    attention: Any = torch.nn.functional.scaled_dot_product_attention
    how = {"scale": scale, "enable_gqa": query.shape[1] != key.shape[1]}
    rows = [x[0].transpose(0, 1) for x in (query, key, value)]  # (L, heads, D)
    prompt = [_rectangle(x[:cut], layout.prompt_mask_PS) for x in rows]
    out = attention(*prompt, is_causal=True, **how).transpose(1, 2)[layout.prompt_mask_PS]
    if layout.input_mask_NT.any():
        q, k, v = (_rectangle(x[cut:], layout.input_mask_NT) for x in rows)
        k, v = (
            torch.cat([p.index_select(0, layout.prompt_of_N), c], 2) for p, c in zip(prompt[1:], (k, v), strict=True)
        )
        out_NhTD = attention(q, k, v, attn_mask=layout.seen_N1TK, **how)
        out = torch.cat([out, out_NhTD.transpose(1, 2)[layout.input_mask_NT]])
    return out[None]


def _rectangle(x_LhD: Tensor, mask_RT: Tensor) -> Tensor:
    """(R, heads, T, D) with zeros where there is no token; writing under a mask has a cheap gradient, reading by index not."""
    full = x_LhD.new_zeros(*mask_RT.shape, *x_LhD.shape[1:])
    full[mask_RT] = x_LhD
    return full.transpose(1, 2)


AttentionInterface.register(NAME, _attend)
