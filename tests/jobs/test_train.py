"""`offleash train`: what is refused leaves nothing behind; what is doubtful is said and recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from offleash.cli import main as cli
from offleash.store import RunFolder

RECIPE = "steps: 1\ntask: {levels: [3]}\nrollout: {num_prompts: 2, num_generations: 2, max_completion_length: 20}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "grpo.yaml").write_text(RECIPE)
    return tmp_path / "grpo.yaml"


@pytest.mark.parametrize("override", ["rollout.max_completion_length=500", "rollout.num_generations=1"])
@pytest.mark.parametrize("dry", [True, False])
def test_what_the_engine_or_objective_refuses_leaves_no_run(
    override: str, dry: bool, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["train", str(recipe), override, "--out", str(out), *(["--dry-run"] if dry else [])]
    assert cli.run(command) == 2
    assert capsys.readouterr().err.startswith(f"offleash: {override.partition('=')[0]}: ")
    assert not out.exists()


@pytest.mark.parametrize("split", ["test", "train"])
def test_training_on_test_problems_is_warned_of_and_recorded(
    split: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert cli.run(["train", str(recipe), f"task.split={split}", "--out", str(out)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    warnings = [event["message"] for event in RunFolder.open(out).events() if event["kind"] == "warning"]
    assert len(warnings) == (split == "test") == said.count("warning: task.split is test")
    assert all("comparisons on its test problems are contaminated" in message for message in warnings)


def test_a_resumed_run_is_warned_once(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["train", str(recipe), "task.split=test", "--out", str(out)]
    assert cli.run(command) == 0
    assert cli.run([*command, "--resume"]) == 0
    assert [event["kind"] for event in RunFolder.open(out).events()] == ["warning"]
