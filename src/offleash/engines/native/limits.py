"""What the native engine can read and what it refuses, said from a model's configuration and tokenizer alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from offleash.core import InputError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ROTARY = ("default", "linear", "llama3", "yarn")
"""Rotary tables that do not depend on how long the text has become."""


def reads(config: PretrainedConfig) -> bool:
    """Whether the engine decodes the model itself; otherwise it calls the model's own forward, which is slower."""
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in FAMILIES
        and config.hidden_act == "silu"
        and rope.get("rope_type", "default") in ROTARY
        and rope.get("partial_rotary_factor", 1.0) == 1.0
    )


def context_length(config: PretrainedConfig) -> int:
    """Tokens of a prompt and its completion together; a model that states no limit has none (2**30)."""
    length: int = getattr(config, "max_position_embeddings", None) or 2**30
    window = getattr(config, "sliding_window", None)
    if reads(config) and window is not None and getattr(config, "use_sliding_window", True):
        return min(length, window)
    return length


def require_vocabulary(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise an InputError for a tokenizer with tokens that the model has no embedding of: it is another model's."""
    size = getattr(config, "vocab_size", None)
    if size is not None and hasattr(tokenizer, "__len__") and len(tokenizer) > size:
        raise InputError(
            f"model: its tokenizer has {len(tokenizer)} tokens and its vocabulary {size}; the folder holds another model's tokenizer"
        )


def end_tokens(
    tokenizer: PreTrainedTokenizerBase, config: GenerationConfig | None, stop: Sequence[str] = ()
) -> list[int]:
    """The tokens that end a completion: the tokenizer's, then those that the model's generation config adds.

    Raises:
        InputError: there is none, and no stop string either.
    """
    more = getattr(config, "eos_token_id", None)
    more = [] if more is None else [more] if isinstance(more, int) else sorted(more)
    found = [token for token in (tokenizer.eos_token_id, *more) if token is not None]
    if not found and not stop:
        raise InputError(
            "model: neither its tokenizer nor its generation config names an end token; set eos_token, or give stop strings"
        )
    return list(dict.fromkeys(found))


def tokenize(
    tokenizer: PreTrainedTokenizerBase, prompts: Iterable[str], max_completion_length: int, context: int
) -> dict[str, list[int]]:
    """The token ids of each different prompt.

    Raises:
        InputError: a prompt is empty, or leaves no room in the context for a completion.
    """
    unique = list(dict.fromkeys(prompts))
    found = dict(zip(unique, tokenizer(unique)["input_ids"], strict=True))
    for text, ids in found.items():
        if not ids:
            raise InputError("prompt: empty, and the tokenizer adds no token in front; give it some text")
        if len(ids) + max_completion_length > context:
            raise InputError(
                f"prompt: {len(ids)} tokens + max_completion_length {max_completion_length} exceed the model's context of "
                f"{context}; shorten one of them (prompt begins {text[:40]!r})"
            )
    return found
