"""SIGKILL between any two lines of the loop: the resumed run is the uninterrupted one, to the bit. And damaged checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from offleash.core import OffleashError
from offleash.store import RunFolder
from offleash.training import TrainSettings, train
from offleash.training.settings import RolloutSettings, TaskSettings

PROGRAM = Path(__file__).with_name("killed.py")


@pytest.mark.slow
def test_killed_at_twenty_random_lines(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), "20", "7"], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "20 kills" in done.stdout
    whole = RunFolder.open(tmp_path / "whole")
    ended = [RunFolder.open(path) for path in tmp_path.iterdir() if path.name != "whole"]
    for run in ended:
        assert run.metrics() == whole.metrics()
        assert run.events() == whole.events()
        for file in ("model.safetensors", "optimizer.safetensors"):
            a, b = (load_file(r.checkpoint_dir(10) / file) for r in (whole, run))
            assert a.keys() == b.keys()
            assert all(torch.equal(a[name], b[name]) for name in a)
        assert (run.path / "best.json").read_text() == (whole.path / "best.json").read_text()


SETTINGS = TrainSettings(
    steps=3,
    task=TaskSettings(levels=(3,)),
    rollout=RolloutSettings(num_prompts=2, num_generations=4, max_completion_length=16),
    checkpoint_every=1,
)


@pytest.fixture
def trained(tmp_path: Path) -> RunFolder:
    train(SETTINGS, RunFolder.create(tmp_path / "run", "x: 1\n", {}))
    return RunFolder.open(tmp_path / "run")


def flip(file: Path) -> None:
    """Change one byte in the middle, so that the length stays."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "config.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(name: str, trained: RunFolder) -> None:
    whole = trained.metrics()
    flip(trained.checkpoint_dir(3) / name)
    train(SETTINGS, trained, resume=True)
    (event,) = [e for e in trained.events() if e["kind"] == "warning"]
    assert event["step"] == 2
    assert f"checkpoint step_3 is damaged: {name} is not as it was written" in event["message"]
    assert trained.metrics() == whole


def test_a_missing_file_and_an_unreadable_list(trained: RunFolder) -> None:
    (trained.checkpoint_dir(3) / "optimizer.safetensors").unlink()
    (trained.checkpoint_dir(2) / "checksums.json").write_text("{")
    train(SETTINGS, trained, resume=True)
    messages = [e["message"] for e in trained.events() if e["kind"] == "warning"]
    assert "optimizer.safetensors cannot be read" in messages[0]
    assert "checksums.json cannot be read" in messages[1]


def test_no_sound_checkpoint_is_an_error_and_nothing_is_lost(trained: RunFolder) -> None:
    before = trained.metrics()
    for step in range(4):
        flip(trained.checkpoint_dir(step) / "model.safetensors")
    with pytest.raises(OffleashError, match="no sound checkpoint is left"):
        train(SETTINGS, trained, resume=True)
    assert RunFolder.open(trained.path).metrics() == before
    assert json.loads((trained.checkpoint_dir(3) / "training_state.json").read_text())["step"] == 3
