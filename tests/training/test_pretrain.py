"""Pretraining: the recipe's data and schedule, repeatable to the bit."""

import json
import signal
from pathlib import Path

import pytest

from offleash import nn
from offleash.core import InputError
from offleash.nn import TinyModel
from offleash.training import PretrainSettings, Stage, pretrain

SHAPE = TinyModel(num_hidden_layers=2, hidden_size=32, intermediate_size=64, num_attention_heads=2)


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


def test_bad_recipes_are_named() -> None:
    with pytest.raises(InputError, match=r"sum to 0\.7, not to 1"):
        Stage(1, {2: 0.7})
    with pytest.raises(InputError, match="stages: empty"):
        PretrainSettings(())
