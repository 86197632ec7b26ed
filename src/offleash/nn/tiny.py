"""Small Llama-architecture models with a tokenizer of characters and words, made from nothing and saved in Hugging Face format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclass(frozen=True)
class TinyModel:
    """Shape of a model made from nothing."""

    alphabet: str = "0123456789+-*/()= :"
    """Every character the model can read and write; one token each."""
    words: tuple[str, ...] = ()
    """Texts of several characters that are one token each; of several that fit, the first one listed is taken."""
    num_hidden_layers: int = 4
    hidden_size: int = 128
    intermediate_size: int = 384
    num_attention_heads: int = 4
    max_position_embeddings: int = 128


def character_tokenizer(alphabet: str, max_length: int, words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """One token per word and other character, `<bos>` in front of every text, decoding without spaces."""
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys((*SPECIAL, *alphabet, *words)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join([*map(re.escape, words), r"[\s\S]"])), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def build(shape: TinyModel, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A freshly initialised model (normal weights of std 0.02 from a generator of its own) and its tokenizer."""
    tokenizer = character_tokenizer(shape.alphabet, shape.max_position_embeddings, shape.words)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_attention_heads,
        max_position_embeddings=shape.max_position_embeddings,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.02, generator=generator)
    return model, tokenizer


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write config, safetensors weights and tokenizer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
