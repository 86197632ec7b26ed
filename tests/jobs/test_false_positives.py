"""How often verifiers accept what is no answer: what is counted, and what `offleash tasks` shows of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from offleash import tasks
from offleash.cli import main as cli
from offleash.core import InputError
from offleash.jobs import false_positives
from offleash.jobs.false_positives import GOLDS, OTHERS, PROBLEMS, Based


def test_texts_are_judged_against_other_problems() -> None:
    task = tasks.get("logic")
    row = false_positives.measure(Based("logic", 5, GOLDS))
    chosen = list(itertools.islice(tasks.problems(task, 5, "probe", 0), PROBLEMS))
    same = sum(
        chosen[i].answer == chosen[(i + k) % PROBLEMS].answer for i in range(PROBLEMS) for k in range(1, OTHERS + 1)
    )
    assert row["judged"] == PROBLEMS * OTHERS
    assert row["other_accepted"] == same > 0


def test_noise_is_of_the_writers_characters_and_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = list(itertools.islice(tasks.problems(tasks.get("logic"), 5, "probe", 0), PROBLEMS))
    lengths = (3, 5, 5, 7)
    monkeypatch.setattr(
        false_positives, "_golds", lambda *_: ([["10101"[:3] + "0" * (n - 3) for n in lengths]] * 60, "")
    )
    row = false_positives.measure(Based("logic", 5, GOLDS))
    # Zeros and ones as long as the answer are right as often as a guess is, others never.
    share = 0.5 / 32
    assert row["judged"] == PROBLEMS * len(lengths) * OTHERS
    assert abs(row["random_accepted"] - row["judged"] * share) < 5 * (row["judged"] * share) ** 0.5
    assert all(len(p.answer) == 5 for p in chosen)


def test_every_task_with_an_embedded_base_was_measured_with_its_verifier() -> None:
    measured = false_positives.load()
    for each in false_positives.based():
        row = measured[each.task]
        assert (row["level"], row["model"]) == (each.level, each.model)
        assert row["verifier_version"] == tasks.get(each.task).verifier_version
        assert row["random_accepted"] == 0 <= row["other_accepted"] < 0.05 * row["judged"]


@pytest.mark.slow
def test_what_was_measured_by_gold_solutions_comes_out_again() -> None:
    """Worlds always, reasoning-gym where it is installed: no recorded row is of another verifier or another time."""
    measured, chosen = false_positives.load(), false_positives.solved()
    assert {each.task for each in chosen} <= set(measured)
    for each in chosen:
        if not each.task.startswith("reasoning-gym/"):
            assert false_positives.measure(each) == measured[each.task]


def test_tasks_with_data_were_measured_with_a_language_model() -> None:
    measured = false_positives.load()
    for each in false_positives.given("a model"):
        row = measured[each.task]
        assert row["judged"] == each.problems * each.samples * each.others and row["model_id"]


def test_what_a_file_says_of_other_tasks_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "shares.json"
    out.write_text(json.dumps({"tasks": [{"task": "gsm8k", "judged": 7}, {"task": "logic", "judged": 7}]}))
    monkeypatch.setattr(false_positives, "based", lambda: [Based("logic", 5, GOLDS, problems=10)])
    monkeypatch.setattr(false_positives, "solved", lambda only: [])
    false_positives.run(out)
    rows = {row["task"]: row["judged"] for row in json.loads(out.read_text())["tasks"]}
    assert rows == {"gsm8k": 7, "logic": 80}
    out.write_text("{}")
    with pytest.raises(InputError, match=r"--measure: .*give another one"):
        false_positives.run(out)


def test_the_table_shows_shares_of_the_verifier_at_hand_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "task": "logic", "level": 5, "verifier_version": tasks.get("logic").verifier_version, "model": "base:families",
        "model_id": "0", "judged": 1000, "random_accepted": 0, "other_accepted": 31,
    }  # fmt: skip
    monkeypatch.setattr(false_positives, "load", lambda: {"logic": row})
    assert cli.run(["tasks", "logic", "--measured-on", "1"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line[:1].isdigit()}
    assert "<0.003" in lines["5"] and "0.031" in lines["5"].split("<0.003")[1] and "<" not in lines["7"]
    monkeypatch.setattr(false_positives, "load", lambda: {"logic": {**row, "verifier_version": "older"}})
    assert cli.run(["tasks", "logic", "--measured-on", "1", "--json"]) == 0
    levels = json.loads(capsys.readouterr().out)["tasks"][0]["levels"]
    assert all(level["false_positives"] is None for level in levels)


def test_a_file_to_write_is_asked_for_before_anything_is_sampled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["tasks", "--measure", str(tmp_path)]) == 2
    assert "--measure:" in capsys.readouterr().err
    assert cli.run(["tasks", "--with", "base"]) == 2
    assert "--with: only with --measure" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/shares.json"], "there is no folder nowhere; make it"),
        (["guesses.json"], "guesses.json is the name of the chance baselines"),
        (["shares.json", "--with", "nomodel"], "no folder 'nomodel'"),
        (["shares.json", "--with", "base"], "gsm8k: no data is named"),
        (["shares.json", "logic", "--with", "base"], "--with: logic is measured without a model"),
        (["shares.json", "gsm8k"], "--measure: gsm8k is measured with the texts of a model"),
        (["shares.json", "gsm8k:nowhere"], "--measure: gsm8k:nowhere cannot be measured"),
        (["beside/shares.json"], "guesses.json is no record of chance baselines"),
    ],
)
def test_what_would_fail_after_the_work_fails_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OFFLEASH_DATA", raising=False)
    monkeypatch.setattr(false_positives, "measure", lambda each: pytest.fail(f"measured {each.task}"))
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "guesses.json").write_text('{"logic": 1}')
    assert cli.run(["tasks", "--measure", *arguments]) == 2
    assert message in (err := capsys.readouterr().err) and err.count("\n") == 1


def test_one_task_is_measured_and_what_was_measured_is_kept_when_a_later_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(each: Based) -> dict[str, object]:
        if each.task == "belief":
            raise InputError("no more")
        version = tasks.get(each.task).verifier_version
        return {"task": each.task, "level": each.level, "verifier_version": version, "judged": 9, "random_accepted": 0, "other_accepted": 9}  # fmt: skip

    monkeypatch.setattr(false_positives, "measure", measured)
    monkeypatch.setattr(false_positives, "solved", lambda only: [])
    out = tmp_path / "shares.json"
    assert cli.run(["tasks", "logic", "--measure", str(out)]) == 0 and capsys.readouterr().out.startswith(
        "logic, version"
    )
    assert [row["task"] for row in json.loads(out.read_text())["tasks"]] == ["logic"]
    assert list(json.loads((tmp_path / "guesses.json").read_text())) == ["logic"]
    assert cli.run(["tasks", "--measure", str(out)]) == 2 and "no more" in capsys.readouterr().err
    kept = [row["task"] for row in json.loads(out.read_text())["tasks"]]
    assert kept[:2] == ["logic", "countdown"] and "belief" not in kept
