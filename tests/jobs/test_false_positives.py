"""How often verifiers accept what is no answer: what is counted, and what `offleash tasks` shows of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from offleash import tasks
from offleash.cli import main as cli
from offleash.jobs import false_positives
from offleash.jobs.false_positives import OTHERS, PROBLEMS, SAMPLES, Based


def test_texts_are_judged_against_other_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks.get("logic")

    def golds(model: str, chosen: list) -> tuple[list[list[str]], str, str]:
        return [[task.gold(problem, (k,)) for k in range(SAMPLES)] for problem in chosen], "01", "some id"

    monkeypatch.setattr(false_positives, "_texts", golds)
    row = false_positives.measure(Based("logic", 5, "base:families"))
    chosen = [p for _, p in zip(range(PROBLEMS), tasks.problems(task, 5, "probe", 0), strict=False)]
    same = sum(
        chosen[i].answer == chosen[(i + k) % PROBLEMS].answer for i in range(PROBLEMS) for k in range(1, OTHERS + 1)
    )
    assert row["judged"] == PROBLEMS * SAMPLES * OTHERS
    assert row["other_accepted"] == same * SAMPLES > 0
    # Noise of zeros and ones alone, as long as the texts, is right as often as a guess of that length.
    lengths = [len(task.gold(p, (k,))) == 5 for p in chosen for k in range(SAMPLES)]
    share = sum(lengths) / len(lengths) / 32
    assert abs(row["random_accepted"] - row["judged"] * share) < 5 * (row["judged"] * share) ** 0.5


def test_every_task_with_an_embedded_base_was_measured_with_its_verifier() -> None:
    measured = false_positives.load()
    assert set(measured) == {each.task for each in false_positives.based()}
    for each in false_positives.based():
        row = measured[each.task]
        assert (row["level"], row["model"]) == (each.level, each.model)
        assert row["verifier_version"] == tasks.get(each.task).verifier_version
        assert row["random_accepted"] == 0 <= row["other_accepted"] < 0.05 * row["judged"]


def test_the_table_shows_shares_of_the_verifier_at_hand_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "task": "logic", "level": 5, "verifier_version": tasks.get("logic").verifier_version, "model": "base:families",
        "model_id": "0", "judged": 1000, "random_accepted": 0, "other_accepted": 31,
    }  # fmt: skip
    monkeypatch.setattr(false_positives, "load", lambda: {"logic": row})
    assert cli.run(["tasks", "logic", "--measured-on", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "<0.003" in lines[1] and "0.031" in lines[1].split("<0.003")[1] and "<" not in lines[2]
    monkeypatch.setattr(false_positives, "load", lambda: {"logic": {**row, "verifier_version": "older"}})
    assert cli.run(["tasks", "logic", "--measured-on", "1", "--json"]) == 0
    levels = json.loads(capsys.readouterr().out)["tasks"][0]["levels"]
    assert all(level["false_positives"] is None for level in levels)


def test_a_file_to_write_is_asked_for_before_anything_is_sampled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["tasks", "--measure", str(tmp_path)]) == 2
    assert "--measure:" in capsys.readouterr().err
