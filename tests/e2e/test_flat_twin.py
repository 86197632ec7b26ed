"""The flat twin and the library make the same first update."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from safetensors.torch import load_file

from offleash.store import RunFolder
from offleash.training import TrainSettings, train
from offleash.training.settings import OptimizerSettings, RolloutSettings, TaskSettings

TWIN = Path(__file__).parents[2] / "recipes" / "rl_in_one_file.py"


def test_it_stays_short() -> None:
    assert len(TWIN.read_text().splitlines()) <= 280


@pytest.mark.parametrize("minibatches", [1, 2])
def test_first_update_equals_the_librarys(minibatches: int, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "x: 1\n", {})
    settings = TrainSettings(
        steps=1, task=TaskSettings(levels=(4,)),
        rollout=RolloutSettings(num_prompts=8, num_generations=8, max_completion_length=20),
        optimizer=OptimizerSettings(learning_rate=1e-4, minibatches=minibatches),
    )  # fmt: skip
    library = load_file(train(settings, run) / "model.safetensors")
    assert run.metrics()[0]["grad_norm"] > 0.01

    spec = importlib.util.spec_from_file_location("rl_in_one_file", TWIN)
    assert spec and spec.loader
    twin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(twin)
    arguments = [
        "--steps", "1", "--level", "4", "--num_prompts", "8", "--num_generations", "8",
        "--minibatches", str(minibatches), "--learning_rate", "1e-4", "--max_completion_length", "20",
    ]  # fmt: skip
    flat = dict(twin.main(twin.parser.parse_args(arguments)).named_parameters())
    start = load_file(tmp_path / "run" / "checkpoints" / "step_0" / "model.safetensors")
    for name, value in library.items():
        moved = (value - start[name]).abs().max()
        # AdamW's first step moves every weight by the learning rate whatever the gradient's size, so weights whose gradient is
        # rounding noise may differ in sign; all others agree far below that step.
        differs = (value - flat[name].detach()).abs() > 1e-6
        assert moved > 0 and differs.double().mean() < 0.002, name
