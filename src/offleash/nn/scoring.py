"""Scoring of given completions: demonstrations, reference answers, one model's traces under another.

Completions of any lengths, in batches of similar ones: without that, one long trace among short answers makes all of them as
long as itself.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from offleash.core import InputError
from offleash.nn.logprobs import pad, score

STRETCH = 1.25
"""The longest prompt and the longest completion of a batch over the shortest: at most 1 - 1/1.25 = 20% is padding."""


class Scored(NamedTuple):
    """One completion's log-probs and the entropies of the distributions they come from (nats), float32 on the CPU."""

    logprobs_T: Float[Tensor, " T"]
    entropies_T: Float[Tensor, " T"]


@torch.no_grad()
def score_all(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    temperature: float = 1.0,
    *,
    tokens: int = 32_768,
    chunk: int = 4096,
    tell: Callable[[int], None] | None = None,
) -> list[Scored]:
    """Teacher-forced log-probs and entropies of each completion after its prompt, in their order.

    Args:
        model: any causal LM that `require_plain_head` accepts.
        prompts: token ids, one list for each completion; equal ones in a batch are read once.
        completions: token ids, the end token included where it is to be scored; may be empty.
        temperature: both results are of softmax(logits / temperature).
        tokens: rows x (longest prompt + longest completion) of a batch, at most; a longer row is a batch of its own.
        chunk: completion tokens whose logits exist at one time.
        tell: called with the number of newly scored completions.

    Raises:
        InputError: an empty prompt, a token id that the model does not have, or a sequence over its context (names which),
            or a model that `require_plain_head` refuses.
    """
    if len(prompts) != len(completions):
        raise InputError(f"completions: {len(completions)}, but {len(prompts)} prompts; give one of each")
    if not temperature > 0:
        raise InputError(f"temperature: {temperature} is not above 0; log-probs of greedy decoding are those at 1")
    _check(model.config, prompts, completions)
    empty = Scored(torch.zeros(0), torch.zeros(0))
    found = [empty] * len(completions)
    for i, batch in enumerate(batches(prompts, completions, tokens)):
        if i == 0:
            require_plain_head(model)
        padded = pad([prompts[j] for j in batch], [completions[j] for j in batch], pad_id=0)
        logp_NT, entropy_NT = (x.float().cpu() for x in score(model, padded, temperature, chunk))
        for row, j in enumerate(batch):
            length = len(completions[j])
            found[j] = Scored(logp_NT[row, :length], entropy_NT[row, :length])
        if tell:
            tell(len(batch))
    return found


def batches(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], tokens: int, stretch: float = STRETCH
) -> list[list[int]]:
    """Indices of the completions that are not empty, in batches whose lengths differ by a factor of `stretch` at most.

    By length of completion first, of which there are many for a prompt; then by prompt, so that equal prompts stand together.
    """
    left = sorted((i for i, c in enumerate(completions) if len(c)), key=lambda i: len(completions[i]))
    found: list[list[int]] = []
    for bucket in _runs(left, [len(c) for c in completions], stretch):
        bucket.sort(key=lambda i: (len(prompts[i]), tuple(prompts[i])))
        widest = max(len(completions[i]) for i in bucket)
        for alike in _runs(bucket, [len(p) for p in prompts], stretch):
            rows = max(1, tokens // (len(prompts[alike[-1]]) + widest))
            found += [alike[start : start + rows] for start in range(0, len(alike), rows)]
    return found


def _runs(order: Sequence[int], lengths: Sequence[int], stretch: float) -> list[list[int]]:
    """Indices in ascending length, cut where the length exceeds `stretch` times that of the run's first."""
    runs: list[list[int]] = []
    for i in order:
        if not runs or lengths[i] > stretch * lengths[runs[-1][0]]:
            runs.append([])
        runs[-1].append(i)
    return runs


def perplexity(scored: Sequence[Scored]) -> float:
    """exp of the mean negative log-prob over all tokens; NaN where there is no token."""
    count = sum(len(s.logprobs_T) for s in scored)
    total = sum(float(s.logprobs_T.double().sum()) for s in scored)
    return math.exp(-total / count) if count else math.nan


@torch.no_grad()
def require_plain_head(model: PreTrainedModel) -> None:
    """Raise an InputError for a model whose logits `score` would not reproduce.

    That is one without a key-value cache, or one that changes its logits after its output layer (soft-capping, scaling):
    asked of the model itself, with a few tokens.
    """
    kind, decoder = model.config.model_type, model.get_decoder()
    if "past_key_values" not in inspect.signature(decoder.forward).parameters:
        raise InputError(
            f"model: {kind!r} has no key-value cache, which scoring needs; sample it with --engine hf only"
        )
    # Several tokens: the embedding of one, such as the padding's, may be zero, and so are then its logits.
    ids = torch.linspace(0, model.config.vocab_size - 1, 8, device=model.device).long()[None]
    own = model.get_output_embeddings()(decoder(input_ids=ids).last_hidden_state).float()
    if not torch.allclose(own, model(input_ids=ids).logits.float(), rtol=1e-3, atol=1e-3):
        raise InputError(
            f"model: {kind!r} changes its logits after its output layer (soft-capping or scaling); scoring cannot read it"
        )


def _check(config: PretrainedConfig, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]) -> None:
    context, vocabulary = _context(config), config.vocab_size
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        if not len(prompt):
            raise InputError(f"prompt {i}: empty; give it a token, for instance the one that begins a text")
        if len(prompt) + len(completion) > context:
            raise InputError(
                f"completion {i}: its {len(completion)} tokens and the prompt's {len(prompt)} exceed the model's context of "
                f"{context}; cut it"
            )
        low, high = min(*prompt, *completion, 0), max(*prompt, *completion, 0)
        if low < 0 or high >= vocabulary:
            odd = low if low < 0 else high
            raise InputError(
                f"completion {i}: token id {odd} is none of the model's {vocabulary}; it is of another tokenizer, or of a "
                "server that gave no ids"
            )


def _context(config: PretrainedConfig) -> int:
    length: int = getattr(config, "max_position_embeddings", None) or 2**31
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True):
        return min(length, window)  # beyond it, padding between prompt and completion would count as distance
    return length
