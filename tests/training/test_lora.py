"""LoRA: what trains, what is sampled, what a checkpoint holds, and that a resumed run is the same to the bit."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file

from offleash import nn
from offleash.core import InputError
from offleash.engines import Request, SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.store import RunFolder
from offleash.training import TrainSettings, train
from offleash.training import lora as adapters
from offleash.training.check import check
from offleash.training.references import References
from offleash.training.settings import (
    LoraSettings,
    ObjectiveSettings,
    OptimizerSettings,
    ResetSettings,
    RolloutSettings,
    TaskSettings,
)
from offleash.training.update import make_optimizer

SETTINGS = TrainSettings(
    steps=4,
    task=TaskSettings(levels=(3,)),
    objective=ObjectiveSettings("grpo", {"kl_beta": 0.05}),
    rollout=RolloutSettings(num_prompts=4, num_generations=6, max_completion_length=16, rows=24),
    optimizer=OptimizerSettings(learning_rate=3e-3),
    lora=LoraSettings(rank=4, alpha=8.0),
    resets=ResetSettings(reference_every=2),
    checkpoint_every=1,
)


def go(folder: Path, settings: TrainSettings = SETTINGS, *, resume: bool = False) -> RunFolder:
    run = RunFolder.open(folder) if resume else RunFolder.create(folder, "x: 1\n", {})
    train(settings, run, resume=resume)
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return go(tmp_path_factory.mktemp("lora") / "whole")


@pytest.fixture(scope="module")
def base():
    return nn.load("base")


def with_adapters(base, *, moved=True, settings=SETTINGS.lora):
    """A model of its own with adapters; moved: B is not zero any more."""
    model = copy.deepcopy(base[0])
    adapters.add_adapters(model, settings, 0)
    if moved:
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, p in model.named_parameters():
                if ".lora_B." in name:
                    p.normal_(0, 0.05, generator=draw)
    return model


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 19)[None]).logits


def test_only_adapters_train(base):
    model = with_adapters(base)
    batch = nn.pad([[1, 4, 5], [1, 4, 5]], [[6, 7, 2], [8, 2]], 0)
    logprobs, _ = nn.score(model, batch)
    logprobs.sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert moved == {name for name, _ in model.named_parameters() if ".lora_" in name} and len(moved) == 4 * 7 * 2
    optimizer = make_optimizer(model, SETTINGS)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(moved)


def test_at_first_it_is_the_base_and_a_follows_from_the_seed(base):
    before = torch.random.get_rng_state()
    one, two = with_adapters(base, moved=False), with_adapters(base, moved=False)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(logits(one), logits(base[0]))
    a = {n: p for n, p in one.named_parameters() if ".lora_A." in n}
    assert all(torch.equal(p, dict(two.named_parameters())[n]) and bool(p.any()) for n, p in a.items())


def test_merged_is_what_peft_computes(base):
    model = with_adapters(base)
    plain = copy.deepcopy(base[0])
    assert not plain.load_state_dict(adapters.merged(model)).missing_keys
    assert torch.allclose(logits(plain), logits(model), atol=1e-5, rtol=0)
    assert not torch.allclose(logits(plain), logits(base[0]), atol=1e-1)


def test_the_engine_samples_from_the_sum(base):
    model, requests = with_adapters(base), [Request("p", "1 2 3", i, i) for i in range(8)]
    engine = NativeEngine(model, base[1], SamplingSettings(1.0, 12))
    for moved in (False, True):
        if moved:  # a training step later
            with torch.no_grad():
                for name, p in model.named_parameters():
                    if ".lora_B." in name:
                        p.mul_(-1)
            engine.refresh()
        found = engine.generate(requests)
        ids = [base[1]("1 2 3")["input_ids"]] * len(found)
        scored = nn.score_all(model, ids, [c.token_ids for c in found])
        gaps = [torch.tensor(c.logprobs) - s.logprobs_T for c, s in zip(found, scored, strict=True)]
        assert max(float(g.abs().max()) for g in gaps) < 1e-4


def test_references_are_other_adapters_on_the_same_weights(base):
    model = with_adapters(base, moved=False)
    references = References(model)
    shared = {p.data_ptr() for p in model.parameters() if not p.requires_grad}
    own = [p for p in references.original.parameters() if p.data_ptr() not in shared]
    assert len(own) == 4 * 7 * 2 and not any(p.requires_grad for p in references.original.parameters())
    assert all(p.requires_grad for n, p in model.named_parameters() if ".lora_" in n)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".lora_B." in name:
                p.fill_(0.05)
    assert torch.equal(logits(references.original), logits(base[0]))
    references.reset(model)
    assert torch.equal(logits(references.moving), logits(model)) and not torch.equal(logits(model), logits(base[0]))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
def test_a_checkpoint_is_a_whole_model_with_peft_s_adapters_beside_it(whole, base):
    last = whole.checkpoint_dir(4)
    model, _ = nn.load(str(last))  # what `sample --model` loads
    assert type(model) is type(base[0]) and model.num_parameters() == base[0].num_parameters()
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base[0]), str(last / "adapter"))
    assert torch.allclose(logits(model), logits(theirs), atol=1e-5, rtol=0)
    assert float((logits(model) - logits(base[0])).abs().max()) > 1e-3
    config = json.loads((last / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 4 and config["base_model_name_or_path"] == "base"
    assert all(".lora_" in key for key in load_file(str(last / "optimizer.safetensors")))
    moved = load_file(str(last / "reference.safetensors"))
    assert moved and all(".lora_" in key for key in moved)


@pytest.mark.slow
def test_a_resumed_run_is_the_same_to_the_bit(whole, tmp_path):
    first = go(tmp_path / "run", replace(SETTINGS, steps=3))
    assert first.metrics() == whole.metrics()[:3]
    again = go(tmp_path / "run", resume=True)
    assert again.metrics() == whole.metrics()
    for file in (
        "model.safetensors",
        "optimizer.safetensors",
        "reference.safetensors",
        "adapter/adapter_model.safetensors",
    ):
        assert (again.checkpoint_dir(4) / file).read_bytes() == (whole.checkpoint_dir(4) / file).read_bytes()


def test_reading_a_checkpoint_back_says_what_does_not_fit(whole, base, tmp_path):
    model = with_adapters(base, moved=False)
    assert adapters.read(model, whole.checkpoint_dir(4)) == []
    assert torch.allclose(logits(model), logits(nn.load(str(whole.checkpoint_dir(4)))[0]), atol=1e-5)
    assert len(adapters.read(with_adapters(base, settings=LoraSettings(8)), whole.checkpoint_dir(4))) == 56
    assert adapters.read(model, tmp_path) == ["adapter/adapter_model.safetensors"]


def test_a_module_that_is_not_there_is_named_with_those_that_are():
    wrong = replace(SETTINGS, lora=LoraSettings(4, target_modules=("q_proj", "query")))
    with pytest.raises(
        InputError, match=r"no linear layer 'query'; it has down_proj, gate_proj, k_proj, o_proj, q_proj, up"
    ):
        check(wrong)
    with pytest.raises(InputError, match=r"lora.alpha: 0.0 is not above 0"):
        replace(SETTINGS, lora=LoraSettings(4, alpha=0.0))


def test_a_rank_above_that_of_a_layer_is_refused(base):
    most = base[0].config.hidden_size
    check(replace(SETTINGS, lora=LoraSettings(most, target_modules=("q_proj",))))
    with pytest.raises(
        InputError, match=rf"lora.rank: {most + 1} is above {most}, the smaller side of layers.0.*q_proj"
    ):
        check(replace(SETTINGS, lora=LoraSettings(most + 1, target_modules=("q_proj",))))


def test_without_peft_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    check(replace(SETTINGS, lora=LoraSettings()))
    with pytest.raises(InputError, match=r"pip install 'offleash\[peft\]'"):
        check(SETTINGS)
