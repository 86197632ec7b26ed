"""`offleash sample`: a refusal leaves no store behind; other engines; what a failing server gave stays."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from offleash import nn
from offleash.cli import main as cli
from offleash.engines import endpoints
from offleash.store import Store


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
        (["--engine", "naitive"], "did you mean 'native'"),
        (["--engine", "openai"], "endpoint: none given"),
        (["--engine", "openai", "--endpoint", "http://127.0.0.1:9/v1"], "start the server, or correct --endpoint"),
        (["--endpoint", "http://a/v1"], "--engine native: reads a model's folder"),
        (["--engine", "openai", "--endpoint", "http://a/v1", "--body", "[]"], "--body: [] is no object"),
        (["--engine", "openai", "--endpoint", "http://a/v1", "--api", "x"], "api: 'x' is none of"),
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


COMMAND = ["sample", "--task", "countdown", "--level", "4", "--problems", "3", "--json"]


def test_hf_and_native_draw_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for engine in ("native", "hf"):
        more = ["--model", "base", "--n", "4", "--engine", engine, "--out", str(tmp_path / engine)]
        assert cli.run([*COMMAND, *more]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[0]["model"] == said[1]["model"]
    texts = [Store.open(tmp_path / e).rows(said[0]["model"])["text"].to_pylist() for e in ("native", "hf")]
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_a_server_that_dies_keeps_what_it_gave_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("loopback", Path(__file__).parents[1] / "engines" / "loopback.py")
    assert spec and spec.loader
    loopback = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loopback)
    monkeypatch.setattr(endpoints, "FIRST_REST", 0.01)
    with loopback.Loopback(*nn.load("base")) as server:
        out = str(tmp_path / "s")
        more = ["--model", "m", "--n", "4", "--out", out, "--engine", "openai", "--endpoint", server.url]
        more += ["--stop", "x", "--label", "served", "--concurrency", "1"]
        server.faults.extend([None] * 5 + [404])
        assert cli.run([*COMMAND, *more]) == 2
        assert "refused a request: 404" in capsys.readouterr().err
        store = Store.open(tmp_path / "s")
        kept = store.rows(store.model("served")["id"]).to_pylist()
        assert len(kept) == 5 and all(row["correct"] is not None for row in kept)
        server.bodies.clear()
        assert cli.run([*COMMAND, *more]) == 0
        assert len(server.bodies) == 12 - len(kept)
    assert json.loads(capsys.readouterr().out)["samples"] == 12
    # Without token ids, completions cannot be read under other weights.
    assert cli.run([*COMMAND, "--model", "base", "--n", "1", "--out", out]) == 0
    assert cli.run(["likelihood", f"{out}#base", f"{out}#served"]) == 2
    assert "token id -1" in capsys.readouterr().err


def test_what_was_cut_off_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["sample", "--model", "base", "--task", "countdown", "--level", "3", "--n", "4", "--problems", "3"]
    assert cli.run([*ask, "--max-completion-length", "3", "--out", str(tmp_path / "short")]) == 0
    shown = capsys.readouterr()
    assert "3 problems, 12 verified samples, 0 right" in " ".join(shown.err.split())
    assert "100% were cut off at 3 tokens; raise --max-completion-length" in " ".join(shown.err.split())
    assert cli.run([*ask, "--max-completion-length", "30", "--out", str(tmp_path / "long"), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["cut_off"] == 0 and "cut off" not in shown.err


def test_without_a_level_the_tasks_main_one_is_sampled(tmp_path: Path) -> None:
    ask = [
        "sample",
        "--model",
        "base:families",
        "--task",
        "logic",
        "--n",
        "1",
        "--problems",
        "2",
        "--out",
        str(tmp_path),
    ]
    assert cli.run(ask) == 0
    assert {p.problem.level for p in Store.open(tmp_path).problems()} == {9}
