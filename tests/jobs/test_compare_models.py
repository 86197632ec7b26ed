"""`offleash compare` on models: sampled first, all or only where the verdict is open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from offleash import nn
from offleash.cli import main as cli
from offleash.store import Store

TASK = ("--task", "countdown", "--level", "3", "--problems", "6")


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded base with sharper logits: another model, quickly made."""
    folder = tmp_path_factory.mktemp("models") / "sharp"
    model, tokenizer = nn.load("base")
    with torch.no_grad():
        model.model.norm.weight.mul_(1.6)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.run(["compare", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def held(out: Path) -> dict[str, int]:
    """Samples of each model in the store."""
    rows = Store.open(out / "store").sql("SELECT model, count(*) AS n FROM samples GROUP BY model").to_pylist()
    return {row["model"]: row["n"] for row in rows}


def test_models_are_sampled_and_a_second_call_adds_what_is_missing(sharp, tmp_path, capsys):
    code, out, _ = run(capsys, "base", sharp, *TASK, "--n", 8, "--out", tmp_path, "--json")
    assert code == 0
    document = json.loads(out)
    assert [row["a"]["n"] for row in document["problems"]] == [8] * 6
    assert set(held(tmp_path).values()) == {48}
    by_hand = run(
        capsys, f"{tmp_path}/store#base", f"{tmp_path}/store#sharp", "--level", 3, "--task", "countdown", "--json"
    )
    for key in ("pass_at_k", "difference", "support", "problems", "verdict"):
        assert json.loads(by_hand[1])[key] == document[key]
    assert run(capsys, "base", sharp, *TASK, "--n", 12, "--out", tmp_path)[0] == 0
    assert set(held(tmp_path).values()) == {72}
    assert json.loads((tmp_path / "comparison.json").read_text())["inputs"]["b"][0]["name"] == "sharp"


@pytest.mark.slow
def test_adaptive_draws_less_and_the_same_from_a_full_store(sharp, tmp_path, capsys):
    arguments = ("base", sharp, *TASK, "--n", 128, "--adaptive", "--json")
    code, out, err = run(capsys, *arguments, "--out", tmp_path / "fresh")
    assert code == 0, err
    document = json.loads(out)
    assert document["k"] == 64
    assert document["draws"] == sum(held(tmp_path / "fresh").values()) < document["fixed_draws"] == 2 * 6 * 128
    assert document["draws"] == sum(row[side]["n"] for row in document["problems"] for side in "ab")
    # A store that holds more than the rule asks for gives the same answer: the rule is one of sample numbers.
    run(capsys, "base", sharp, *TASK, "--n", 128, "--out", tmp_path / "full")
    again = json.loads(run(capsys, *arguments, "--out", tmp_path / "full")[1])
    assert again == document


def test_adaptive_for_people(sharp, tmp_path, capsys):
    code, out, _ = run(capsys, "base", sharp, *TASK, "--k", 32, "--out", tmp_path, "--adaptive")
    assert code == 0
    assert "verdict at k=32: " in out and "% of the 768 of a fixed number of samples" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["base", "base", "--task", "countdown", "--n", "4"], "--out: 'base' is a model"),
        (["base", "base"], "--task, --n, --out: 'base' is a model"),
        (["base", "base", "--task", "cuontdown", "--n", "4", "--out", "{out}"], "did you mean 'countdown'"),
        (["base", "base", "--task", "countdown", "--n", "0", "--out", "{out}"], "--n: 0 is below 1"),
        (["base", "nowhere", "--task", "countdown", "--n", "4", "--out", "{out}"], "no file or folder 'nowhere'"),
        (
            ["base", "nowhere", "--task", "countdown", "--n", "4", "--out", "{out}", "--adaptive"],
            "draws from two models",
        ),
        (["base", "base", "--task", "countdown", "--n", "4", "--k", "9", "--out", "{out}", "--adaptive"], "--k: 9"),
        (["base", "base", "--task", "countdown", "--n", "4", "--k", "8", "--out", "{out}"], "--k: 8 is above --n 4"),
        (
            ["base", "base", "--task", "countdown", "--n", "8", "--beyond", "8", "--out", "{out}"],
            "--beyond: 8 is within",
        ),
        (["base", "base", "base", "--task", "countdown", "--n", "4", "--out", "{out}", "--adaptive"], "two models"),
    ],
)
def test_what_is_missing_is_named(arguments, message, tmp_path, capsys):
    code, _, err = run(capsys, *(a.format(out=tmp_path / "out") for a in arguments))
    assert code == 2
    assert message in err
    assert "Traceback" not in err
