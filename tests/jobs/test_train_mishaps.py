"""`offleash train` when things go wrong: another run in the folder, cut files, a full disk, SIGTERM, weights that explode."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from offleash.cli import main as cli
from offleash.core import OffleashError
from offleash.store import RunFolder
from offleash.store.lock import lock
from offleash.training import checkpoint

SMALL = "steps: 3\ntask: {levels: [3]}\nrollout: {num_prompts: 2, num_generations: 4, max_completion_length: 16}\ncheckpoint_every: 1\n"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "small.yaml").write_text(SMALL)
    return str(tmp_path / "small.yaml")


@pytest.fixture
def trained(recipe: str, tmp_path: Path) -> Path:
    assert cli.run(["train", recipe, "--out", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def test_two_runs_do_not_write_one_folder(recipe: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "metrics.jsonl").read_bytes()
    handle = lock(trained, "run.lock", "training in this folder")
    assert cli.run(["train", recipe, "--out", str(trained), "--resume"]) == 2
    assert f"another process (pid {os.getpid()}) is training in this folder" in capsys.readouterr().err
    os.close(handle)
    assert cli.run(["train", recipe, "--out", str(trained), "--resume"]) == 0
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_a_cut_checkpoint_is_named_and_an_earlier_one_used(recipe: str, trained: Path) -> None:
    metrics = RunFolder.open(trained).metrics()
    os.truncate(trained / "checkpoints" / "step_3" / "model.safetensors", 1000)
    os.truncate(trained / "checkpoints" / "step_2" / "training_state.json", 3)
    assert cli.run(["train", recipe, "--out", str(trained), "--resume"]) == 0
    run = RunFolder.open(trained)
    assert run.metrics() == metrics
    said = [e["message"] for e in run.events() if e["kind"] == "warning"]
    assert [m.split(":")[0] for m in said] == ["checkpoint step_3 is damaged", "checkpoint step_2 is damaged"]


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_run_without_a_sound_checkpoint_is_not_begun_again(
    how: str, recipe: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "metrics.jsonl").read_bytes()
    if how == "gone":
        shutil.rmtree(trained / "checkpoints")
    for file in (trained / "checkpoints").glob("*/model.safetensors"):
        os.truncate(file, 1000)
    capsys.readouterr()
    assert cli.run(["train", recipe, "--out", str(trained), "--resume"]) == 1
    expected = "3 steps are logged, but there is no checkpoint" if how == "gone" else "no sound checkpoint is left"
    assert expected in " ".join(capsys.readouterr().err.split())
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_a_full_disk_under_the_weights_is_one_line(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    assert cli.run(["train", recipe, "--out", str(tmp_path / "run")]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "No space left on device" in error and "earlier checkpoints are intact" in error
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.slow
def test_seeds_of_one_group_share_a_recipe(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "group"
    command = ["train", recipe, "steps=1", "--out", str(out)]
    assert cli.run([*command, "--seeds", "0,1"]) == 0
    assert cli.run([*command, "--seeds", "0,1,2", "--resume", "optimizer.learning_rate=1"]) == 2
    assert "the recipe differs" in capsys.readouterr().err and not (out / "seed_2").exists()
    assert cli.run([*command, "--seeds", "1,2", "--resume"]) == 0
    assert json.loads((out / "group.json").read_text())["runs"] == ["seed_0", "seed_1", "seed_2"]


def test_weights_that_are_not_finite_are_no_checkpoint(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot = ["optimizer.learning_rate=1e38", "optimizer.max_grad_norm=1e30", "rollout.num_prompts=8"]
    assert cli.run(["train", recipe, *hot, "task.levels=[2]", "--out", str(tmp_path / "run")]) == 1
    assert "the update made weights that are not finite; lower optimizer.learning_rate" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_0"]
    with pytest.raises(OffleashError, match="cannot be written"):
        lock(Path("/proc"), "run.lock", "training in this folder")


@pytest.mark.slow
def test_sigterm_saves_as_ctrl_c_does(recipe: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "offleash",
        "train",
        recipe,
        "steps=5000",
        "checkpoint_every=5000",
        "--out",
        str(run),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (run / "metrics.jsonl").is_file() or (run / "metrics.jsonl").read_bytes().count(b"\n") < 3:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    opened = RunFolder.open(run)
    assert opened.events()[-1]["kind"] == "interrupted"
    assert (run / "checkpoints" / f"step_{opened.metrics()[-1]['step']}").is_dir()
