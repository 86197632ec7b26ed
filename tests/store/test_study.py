"""study.json: written and read back the same, every bad field named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from offleash.core import InputError
from offleash.store import Arm, Checkpoint, Stratum, Study, read_study, write_study

CONTENT: dict[str, Any] = {
    "title": "A study",
    "store": "store",
    "baseline": "base",
    "ks": [1, 8, 64, 256],
    "strata": [
        {"name": "five numbers", "task": "countdown", "level": 2, "split": "test"},
        {"name": "six numbers", "task": "countdown", "level": 3, "split": "test"},
    ],
    "arms": [
        {"label": "base", "model": "aa", "run": None, "checkpoints": []},
        {"label": "GRPO", "model": "bb", "run": "runs/grpo", "checkpoints": [{"step": 20, "model": "cc"}]},
    ],
}


def read(folder: Path, content: Any) -> Study:
    (folder / "study.json").write_text(json.dumps(content))
    return read_study(folder)


def test_the_documented_file_is_read(tmp_path: Path) -> None:
    study = read(tmp_path, CONTENT)
    assert study == Study(
        folder=tmp_path,
        title="A study",
        store=tmp_path / "store",
        baseline="base",
        ks=(1, 8, 64, 256),
        strata=(Stratum("five numbers", "countdown", 2, "test"), Stratum("six numbers", "countdown", 3, "test")),
        arms=(Arm("base", "aa"), Arm("GRPO", "bb", tmp_path / "runs" / "grpo", (Checkpoint(20, "cc"),))),
    )
    assert study.base == Arm("base", "aa", None, ())


def test_what_is_written_is_read_and_the_folder_can_move(tmp_path: Path) -> None:
    study = read(tmp_path, CONTENT)
    (tmp_path / "study.json").unlink()
    assert write_study(study) == tmp_path / "study.json"
    assert json.loads((tmp_path / "study.json").read_text()) == CONTENT
    assert read_study(tmp_path) == study
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert read_study(str(moved)).store == moved / "store"


def test_a_store_outside_the_folder_is_kept_relative(tmp_path: Path) -> None:
    study = Study(
        tmp_path / "s", "t", tmp_path / "elsewhere", "b", (1,), (Stratum("n", "t", 1, "test"),), (Arm("b", "m"),)
    )
    write_study(study)
    assert json.loads((tmp_path / "s" / "study.json").read_text())["store"] == "../elsewhere"
    assert read_study(tmp_path / "s").store.resolve() == (tmp_path / "elsewhere").resolve()


def test_order_is_settled(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    content["arms"].reverse()
    content["arms"][0]["checkpoints"] = [{"step": 20, "model": "c"}, {"step": 5, "model": "d"}]
    content["ks"] = [64, 1, 1, 8]
    study = read(tmp_path, content)
    assert study.ks == (1, 8, 64) and [arm.label for arm in study.arms] == ["base", "GRPO"]
    assert [point.step for point in study.arms[1].checkpoints] == [5, 20]


def change(*where: Any, to: Any = None) -> dict[str, Any]:
    """The documented content with one field changed; deleted where `to` is left out as `...`."""
    content = copy.deepcopy(CONTENT)
    inner: Any = content
    for name in where[:-1]:
        inner = inner[name]
    if to is ...:
        del inner[where[-1]]
    else:
        inner[where[-1]] = to
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (change("title", to=...), "field 'title' is missing; add it"),
        (change("store", to=3), "store: 3 is not a text"),
        (change("store", to="/abs/store"), "store: '/abs/store' is not a path relative to the study's folder"),
        (change("store", to=""), "store: '' is not a path"),
        (change("baseline", to="bse"), "unknown baseline 'bse'; did you mean 'base'"),
        (change("ks", to=[]), "ks: .*give at least one k"),
        (change("ks", to=[0, 1]), "ks: .*each 1 or more"),
        (change("ks", to=[1.5]), r"ks: 1\.5 is not a whole number"),
        (change("ks", to=[True]), "ks: True is not a whole number"),
        (change("strata", to=[]), "strata: empty"),
        (change("strata", to={}), r"strata: \{\} is not a list"),
        (change("strata", 0, to=1), "strata: 1 is not an object"),
        (change("strata", 1, "level", to="2"), r"strata\[1\]: level: '2' is not a whole number"),
        (change("strata", 1, "name", to="five numbers"), "strata: two have the name 'five numbers'"),
        (change("strata", 0, "leval", to=2), r"strata\[0\]: unknown field 'leval'; did you mean 'level'"),
        (change("arms", 1, "label", to="base"), "arms: two have the label 'base'"),
        (change("arms", 1, "model", to=...), r"arms\[1\]: field 'model' is missing"),
        (change("arms", 1, "model", to=None), r"arms\[1\]: model: None is not a text"),
        (change("arms", 1, "run", to=1), r"arms\[1\]: run: 1 is not a text"),
        (
            change("arms", 1, "checkpoints", 0, "step", to=1.0),
            r"arms\[1\]: checkpoints\[0\]: step: 1\.0 is not a whole",
        ),
        (
            change("arms", 1, "checkpoints", to=[{"step": 1, "model": "a"}] * 2),
            "GRPO: checkpoints: two have the step 1",
        ),
        (change("arms", to=[]), "unknown baseline 'base'"),
        (change("titel", to="x"), "unknown field 'titel'; did you mean 'title'"),
        ([], "a JSON list, not an object"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path}/study.json: ")
    assert str(caught.value).count("study.json") == 1


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study\.json: no such file; give the folder of a study"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_bytes(b'{"title": "\xff')
    with pytest.raises(InputError, match=r"study\.json: not valid JSON"):
        read_study(tmp_path)


def test_a_study_in_memory_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="strata: empty"):
        Study(tmp_path, "t", tmp_path, "b", (1,), (), (Arm("b", "m"),))
