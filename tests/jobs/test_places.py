"""A place that cannot be written is one line that names it and the mend, before any work is done."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from offleash.cli import main as cli
from offleash.jobs import demo
from offleash.store import RunFolder

RECIPE = "steps: 1\ntask: {levels: [3]}\nrollout: {num_prompts: 2, num_generations: 2}\n"


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, list[str]]:
    """A command line of every command that writes, without its --out."""
    (tmp_path / "grpo.yaml").write_text(RECIPE)
    (tmp_path / "a.jsonl").write_text('{"id": "p", "c": 1, "n": 2}\n')
    run = RunFolder.create(tmp_path / "run", "steps: 1\n", {})
    counts = str(tmp_path / "a.jsonl")
    return {
        "demo": ["demo"],
        "train": ["train", str(tmp_path / "grpo.yaml")],
        "sample": ["sample", "--model", "base", "--task", "countdown", "--n", "1"],
        "compare": ["compare", counts, counts],
        "report": ["report", str(run.path)],
    }


@pytest.mark.parametrize("name", ["demo", "train", "sample", "compare", "report"])
@pytest.mark.parametrize("kind", ["below a file", "not permitted"])
def test_one_line_and_2(
    name: str,
    kind: str,
    commands: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "x" if kind == "below a file" else tmp_path / "locked"
    if kind == "not permitted":  # whoever runs the tests may be allowed everything
        out.mkdir()
        monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != out or not mode & os.W_OK)
    why = os.strerror(errno.ENOTDIR if kind == "below a file" else errno.EACCES)
    code = cli.run([*commands[name], "--out", str(out)])
    shown = capsys.readouterr()
    assert (code, shown.out) == (2, "")
    assert shown.err == f"offleash: --out: cannot write into {out} ({why}); choose another folder\n"
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(errno.EACCES, 2), (errno.EROFS, 2), (errno.ENOSPC, 1)])
def test_what_the_disk_refuses_later_is_one_line_too(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_text", refuse)
    assert cli.run(["demo", "--out", str(tmp_path / "demo")]) == code
    said = capsys.readouterr().err
    assert said.startswith(f"offleash: {tmp_path / 'demo' / 'demo.json'}: {os.strerror(number)};")
    assert said.count("\n") == 1


def test_an_unexpected_error_of_a_file_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run", lambda *_, **__: Path("/no/such/file").read_text())
    with pytest.raises(FileNotFoundError):
        cli.run(["demo"])
