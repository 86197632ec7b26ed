"""`compare` on stores that hold several temperatures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from offleash.core import InputError
from offleash.jobs import compare, sample
from offleash.jobs.sides import Selection


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heat") / "store"
    for temperature in (0.5, 1.0, 1.5):
        sample.run(model="base", task="countdown", level=3, n=32, problems=12, out=path, label="base",
                   temperature=temperature, as_json=True)  # fmt: skip
    return path


@pytest.mark.slow
def test_a_model_against_itself(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    side = f"{store}#base"
    capsys.readouterr()
    compare.run(side, side, as_json=True)
    document = json.loads(capsys.readouterr().out)
    warmth = document["temperature"]
    assert warmth["answer"] == "no difference to explain"
    assert warmth["matched_at"] == 1.0 and warmth["matched_entropy"]["value"] == 0.0
    entropy = warmth["token_entropy"]["a"]
    assert entropy["0.5"] < entropy["1"] < entropy["1.5"]
    compare.run(side, side)
    assert "is it only temperature? no difference to explain" in capsys.readouterr().out


def test_another_temperature_can_be_chosen(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    side = f"{store}#base"
    compare.run(side, side, selection=Selection(temperature=0.5), as_json=True)
    assert json.loads(capsys.readouterr().out)["temperature"]["reference"] == 0.5
    with pytest.raises(InputError, match=r"--temperature: base has no samples at 0\.7; it has 0\.5, 1, 1\.5"):
        compare.run(side, side, selection=Selection(temperature=0.7))


def test_one_temperature_says_nothing_of_temperature(
    store: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one = tmp_path / "one"
    sample.run(model="base", task="countdown", level=3, n=8, problems=12, out=one, label="base", as_json=True)
    capsys.readouterr()
    compare.run(f"{one}#base", f"{one}#base", as_json=True)
    assert "temperature" not in json.loads(capsys.readouterr().out)
