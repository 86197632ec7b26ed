"""`offleash pretrain`: what lies in the model folder, also when it was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offleash import nn
from offleash.cli import main as cli

RECIPE = """
stages:
  - {steps: 100000, level_shares: {2: 1.0}}
model: {num_hidden_layers: 1, hidden_size: 16, intermediate_size: 32, num_attention_heads: 2}
batch_size: 4
"""


def test_a_place_that_cannot_be_written_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("offleash.jobs.pretrain.pretrain", lambda *_, **__: pytest.fail("it trains"))
    out = tmp_path / "file" / "model"
    assert cli.run(["pretrain", str(tmp_path / "recipe.yaml"), "--out", str(out)]) == 2
    assert (
        capsys.readouterr().err
        == f"offleash: --out: cannot write into {out} (Not a directory); choose another folder\n"
    )


@pytest.mark.slow
def test_sigint_leaves_a_model_and_says_where(tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "model"
    recipe.write_text(RECIPE)
    code = "from offleash.cli.main import main\nfrom offleash.jobs import display\ndisplay.PLAIN_SECONDS = 0.0\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "pretrain", str(recipe), "--out", str(out)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("pretraining 1/100000")
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode == 130
    assert said.startswith("offleash: stopped at step ") and f"of 100000; the model of that step is in {out};" in said
    nn.load(str(out))
    assert "steps: 100000" in (out / "recipe.yaml").read_text()
