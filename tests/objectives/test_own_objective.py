"""docs/your-own-objective.md is run as it stands: the module, its contract, and a training by dotted path."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offleash.objectives.checks import CHECKS, applicable
from offleash.objectives.preset import find_preset
from offleash.objectives.registry import ADVANTAGES, SURROGATES
from offleash.store import RunFolder
from offleash.training import TrainSettings, train
from offleash.training.settings import ObjectiveSettings, OptimizerSettings, RolloutSettings, TaskSettings

PAGE = Path(__file__).parents[2] / "docs" / "your-own-objective.md"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    (tmp_path / "my_methods.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_methods"
    sys.modules.pop("my_methods", None)
    ADVANTAGES.pop("my-running-baseline", None)
    SURROGATES.pop("my-soft-clip", None)


@pytest.mark.slow
def test_the_page(module: str, tmp_path: Path) -> None:
    preset = find_preset(f"{module}:row")
    for name in applicable(preset):
        CHECKS[name].run(preset)
    settings = TrainSettings(
        steps=2,
        task=TaskSettings(levels=(4,)),
        objective=ObjectiveSettings(f"{module}:row", {"softness": 0.3}),
        rollout=RolloutSettings(num_prompts=4, num_generations=4, max_completion_length=20, rows=16),
        optimizer=OptimizerSettings(minibatches=2),
    )
    run = RunFolder.create(tmp_path / "run", "steps: 2\n", {})
    last = train(settings, run)
    assert "mean" in json.loads((last / "training_state.json").read_text())["objective"]["advantage"]
    assert "held_fraction" in run.metrics()[0]
