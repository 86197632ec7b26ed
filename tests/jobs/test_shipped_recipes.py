"""Recipes for models and machines that are not here: each reads, names parts that fit together, and dry-runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from offleash.cli import main as cli
from offleash.jobs.recipe import load_recipe
from offleash.tasks import get
from offleash.training import TrainSettings

ROOT = Path(__file__).parents[2]
GSM8K = sorted((ROOT / "recipes" / "gsm8k").glob("*.yaml"))
SMOLLM2 = sorted((ROOT / "recipes" / "smollm2").glob("*.yaml"))
GYM = pytest.mark.skipif(importlib.util.find_spec("reasoning_gym") is None, reason="reasoning-gym is not installed")


def dry_run(recipe: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.run(["train", str(recipe), "--dry-run"])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("recipe", GSM8K, ids=lambda p: p.stem)
def test_a_gsm8k_recipe_dry_runs_where_its_model_is_not(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)  # its task is a file beside it
    monkeypatch.setenv("OFFLEASH_DATA", str(ROOT / "tests" / "data"))
    code, out, err = dry_run(recipe, capsys)
    settings = load_recipe(recipe, TrainSettings)
    assert code == 0, err
    assert f"model: {settings.model}" in out and "max_completion_length: 1024" in out
    assert f"note: model: no folder '{settings.model}' here" in err and "inert" not in err
    prompt = get(settings.task.name).generate((0,), 1, "train").prompt
    assert prompt.startswith("<|im_start|>system\n") and prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert "NEVER RUN" in recipe.read_text()


@GYM
@pytest.mark.parametrize("recipe", SMOLLM2, ids=lambda p: p.stem)
def test_a_smollm2_recipe_dry_runs_where_its_model_is_not(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = dry_run(recipe, capsys)
    assert code == 0, err
    assert "prompt=smollm2" in out and "note: model: no folder 'runs/smollm2/model'" in err and "inert" not in err


def test_there_are_recipes_of_each_kind() -> None:
    kinds = {load_recipe(path, TrainSettings).objective.name for path in GSM8K}
    assert kinds == {"grpo", "grpo-n", "dapo", "prorl"} and len(SMOLLM2) == 2


def test_a_run_whose_model_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text("steps: 1\nmodel: /nowhere\n")
    assert cli.run(["train", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run")]) == 2
    assert "model: no folder '/nowhere'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
