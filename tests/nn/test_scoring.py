"""Scoring of given completions: right for every row of every batch, little padding, bad input named."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
)

from offleash import nn
from offleash.core import InputError, rng
from offleash.nn.scoring import batches

VOCAB = 40
_DEPTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def model_of(family: str) -> PreTrainedModel:
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=256))
    elif family == "phi":  # its output layer has a bias
        model = PhiForCausalLM(PhiConfig(vocab_size=VOCAB, max_position_embeddings=256, **_DEPTH))
    else:
        shape = nn.TinyModel(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, max_position_embeddings=256)
        model, _ = nn.build(shape, 0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def traces(n: int, vocabulary: int = 23, longest: int = 120) -> tuple[list[list[int]], list[list[int]]]:
    """Lengths as they are in practice: most short, a few very long; three completions a prompt."""
    draw = rng.stream("traces", n)
    lengths = [min(longest, int(x)) for x in draw.lognormal(1.5, 1.3, n)]
    prompts = [
        draw.integers(0, vocabulary, min(longest, 1 + int(draw.lognormal(2, 1)))).tolist() for _ in range(n // 3 + 1)
    ]
    return [prompts[i // 3] for i in range(n)], [draw.integers(0, vocabulary, k).tolist() for k in lengths]


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi"])
@pytest.mark.parametrize("tokens", [64, 100_000])
def test_each_completion_is_scored_as_if_alone(family: str, tokens: int) -> None:
    """Second implementation: one sequence at a time, whole logits, no cache."""
    model = model_of(family)
    prompts, completions = traces(60)
    assert not all(completions)  # some are empty
    told: list[int] = []
    found = nn.score_all(model, prompts, completions, 0.8, tokens=tokens, chunk=50, tell=told.append)
    assert sum(told) == sum(map(bool, completions))
    for prompt, ids, (logprobs, entropies) in zip(prompts, completions, found, strict=True):
        assert len(logprobs) == len(entropies) == len(ids)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        logp = (logits / 0.8).log_softmax(-1)[: len(ids)]
        torch.testing.assert_close(logprobs, logp[torch.arange(len(ids)), torch.tensor(ids, dtype=torch.long)])
        torch.testing.assert_close(entropies, -(logp.exp() * logp).sum(-1))


def test_padding_is_bounded_on_skewed_lengths() -> None:
    """What the model really reads, counted at its embedding."""
    model = model_of("llama")
    prompts, completions = traces(600)
    read = 0

    def count(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal read
        read += inputs[0].numel()

    with model.get_input_embeddings().register_forward_pre_hook(count):
        nn.score_all(model, prompts, completions, tokens=8192)
    found = batches(prompts, completions, 8192)
    # A completion's last token is never read; the check of the head reads eight, twice.
    real = 16 + sum(
        sum(map(len, {tuple(prompts[i]) for i in batch})) + sum(len(completions[i]) - 1 for i in batch)
        for batch in found
    )
    assert 1 - real / read < 0.2
    one_rectangle = len({tuple(p) for p in prompts}) * max(map(len, prompts)) + 600 * max(map(len, completions))
    assert read < one_rectangle / 3


def test_batches_hold_every_completion_once_within_their_size() -> None:
    prompts, completions = traces(500)
    found = batches(prompts, completions, 1000)
    assert sorted(i for batch in found for i in batch) == [i for i, c in enumerate(completions) if c]
    for batch in found:
        p, c = [len(prompts[i]) for i in batch], [len(completions[i]) for i in batch]
        assert max(p) <= 1.25 * min(p) and max(c) <= 1.25 * min(c)
        assert len(batch) == 1 or len(batch) * (max(p) + max(c)) <= 1000


def test_nothing_to_score() -> None:
    model = model_of("llama")
    assert nn.score_all(model, [], []) == []
    (only,) = nn.score_all(model, [[1, 2]], [[]])
    assert len(only.logprobs_T) == len(only.entropies_T) == 0
    assert math.isnan(nn.perplexity([only]))


def test_perplexity_is_over_tokens() -> None:
    model = model_of("llama")
    scored = nn.score_all(model, [[1, 5], [1]], [[7, 8, 9], [4]])
    every = torch.cat([s.logprobs_T for s in scored])
    assert nn.perplexity(scored) == pytest.approx(math.exp(-every.double().mean()))


def test_bad_input_is_named() -> None:
    model = model_of("llama")
    for prompts, completions, message in (
        ([[1], []], [[2], [3]], "prompt 1: empty"),
        ([[1]], [[2] * 256], "completion 0: its 256 tokens and the prompt's 1 exceed the model's context of 256"),
        ([[1], [1]], [[2], [3, -1]], "completion 1: token id -1 is none of the model's 23"),
        ([[99]], [[2]], "token id 99"),
        ([[1]], [], "completions: 0, but 1 prompts"),
    ):
        with pytest.raises(InputError, match=message):
            nn.score_all(model, prompts, completions)
    with pytest.raises(InputError, match="temperature: 0"):
        nn.score_all(model, [[1]], [[2]], 0.0)


def test_models_whose_logits_are_more_than_their_output_layer_are_refused() -> None:
    capped = Gemma2Config(vocab_size=VOCAB, head_dim=8, num_key_value_heads=4, final_logit_softcapping=0.01, **_DEPTH)
    with pytest.raises(InputError, match="'gemma2' changes its logits after its output layer"):
        nn.score_all(Gemma2ForCausalLM(capped).eval(), [[1]], [[2]])
    recurrent = MambaForCausalLM(
        MambaConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=1, state_size=4)
    ).eval()
    with pytest.raises(InputError, match="'mamba' has no key-value cache"):
        nn.require_plain_head(recurrent)
