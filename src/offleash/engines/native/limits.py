"""What the native engine refuses, said from a model's configuration and tokenizer alone."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from offleash.core import InputError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


def context_length(config: PretrainedConfig) -> int:
    """Tokens of a prompt and its completion together.

    Raises:
        InputError: the engine cannot read models of this family.
    """
    if config.model_type not in FAMILIES:
        raise InputError(
            f"engine: the native engine reads {', '.join(FAMILIES)}; this model is {config.model_type!r}; use --engine hf"
        )
    length: int = config.max_position_embeddings
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True):
        return min(length, window)
    return length


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
