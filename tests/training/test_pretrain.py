"""Pretraining: the recipe's data and schedule, repeatable to the bit."""

import json
import signal
from pathlib import Path

import pytest
import torch

from offleash import nn
from offleash.core import InputError
from offleash.nn import TinyModel
from offleash.tasks.families import ALPHABET
from offleash.training import PretrainSettings, Stage, pretrain
from offleash.training.pretrain import _batch

SHAPE = TinyModel(num_hidden_layers=2, hidden_size=32, intermediate_size=64, num_attention_heads=2)


@pytest.mark.slow
def test_it_learns_and_repeats_to_the_bit(tmp_path: Path) -> None:
    settings = PretrainSettings(
        (Stage(40, {2: 1.0}), Stage(20, {2: 0.5, 3: 0.5})), model=SHAPE, batch_size=32, warmup_steps=5
    )
    losses: list[float] = []
    first = pretrain(settings, tmp_path / "a", lambda step, loss: losses.append(loss))
    second = pretrain(settings, tmp_path / "b")
    assert nn.identity(*first) == nn.identity(*second) == nn.identity(*nn.load(str(tmp_path / "a")))
    assert len(losses) == 60 and sum(losses[30:40]) < 0.75 * sum(losses[:10])


def test_sigint_saves_the_model_of_the_step_reached(tmp_path: Path) -> None:
    settings = PretrainSettings((Stage(9, {2: 1.0}),), model=SHAPE, batch_size=8, schedule_steps=9)
    shorter = PretrainSettings((Stage(3, {2: 1.0}),), model=SHAPE, batch_size=8, schedule_steps=9)
    out = tmp_path / "stopped"

    def stop(step: int, loss: float) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=f"stopped at step 3 of 9; the model of that step is in {out}"):
        pretrain(settings, out, stop)
    assert nn.identity(*nn.load(str(out))) == nn.identity(*pretrain(shorter, tmp_path / "three"))
    assert json.loads((out / "training_state.json").read_text()) == {"step": 3, "steps": 9}


def test_a_batch_of_several_tasks_has_their_shares_and_trains_on_all(tmp_path: Path) -> None:
    stage = Stage(2, task_shares={"arithmetic": {1: 0.5, 2: 0.25}, "strings": {1: 0.25}})
    assert stage.shares("") == [("arithmetic", 1, 0.5), ("arithmetic", 2, 0.25), ("strings", 1, 0.25)]
    shape = TinyModel(
        alphabet=ALPHABET, num_hidden_layers=1, hidden_size=16, intermediate_size=32, num_attention_heads=2
    )
    settings = PretrainSettings((stage,), model=shape, batch_size=16, dtype="bfloat16")
    _, tokenizer = nn.build(shape, 0)
    parts = _batch(tokenizer, settings, stage.shares(""), 0)
    prompts = [
        "".join(tokenizer.convert_ids_to_tokens(part.prompts_PS[i, 1:5].tolist()))
        for part in parts
        for i in part.prompt_of_N
    ]
    assert len(parts) > 1 and sorted(prompts) == ["calc"] * 12 + ["text"] * 4
    model, _ = pretrain(settings, tmp_path / "mixed")
    assert all(p.dtype == torch.float32 for p in model.parameters())
    fresh, _ = nn.build(shape, 0)
    assert all(not torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))


def test_bad_recipes_are_named() -> None:
    with pytest.raises(InputError, match=r"task_shares: they sum to 0\.5, not to 1"):
        Stage(1, task_shares={"arithmetic": {1: 0.5}})
    for both in ({"level_shares": {2: 1.0}, "task_shares": {"countdown": {2: 1.0}}}, {}):
        with pytest.raises(InputError, match="give either it or task_shares"):
            Stage(1, **both)
    with pytest.raises(InputError, match="dtype: 'float16' is none of float32, bfloat16"):
        PretrainSettings((Stage(1, {2: 1.0}),), dtype="float16")
    with pytest.raises(InputError, match="device: 'tpu' is not there; give cpu"):
        PretrainSettings((Stage(1, {2: 1.0}),), device="tpu")
    with pytest.raises(InputError, match=r"sum to 0\.7, not to 1"):
        Stage(1, {2: 0.7})
    with pytest.raises(InputError, match="stages: empty"):
        PretrainSettings(())
