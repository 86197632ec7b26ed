"""Models: made, saved, loaded, identified, scored."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from offleash import nn
from offleash.core import InputError
from offleash.nn import TinyModel

SHAPE = TinyModel(num_hidden_layers=1, hidden_size=16, intermediate_size=32, num_attention_heads=2)


def test_a_saved_model_comes_back_with_its_identity(tmp_path: Path) -> None:
    model, tokenizer = nn.build(SHAPE, seed=3)
    nn.save(model, tokenizer, tmp_path / "m")
    again, tokenizer_again = nn.load(str(tmp_path / "m"))
    assert nn.identity(model, tokenizer) == nn.identity(again, tokenizer_again)
    text = "(3+7)*2=20:"
    ids = tokenizer_again(text)["input_ids"]
    assert ids[0] == tokenizer_again.bos_token_id and tokenizer_again.decode(ids[1:]) == text
    with torch.no_grad():
        again.model.layers[0].mlp.up_proj.weight[0, 0] += 1e-6
    assert nn.identity(model, tokenizer) != nn.identity(again, tokenizer_again)


def test_the_same_seed_builds_the_same_model() -> None:
    a, b, c = nn.build(SHAPE, 1), nn.build(SHAPE, 1), nn.build(SHAPE, 2)
    assert nn.identity(*a) == nn.identity(*b) != nn.identity(*c)


def test_bad_model_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder 'nowhere'"):
        nn.load("nowhere")
    with pytest.raises(InputError, match=r"has no config\.json"):
        nn.load(str(tmp_path))
    model, tokenizer = nn.build(SHAPE, 0)
    nn.save(model, tokenizer, tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name][1, 2] = float("nan")
    save_file(weights, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"tensor '{name}' has values that are not finite"):
        nn.load(str(tmp_path / "m"))
    (tmp_path / "m" / "model.safetensors").write_bytes(b"\x08\x00\x00")
    with pytest.raises(InputError, match="cannot be loaded"):
        nn.load(str(tmp_path / "m"))


def test_scoring_in_chunks_changes_neither_values_nor_gradients() -> None:
    model, tokenizer = nn.build(SHAPE, 0)
    prompts = [tokenizer(p)["input_ids"] for p in ("1 2=3:", "10 20 25=55:", "4=4:")]
    answers = [tokenizer(a, add_special_tokens=False)["input_ids"] for a in ("1+2", "10+20+25", "4")]
    batch = nn.pad(prompts, answers, tokenizer.pad_token_id)
    results = []
    for chunk in (1000, 4):
        model.zero_grad()
        logp, entropy = nn.score(model, batch, 0.7, chunk=chunk)
        (logp.sum() + 0.3 * entropy.sum()).backward()
        results.append((logp.detach(), entropy.detach(), model.lm_head.weight.grad.clone()))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_score_is_the_softmax_of_the_full_logits() -> None:
    model, tokenizer = nn.build(SHAPE, 0)
    prompt, answer = tokenizer("1 2=3:")["input_ids"], tokenizer("1+2", add_special_tokens=False)["input_ids"]
    batch = nn.pad([prompt, prompt[:2], prompt], [answer, answer + answer, answer[:1]], tokenizer.pad_token_id)
    assert len(batch.prompts_PS) == 2  # the shared prompt is read once
    logp, entropy = nn.score(model, batch, 1.0)
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    torch.testing.assert_close(logp[0, :3], logits.gather(-1, torch.tensor(answer)[:, None]).squeeze(-1))
    torch.testing.assert_close(entropy[0, :3], -(logits.exp() * logits).sum(-1))
    assert (logp[0, 3:] == 0).all() and (entropy[0, 3:] == 0).all()
    short = model(torch.tensor([prompt[:2] + answer + answer])).logits[0, 1:-1].log_softmax(-1)
    torch.testing.assert_close(logp[1], short.gather(-1, torch.tensor(answer + answer)[:, None]).squeeze(-1))


def test_shared_prompts_give_the_gradient_of_whole_sequences() -> None:
    """Second implementation: prompt and completion read as one sequence, without a cache."""
    model, tokenizer = nn.build(SHAPE, 0)
    prompts = [tokenizer(p)["input_ids"] for p in ("1 2=3:", "10 20 25=55:", "1 2=3:")]
    answers = [tokenizer(a, add_special_tokens=False)["input_ids"] for a in ("1+2", "10+20+25", "2+1*1")]
    nn.score(model, nn.pad(prompts, answers, 0))[0].sum().backward()
    shared = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    for prompt, answer in zip(prompts, answers, strict=True):
        logp = model(torch.tensor([prompt + answer]), use_cache=False).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        logp.gather(-1, torch.tensor(answer)[:, None]).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(shared[name], parameter.grad, atol=1e-5, rtol=1e-4)
