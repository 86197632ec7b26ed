"""Recorded chance baselines are those of the tasks as they are now; what is asked for otherwise is measured."""

from __future__ import annotations

import pytest

from offleash import tasks
from offleash.jobs import guesses

QUICK = ("arithmetic", "equations", "logic", "strings", "graph", "belief", "rewriting")


def test_every_task_of_the_package_is_recorded_with_its_versions() -> None:
    for task in map(tasks.get, tasks.names()):
        record = guesses.recorded()[task.name]
        assert record["versions"] == [task.version, task.verifier_version], (
            f"{task.name}: run `offleash tasks --measure`"
        )
        assert list(record["levels"]) == [str(level) for level in task.levels]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in tasks.names()])
def test_what_is_recorded_is_what_would_be_measured(name: str) -> None:
    task = tasks.get(name)
    for level in task.levels:
        assert guesses.of(task, level, guesses.MEASURED_ON) == guesses.measure(task, level, guesses.MEASURED_ON)


def test_another_version_or_number_of_problems_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks.get("arithmetic")
    record = {"arithmetic": {"versions": [task.version, task.verifier_version], "levels": {"1": 0.5}}}
    monkeypatch.setattr(guesses, "recorded", lambda: record)
    assert guesses.of(task, 1, guesses.MEASURED_ON)["guess"] == 0.5
    assert guesses.of(task, 2, guesses.MEASURED_ON)["guess"] == pytest.approx(1 / 900)  # not in the record
    assert guesses.of(task, 1, 3)["guess"] == pytest.approx(1 / 900)
    record["arithmetic"]["versions"] = ["0", task.verifier_version]
    assert guesses.of(task, 1, guesses.MEASURED_ON)["guess"] == pytest.approx(1 / 900)
