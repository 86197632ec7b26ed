"""`offleash train`: what is refused leaves nothing behind; what is doubtful is said and recorded."""

from __future__ import annotations

import json
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


SMALL = [
    "steps=2",
    "task.levels=[3]",
    "rollout.num_prompts=2",
    "rollout.num_generations=4",
    "rollout.max_completion_length=16",
]


@pytest.mark.slow
def test_seeds_train_one_after_another_and_compare_takes_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("steps: 2\n")
    out = tmp_path / "seeds"
    assert cli.run(["train", str(recipe), *SMALL, "--seeds", "0,1,2", "--out", str(out)]) == 0
    rewards = [RunFolder.open(out / f"seed_{s}").metrics() for s in (0, 1, 2)]
    assert rewards[0] != rewards[1]
    assert [row["num_tokens"] for row in rewards[0]] == sorted(row["num_tokens"] for row in rewards[0])
    capsys.readouterr()
    task = ["--task", "countdown", "--level", "3", "--problems", "4", "--n", "8"]
    assert cli.run(["compare", "base", str(out), *task, "--out", str(tmp_path / "c"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["seeds"] == 3
    # What is done is not done again.
    assert cli.run(["train", str(recipe), *SMALL, "--seeds", "0,1,2", "--out", str(out), "--resume"]) == 0
    assert [RunFolder.open(out / f"seed_{s}").metrics() for s in (0, 1, 2)] == rewards


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0,x"], "--seeds: '0,x'; give whole numbers"),
        (["--seeds", "0,0"], "names one twice"),
        (["--track", "wand"], "did you mean 'wandb'"),
        (["--track", "trackio"], "--track: trackio is not installed; pip install 'offleash[trackio]'"),
    ],
)
def test_bad_seeds_and_trackers(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("steps: 2\n")
    assert cli.run(["train", str(recipe), *SMALL, *options, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_tokens_and_flops_add_up(tmp_path: Path) -> None:
    from offleash.training.metrics import Totals

    totals = Totals.of(1000, [{"num_tokens": 10, "total_flos": 5.0}])
    assert totals.add(sampled=20, trained=3) == {"num_tokens": 30, "total_flos": 5.0 + 1000 * (40 + 18)}


def test_kept_rollouts_are_audited_as_a_store(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert cli.run(["train", str(recipe), *SMALL, "rollout.keep=true", "--out", str(out)]) == 0
    capsys.readouterr()
    assert cli.run(["audit", f"{out}#step_2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["a"]["samples"]["all"] == 2 * 4
    assert cli.run(["audit", str(out)]) == 2
    assert "holds 2 models; choose one" in capsys.readouterr().err
