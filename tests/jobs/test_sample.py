"""`offleash sample`: a refusal leaves no store behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from offleash.cli import main as cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-completion-length", "500"], "max_completion_length 500 exceed the model's context of 128"),
        (["--seed", str(2**64)], "seed: 18446744073709551616 does not fit 64 bits"),
        (["--level", "99"], "no level 99"),
        (["--temperature", "-1"], "temperature: -1.0 is not"),
        (["--split", "tset"], "tset"),
        (["--task", "countdwn"], "did you mean 'countdown'"),
        (["--model", "/nowhere"], "no folder"),
        (["--n", "0"], "must be at least 1"),
    ],
)
def test_a_refusal_leaves_no_store(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    command = ["sample", "--model", "base", "--task", "countdown", "--n", "1", "--problems", "2", "--out", str(out)]
    assert cli.run([*command, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
