"""Words as tokens of a model made from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from offleash.nn.tiny import TinyModel, build, character_tokenizer, save


def test_the_first_word_that_fits_is_one_token(tmp_path: Path) -> None:
    shape = TinyModel(
        alphabet="abc. <>\n", words=("a b", "a", "<c>", ". (*)", "c\n"), hidden_size=16, num_hidden_layers=1
    )
    model, tokenizer = build(shape, 0)
    text = "a ba<c>c\n. (*)b\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [tokenizer.decode([i]) for i in ids] == ["a b", "a", "<c>", "c\n", ". (*)", "b", "\n"]
    assert tokenizer.decode(ids) == text and tokenizer.unk_token_id not in ids
    save(model, tokenizer, tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == [tokenizer.bos_token_id, *ids]
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) == 4 + 8 + 4  # "a" is a character, too


@pytest.mark.parametrize("text", ["12+(3-4)=", "", "((", "7 : 7"])
def test_without_words_there_is_a_token_for_each_character(text: str) -> None:
    tokenizer = character_tokenizer(TinyModel().alphabet, 64)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text) and tokenizer.decode(ids) == text
