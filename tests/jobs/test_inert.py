"""What a recipe asks for and does not get is said by --dry-run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from offleash.cli import main as cli
from offleash.jobs.inert import inert
from offleash.training import TrainSettings
from offleash.training.settings import (
    ExternalSettings,
    GuardSettings,
    LoraSettings,
    ObjectiveSettings,
    OptimizerSettings,
    ProbeSettings,
    ResetSettings,
    RewardSettings,
    RolloutSettings,
    StageSettings,
    TaskSettings,
)

QUIET = TrainSettings(steps=10, optimizer=OptimizerSettings(minibatches=2))


def test_a_plain_recipe_has_none() -> None:
    assert inert(QUIET) == []
    assert inert(replace(QUIET, probe=ProbeSettings(4), guard=(GuardSettings("plateau", patience=3),))) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": OptimizerSettings(minibatches=1)}, "every importance ratio is 1"),
        ({"objective": ObjectiveSettings("sft"), "external": ExternalSettings(1)}, "num_generations only costs time"),
        ({"reward": RewardSettings("format", 0.3)}, "reward.gamma is read by the arm random only"),
        ({"task": TaskSettings(strategic_grams=("so",))}, "does not read what plans"),
        ({"resets": ResetSettings(reference_every=3)}, "no objective of the run pulls towards it"),
        ({"resets": ResetSettings(optimizer_every=10)}, "resets.optimizer_every is not below steps"),
        ({"probe": ProbeSettings(samples=8)}, "probe.every is 0"),
        (
            {
                "objective": ObjectiveSettings("sft"),
                "external": ExternalSettings(1),
                "rollout": RolloutSettings(num_generations=0, max_rounds=3),
            },
            "there is nothing to draw again",
        ),
        ({"objective": ObjectiveSettings("rl-plus")}, "external.per_group is 0: objective rl-plus"),
        ({"objective": ObjectiveSettings("luffy")}, "external.per_group is 0: objective luffy"),
        ({"lora": LoraSettings(target_modules=("q_proj",))}, "lora.rank is 0"),
        ({"probe": ProbeSettings(10), "guard": (GuardSettings("narrowed"),)}, "looks after the last step only"),
        ({"probe": ProbeSettings(4), "guard": (GuardSettings("plateau", patience=4),)}, "there are 3 probes after"),
        (
            {"stages": (StageSettings(5), StageSettings(5, {"optimizer": {"minibatches": 1}}))},
            "every importance ratio is 1",
        ),
    ],
)
def test_each_is_said(changes: dict[str, object], said: str) -> None:
    found = inert(replace(QUIET, **changes))  # type: ignore[arg-type]
    assert sum(said in line for line in found) == 1, found


def test_dry_run_prints_them_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("steps: 4\nreward: {arm: format, gamma: 0.1}\n")
    assert cli.run(["train", str(recipe), "--dry-run", "--out", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    assert "arm: format" in out
    assert "inert: reward.gamma" in err.replace("\n", " ")
    assert not (tmp_path / "run").exists()
