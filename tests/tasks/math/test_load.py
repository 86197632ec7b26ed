"""Data sets from files and the hub: columns, splits, duplicates, golds."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from offleash import tasks
from offleash.core import InputError
from offleash.tasks.math import DATA_SETS, DataSet, MathTask, load

DATA = Path(__file__).parents[2] / "data"
OWN = DataSet("own", folder="own")


def write(folder: Path, **sides: list[dict]) -> str:
    for side, rows in sides.items():
        (folder / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def row(question: str, answer: object, **more: object) -> dict:
    return {"question": question, "answer": answer, **more}


def test_what_is_in_both_files_belongs_to_test_and_is_named(tmp_path):
    place = write(
        tmp_path,
        train=[row("What is 1 + 1?", 2), row("What is 2 + 2?", 4), row("what is 2+2", "4.0"), row("What is 3 - 3?", 0)],
        test=[row("What is  1+1", 2), row("What is 3 + 3?", 6)],
    )
    loaded = MathTask(OWN, place).load()
    assert loaded.left_out == {
        "train 1": "asks the same as test 1",
        "train 3": "asks the same as train 2, whose answer is 4",
    }
    assert {p.meta["row"]: p.split == "test" for p in loaded.problems} == {
        "test 1": True, "test 2": True, "train 2": False, "train 4": False,
    }  # fmt: skip


def test_two_data_sets_can_be_held_apart(tmp_path):
    (tmp_path / "other").mkdir()
    first = MathTask(OWN, write(tmp_path, test=[row("What is 1 + 1?", 2), row("2?", 2)])).load().problems
    second = MathTask(OWN, write(tmp_path / "other", train=[row("what is 1+1", 2), row("3?", 3)])).load().problems
    assert [(a.meta["row"], b.meta["row"]) for a, b in load.overlap(first, second)] == [("test 1", "train 1")]


@pytest.mark.parametrize("bad", ["", "{", "?"])
def test_a_gold_that_cannot_be_read_is_an_error_never_a_reward(tmp_path, bad):
    place = write(tmp_path, test=[row("1?", 1), row("2?", bad)])
    with pytest.raises(InputError, match="row test 2"):
        MathTask(OWN, place).load()
    if bad:
        skipping = replace(OWN, skip={"test 2": "its gold is a typing error"})
        assert MathTask(skipping, place).load().left_out == {"test 2": "its gold is a typing error"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"q": "1?", "answer": 1}], "row test 1 has nothing in column question or problem; its columns: q, answer"),
        ([{"question": "1?"}], "row test 1 has nothing in column answer"),
    ],
)
def test_missing_columns_are_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        MathTask(OWN, write(tmp_path, test=rows)).load()


def test_lines_that_are_not_json_are_named(tmp_path):
    (tmp_path / "test.jsonl").write_text('{"question": "1?", "answer": 1}\n{"question"\n')
    with pytest.raises(InputError, match=r"test\.jsonl, line 2: not JSON"):
        MathTask(OWN, str(tmp_path)).load()


def test_parquet_and_single_files(tmp_path):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([row("1?", 1.0), row("2?", 2.5)])
    pyarrow.parquet.write_table(table, tmp_path / "test.parquet")
    for place in (tmp_path, tmp_path / "test.parquet"):
        assert [p.answer for p in MathTask(OWN, str(place)).load().problems] == ["1", "2.5"]


def test_the_hub_is_read_through_datasets(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed; pip install 'offleash[datasets]'")
    asked = []

    def offline(repository, configuration, split):
        asked.append((repository, configuration, split))
        return datasets.Dataset.from_list([row(f"{split}?", "so\n#### 3")])

    monkeypatch.setattr(datasets, "load_dataset", offline)
    loaded = tasks.get("gsm8k:hub").load()
    assert asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    assert [(p.meta["row"], p.answer) for p in loaded.problems] == [("test 1", "3"), ("train 1", "3")]

    def unreachable(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError, match="HuggingFaceH4/MATH-500 cannot be fetched: no route; set OFFLEASH_DATA"):
        tasks.get("math-500:hub").load()


def test_without_data_the_error_says_how_to_get_them_and_verifying_still_works(monkeypatch, tmp_path):
    monkeypatch.delenv("OFFLEASH_DATA", raising=False)
    task = MathTask(DATA_SETS["gsm8k"])
    with pytest.raises(
        InputError, match="no data is named; set OFFLEASH_DATA to a folder that has gsm8k/, or name it: gsm8k:FOLDER"
    ):
        task.generate((0,), 1, "train")
    problem = MathTask(DATA_SETS["gsm8k"], str(DATA / "gsm8k")).load().problems[0]
    assert task.verify(problem, task.gold(problem)).correct is True and math.isnan(task.guess(problem))
    monkeypatch.setenv("OFFLEASH_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"gsm8k has no train\.jsonl, test\.jsonl"):
        MathTask(DATA_SETS["gsm8k"]).load()


def test_names_with_places_and_verifiers(monkeypatch):
    assert tasks.get(f"gsm8k:{DATA / 'gsm8k'}").name == "gsm8k"
    monkeypatch.setenv("OFFLEASH_DATA", str(DATA))
    assert tasks.get("math-500/numeric").verifier_version == "numeric-3"
    with pytest.raises(InputError, match="write gsm8k, or gsm8k/numeric"):
        tasks.get("gsm8k/other")


def test_splits_and_levels_that_are_not_there_are_named(monkeypatch):
    monkeypatch.setenv("OFFLEASH_DATA", str(DATA))
    with pytest.raises(
        InputError, match="split 'train', level 1: math-500 has no such problems; it has test 1, test 2"
    ):
        MathTask(DATA_SETS["math-500"]).generate((0,), 1, "train")


def test_golds_are_demonstrations_in_the_form_the_prompt_asks_for():
    task = MathTask(DATA_SETS["gsm8k"], str(DATA / "gsm8k"))
    first = next(p for p in task.load().problems if p.meta["row"] == "test 1")
    assert first.prompt.endswith("put your final answer within \\boxed{}.")
    assert task.gold(first).endswith("every day at the farmer’s market.\n\\boxed{18}") and "<<" not in task.gold(first)


def test_the_chance_baseline_is_the_answers_frequency_among_the_others(tmp_path):
    answers = [2, 2, "2.0", 3]
    task = MathTask(OWN, write(tmp_path, test=[row(f"{i}?", a) for i, a in enumerate(answers)]))
    assert [task.guess(p) for p in task.load().problems] == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0.0])


# Rows as they are in the data sets that cannot travel with the package: one each, with its columns' names.
ROWS = {
    "aime-2024": {"id": 60, "problem": "Every morning?", "solution": "so \\boxed{204}", "answer": "204", "url": "", "year": "2024"},
    "aime-2025": {"problem": "Find the sum?", "answer": "70", "id": "0"},
    "amc": {"id": 0, "problem": "What is the value?", "answer": 142.0, "url": ""},
    "minerva": {"problem": "Each of the two?", "solution": "we get $\\boxed{4.5e33}$ erg", "type": "Physics", "idx": 0},
    "olympiad-bench": {
        "id": 1606, "question": "Which $n$?", "solution": ["so 2, 3"], "final_answer": ["$2$", "$3$"], "error": None,
        "is_multiple_answer": True, "unit": None, "answer_type": "Numerical",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_column_maps_fit_the_data_sets(tmp_path, name):
    task = MathTask(DATA_SETS[name], write(tmp_path, test=[ROWS[name]]))
    problem = task.load().problems[0]
    assert problem.answer == {"amc": "142", "minerva": "4.5e33", "olympiad-bench": "2,3"}.get(
        name, ROWS[name].get("answer")
    )
    assert task.verify(problem, task.gold(problem)).correct is True
    assert task.verify(problem, "\\boxed{17}").correct is False


def test_rows_that_ask_for_a_tolerance_are_left_out(tmp_path):
    rows = [{**ROWS["olympiad-bench"], "error": "1e-1"}, {**ROWS["olympiad-bench"], "question": "Another?"}]
    loaded = MathTask(DATA_SETS["olympiad-bench"], write(tmp_path, test=rows)).load()
    assert loaded.left_out == {"test 1": "has something in column error"} and len(loaded.problems) == 1


@pytest.mark.parametrize("side", ["test", "train"])
def test_the_same_question_with_another_gold_is_an_error(tmp_path, side):
    place = write(
        tmp_path, test=[row("What is 2 + 2?", 4)], **({"train": [row("what is 2+2", 5)]} if side == "train" else {})
    )
    if side == "test":
        place = write(tmp_path, test=[row("What is 2 + 2?", 4), row("what is 2+2", 5)])
    again = f"{side} {2 if side == 'test' else 1}"
    with pytest.raises(
        InputError, match=f"row {again} asks the same as row test 1, and its answer is '5' instead of '4'"
    ):
        MathTask(OWN, place).load()
    assert again in MathTask(replace(OWN, skip={again: "its gold is wrong"}), place).load().left_out


@pytest.mark.parametrize("bad", [math.nan, math.inf, "NaN", True, '["1"]', {"a": 1}, [math.nan]])
def test_a_gold_that_is_no_number_and_no_text_is_named(tmp_path, bad):
    place = write(tmp_path, test=[row("1?", 1), row("2?", bad)])
    with pytest.raises(InputError, match=r"the gold of row test 2 is .*; give a number, a text, or a list of such"):
        MathTask(OWN, place).load()


def test_sources_without_rows_or_that_are_broken_are_named(tmp_path):
    (tmp_path / "test.jsonl").write_text("\n")
    with pytest.raises(InputError, match=f"{tmp_path} has no rows; give it"):
        MathTask(OWN, str(tmp_path)).listed(1, "test", 0)
    (tmp_path / "test.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"test\.jsonl: cannot be read .*UTF-8"):
        MathTask(OWN, str(tmp_path)).load()
    (tmp_path / "test.jsonl").unlink()
    (tmp_path / "test.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"test\.parquet: no parquet file that can be read \("):
        MathTask(OWN, str(tmp_path)).load()


def test_a_column_that_is_not_there_is_named_with_the_source_and_the_mend(tmp_path):
    mine = replace(OWN, answer=("final",))
    with pytest.raises(InputError, match=f"name the column in the DataSet .the rows are those of {tmp_path}"):
        MathTask(mine, write(tmp_path, test=[row("1?", 1)])).load()
