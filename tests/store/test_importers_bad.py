"""Logs that are damaged, doubled, unequal or no logs at all: one line that names the place and the mend."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offleash.core import InputError
from offleash.store.importers import IMPORTERS, Reading, parse_columns, read, recognise

PEERS = Path(__file__).parents[1] / "golden" / "peers"
VERL = PEERS / "verl" / "tuned" / "20.jsonl"
LM_EVAL = next((PEERS / "lm_eval" / "tuned").rglob("*.jsonl"))
LIGHTEVAL = next((PEERS / "lighteval" / "tuned").rglob("*.parquet"))
TRACES = PEERS / "verifiers" / "base" / "traces.jsonl"
TRL = PEERS / "trl" / "base" / "completions"

Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def lines(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(path: Path, rows: list[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def total(path: Path, chosen: str = "") -> tuple[int, int, int]:
    """c, n and unverified of all problems."""
    found = read(path, chosen)
    return sum(row.c for row in found.rows), sum(row.n for row in found.rows), sum(row.unverified for row in found.rows)


# --------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("source", [VERL, LM_EVAL, TRACES, PEERS / "verifiers_results" / "base" / "results.jsonl"])
def test_a_last_line_that_breaks_off_is_left_out_and_named(tmp_path, source):
    text = source.read_text()
    count = len(text.splitlines())
    path = tmp_path / "log.jsonl"
    path.write_text(text[:-40])
    found, whole = read(path), read(source)
    assert f"log.jsonl:{count}: the last line breaks off and is left out (was the run stopped?)" in found.notes
    assert sum(row.n for row in found.rows) == sum(row.n for row in whole.rows) - (4 if source == LM_EVAL else 1)


def test_a_character_cut_in_two_is_a_line_that_breaks_off(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(VERL.read_bytes() + '{"input": "ö'.encode()[:-1])
    assert "log.jsonl:17: the last line breaks off and is left out (was the run stopped?)" in read(path).notes


def test_a_broken_line_before_the_last_is_an_error_with_its_number(tmp_path):
    text = VERL.read_text().splitlines(keepends=True)
    path = tmp_path / "log.jsonl"
    path.write_text("".join([*text[:2], '{"input": \n', *text[2:]]))
    with pytest.raises(InputError, match=r"log.jsonl:3: not a JSON object; mend or remove that line"):
        read(path)


@pytest.mark.parametrize("source", [next(TRL.iterdir()), LIGHTEVAL, PEERS / "inspect" / "base" / "arithmetic.eval"])
def test_a_file_without_its_end(tmp_path, source):
    path = tmp_path / f"log{source.suffix}"
    path.write_bytes(source.read_bytes()[:-500])
    with pytest.raises(
        InputError, match=r"log\.\w+: (not a whole parquet file|an archive without its end) .*copy it again"
    ):
        read(path)


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (VERL, "score", r"not recognised \(its fields: acc, gts, input, output, reward, step, uid\)"),
        (LM_EVAL, "resps", r"not recognised \(its fields: "),
    ],
)
def test_a_log_that_lacks_what_it_is_known_by(tmp_path, source, name, message):
    path = lines(tmp_path / "log.jsonl", [{k: v for k, v in row.items() if k != name} for row in rows_of(source)])
    with pytest.raises(InputError, match=message):
        recognise(path)


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (VERL, "acc", r"acc: missing in .*log.jsonl:2; keep to the lines that verl wrote"),
        (LM_EVAL, "pass@1", r"pass@1: missing in .*log.jsonl:2; keep to the lines that lm-evaluation-harness wrote"),
        (TRACES, "task", r"task"),
    ],
)
def test_a_field_that_a_later_line_lacks(tmp_path, source, name, message):
    rows = rows_of(source)
    del rows[1][name]
    if source == TRACES:
        del rows[1]["traces"]
    with pytest.raises(InputError, match=message):
        read(lines(tmp_path / "log.jsonl", rows))


def test_scores_that_are_no_numbers(tmp_path):
    rows = rows_of(VERL)
    rows[3]["acc"] = "perhaps"
    with pytest.raises(
        InputError, match=r"acc: 'perhaps' in .*log.jsonl:4 is no number; choose a field that holds scores"
    ):
        read(lines(tmp_path / "log.jsonl", rows))


def test_steps_that_are_no_numbers(tmp_path):
    rows = rows_of(VERL)
    rows[0]["step"] = "last"
    with pytest.raises(InputError, match=r"step: 'last' in .*log.jsonl:1 is no step"):
        read(lines(tmp_path / "log.jsonl", rows))


# ---------------------------------------------------------------------------------------------- steps, doubles, budgets


def test_mixed_steps_in_one_file(tmp_path):
    earlier = rows_of(PEERS / "verl" / "tuned" / "10.jsonl")
    path = lines(tmp_path / "all.jsonl", rows_of(VERL) + earlier)
    assert total(path) == (9, 16, 0) and total(path, "step=10") == (4, 16, 0)
    assert "step 20, the last; 1 earlier left out (#step=... chooses)" in read(path).notes
    both = [row for file in sorted(TRL.iterdir()) for row in pq.read_table(file).to_pylist()]
    path = table(tmp_path / "all.parquet", both)
    assert total(path) == (7, 16, 0) and total(path, "step=1") == (3, 16, 0)
    assert "step 2, the last; 1 earlier left out (#step=... chooses)" in read(path).notes


def test_two_files_of_one_step(tmp_path):
    folder = tmp_path / "val"
    folder.mkdir()
    for name in ("20.jsonl", "20-again.jsonl"):
        shutil.copy(VERL, folder / name)
    with pytest.raises(InputError, match=r"step: several files are of step 20 \(20-again.jsonl, 20.jsonl\); give one"):
        read(folder)


@pytest.mark.parametrize(
    ("source", "held"), [(VERL, "1 sample"), (LM_EVAL, "4 samples"), (TRACES, "1 sample"), (LIGHTEVAL, "4 samples")]
)
def test_a_sample_held_twice_counts_once(tmp_path, source, held):
    path = tmp_path / f"log{source.suffix}"
    if source == LIGHTEVAL:
        rows = pq.read_table(source).to_pylist()
        table(path, [*rows, rows[0]])
    else:
        lines(path, [*rows_of(source), rows_of(source)[0]])
    assert total(path) == total(source)
    assert f"{held} held twice and counted once" in read(path).notes


def test_trap_a_trl_batch_written_twice_or_overwritten(tmp_path):
    """TRL names a file by its step alone: what is logged at a step again (an evaluation) replaces it or mixes with it, and its
    rows have no id. Doubled rows pass for twice the samples, so pass@8 seems measured with 4 samples a problem."""
    rows = pq.read_table(min(TRL.iterdir())).to_pylist()
    once, twice = table(tmp_path / "once.parquet", rows), table(tmp_path / "twice.parquet", rows + rows)
    assert total(once) == (3, 16, 0) and total(twice) == (6, 32, 0)
    doubled = "every row is held at least twice (prompt, completion, score): one batch written twice, or a model"
    assert any(note.startswith(doubled) for note in read(twice).notes)
    assert not any(note.startswith(doubled) for note in read(once).notes)
    replaced = "TRL keeps the last generation batch alone; an evaluation then overwrites it, or mixes with it"
    assert all(any(note.startswith(replaced) for note in read(path).notes) for path in (once, twice))
    folder = tmp_path / "completions"
    folder.mkdir()
    for name in ("completions_00001.parquet", "completions_00001-again.parquet"):
        table(folder / name, rows)
    with pytest.raises(InputError, match=r"step: several files are of step 1 \(.*\); give one of them"):
        read(folder)


def test_a_sample_with_two_scores(tmp_path):
    rows = rows_of(VERL)
    with pytest.raises(
        InputError, match=r"sample \(20, 'id-0_0'\) occurs twice with the scores 1 and 0; keep one of them"
    ):
        read(lines(tmp_path / "log.jsonl", [*rows, {**rows[0], "acc": False}]))


@pytest.mark.parametrize("nothing", [float("nan"), None, ""])
def test_scores_that_are_missing_are_unverified(tmp_path, nothing):
    rows = rows_of(VERL)
    rows[0]["acc"] = nothing
    path = lines(tmp_path / "log.jsonl", rows)
    assert total(path) == (8, 15, 1)
    assert "1 sample without a score (acc): unverified and left out" in read(path).notes
    with pytest.raises(InputError, match=r"acc: none of the samples of .* has a score; were they judged\?"):
        read(lines(path, [{**row, "acc": nothing} for row in rows]))


def test_unequal_budgets_are_said(tmp_path):
    found = read(lines(tmp_path / "log.jsonl", rows_of(VERL)[1:]))
    assert "problems have unequal numbers of samples, 3 to 4" in found.notes


def test_no_samples(tmp_path):
    rows = pq.read_table(next(TRL.iterdir()))
    pq.write_table(rows.slice(0, 0), tmp_path / "completions.parquet")
    with pytest.raises(InputError, match=r"completions.parquet: a log of TRL completions without samples"):
        read(tmp_path / "completions.parquet")


# -------------------------------------------------------------------------------------------- what is no log, and choices


def test_unknown_files_list_what_is_known(tmp_path):
    for path in (
        lines(tmp_path / "rows.jsonl", [{"question": "q", "ok": True}]),
        table(tmp_path / "rows.parquet", [{"question": "q", "ok": True}]),
    ):
        with pytest.raises(InputError) as refused:
            recognise(path)
        message = str(refused.value)
        assert "not recognised (its fields: ok, question)" in message and "\n" not in message
        assert all(importer.name in message for importer in IMPORTERS) and "--columns id=...,correct=..." in message
    text = tmp_path / "notes.txt"
    text.write_text("nothing here\n")
    with pytest.raises(InputError, match="not recognised"):
        recognise(text)


def test_counts_and_folders_without_logs_are_left_to_others(tmp_path):
    assert recognise(lines(tmp_path / "counts.jsonl", [{"id": "a", "c": 1, "n": 2}])) is None
    assert recognise(lines(tmp_path / "counts.jsonl", [{"name": "a", "c": 1, "n": 2}])) is None
    (tmp_path / "empty.jsonl").write_text("\n")
    assert recognise(tmp_path / "empty.jsonl") is None
    assert recognise(tmp_path) is None and read(tmp_path) is None


def test_a_folder_of_several_tools(tmp_path):
    shutil.copy(VERL, tmp_path / "20.jsonl")
    shutil.copy(LM_EVAL, tmp_path / "samples.jsonl")
    with pytest.raises(
        InputError, match=r"holds logs of several tools \(verl generations, lm-evaluation-harness samples\)"
    ):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("last", r"#last: 'last' is no choice here; give NAME=VALUE with one of step, metric, model, threshold"),
        ("filter=x", r"'filter=x' is no choice here"),
        ("metric=accuracy", r"#metric=accuracy: .* has no such metric; it has score, reward, acc"),
        ("model=other", r"#model=other: .* has no such model; it has tuned"),
        ("threshold=high", r"threshold: 'high' is no number; give one, as 0.5"),
        ("threshold=nan", r"threshold: nan is not finite"),
    ],
)
def test_choices_that_do_not_exist(chosen, message):
    with pytest.raises(InputError, match=message):
        read(VERL, chosen)


def test_a_threshold_of_nothing():
    with pytest.raises(InputError, match="threshold: inf is not finite"):
        read(VERL, reading=Reading(threshold=float("inf")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id", r"--columns: 'id' is not id=NAME,correct=NAME"),
        ("id=a,correct=", r"--columns: 'id=a,correct=' is not"),
        ("id=a,verdict=b", r"--columns: 'verdict' is not one of id, correct, prompt"),
        ("id=a", r"--columns: correct is missing"),
    ],
)
def test_columns_that_are_not_named_rightly(text, message):
    with pytest.raises(InputError, match=message):
        parse_columns(text)


def test_columns_that_a_table_lacks(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("problem,passed\na,1\nb\n")
    with pytest.raises(InputError, match=r"--columns: .*rows.csv has no column 'passes'; did you mean 'passed'\?"):
        read(path, reading=Reading(columns={"id": "problem", "correct": "passes"}))
    with pytest.raises(InputError, match=r"is a folder; give a file"):
        read(tmp_path, reading=Reading(columns={"id": "problem", "correct": "passed"}))
    found = read(path, reading=Reading(columns={"id": "problem", "correct": "passed"}))
    assert [(row.id, row.c, row.n) for row in found.rows] == [("a", 1, 1)]
    assert "rows.csv:3: too few fields; the row is left out" in found.notes


def test_ids_that_are_none(tmp_path):
    path = lines(tmp_path / "rows.jsonl", [{"id": 1, "ok": 1}, {"id": None, "ok": 1}])
    with pytest.raises(InputError, match=r"id: None in .*rows.jsonl:2 is no id"):
        read(path, reading=Reading(columns={"id": "id", "correct": "ok"}))
