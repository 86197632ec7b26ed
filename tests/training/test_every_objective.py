"""Every row trains from a recipe: one short run each on the embedded base, and what rows remember survives a resume."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from offleash import nn, tasks
from offleash.core import InputError, Problem, Verdict
from offleash.objectives import PRESETS, get
from offleash.store import RunFolder
from offleash.tasks.base import _TASKS
from offleash.tasks.countdown import Countdown
from offleash.training import TrainSettings, check, train
from offleash.training.groups import check_annotations, overlaps, steps_of_tokens, token_ends
from offleash.training.settings import (
    ExternalSettings,
    ObjectiveSettings,
    OptimizerSettings,
    RolloutSettings,
    TaskSettings,
)


class Referenced(Countdown):
    """Countdown with an expression's last number as its answer, to be made likely by what stands before it."""

    name = "countdown-with-reference"

    def reference(self, problem: Problem) -> str:
        return self.gold(problem)[-2:]

    def reasoning(self, problem: Problem, text: str) -> str:
        return text[:-2]


@pytest.fixture
def referenced() -> Iterator[str]:
    tasks.register(Referenced())
    yield Referenced.name
    del _TASKS[Referenced.name]


def recipe(name: str, **changes: object) -> TrainSettings:
    objective = get(name)
    overrides = {"bundle_size": 2} if "bundle_size" in objective.settings else {}
    settings = TrainSettings(
        steps=1,
        task=TaskSettings(levels=(4,)),
        objective=ObjectiveSettings(name, overrides),
        rollout=RolloutSettings(num_prompts=4, num_generations=8, max_completion_length=20, rows=32),
        external=ExternalSettings(per_group=1 if objective.uses_external else 0),
        optimizer=OptimizerSettings(learning_rate=1e-4, minibatches=2, micro_batch_rows=7),
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_it_trains(name: str, tmp_path: Path, referenced: str) -> None:
    settings = recipe(name)
    if name == "dro":
        settings = replace(settings, task=replace(settings.task, name=referenced))
    check(settings)
    run = RunFolder.create(tmp_path / "run", "steps: 1\n", {"kind": "train"})
    after = load_file(train(settings, run) / "model.safetensors")
    before = load_file(tmp_path / "run" / "checkpoints" / "step_0" / "model.safetensors")
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert 0.0 < run.metrics()[0]["grad_norm"] < 1e6


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, p in PRESETS.items() if p.claims.remembers])
def test_what_is_remembered_survives_a_resume(name: str, tmp_path: Path) -> None:
    settings = recipe(name, steps=3)
    if name == "skywork-or1":
        settings = replace(settings, objective=ObjectiveSettings(name, {"entropy_target": 3.0}))
    whole = train(settings, RunFolder.create(tmp_path / "whole", "x: 1\n", {}))
    train(replace(settings, steps=2), RunFolder.create(tmp_path / "half", "x: 1\n", {}))
    resumed = train(settings, RunFolder.open(tmp_path / "half"), resume=True)
    states = [json.loads((f / "training_state.json").read_text())["objective"] for f in (whole, resumed)]
    assert states[0] == states[1] != {}
    one, other = (load_file(f / "model.safetensors") for f in (whole, resumed))
    assert all(torch.equal(one[k], other[k]) for k in one)


# --------------------------------------------------------------------------------------------------------- bad recipes


def test_a_task_that_lacks_what_an_objective_reads_is_named() -> None:
    with pytest.raises(InputError, match=r"dro needs what task countdown does not give: a reference"):
        check(recipe("dro"))


def test_bundles_that_do_not_fit_are_refused_before_anything_is_written() -> None:
    settings = recipe("riskpo", objective=ObjectiveSettings("riskpo", {"bundle_size": 3}))
    with pytest.raises(InputError, match="bundle_size: is 3 and there are 4 prompts"):
        check(settings)


def test_a_group_too_small_for_k_is_refused_before_anything_is_written() -> None:
    settings = recipe("pkpo", objective=ObjectiveSettings("pkpo", {"pass_k": 8}))
    with pytest.raises(InputError, match="num_generations: is 8, and pkpo compares"):
        check(settings)


def test_planning_texts_stand_in_for_a_task_that_does_not_plan() -> None:
    class Plain:
        name = "plain"

    objective = get("hicra")
    check_annotations(objective, Plain(), ("let us",))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"task\.strategic_grams"):
        check_annotations(objective, Plain(), ())  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- spans and tokens


def test_tokens_of_steps_and_spans() -> None:
    task, text = Countdown(), "7*12-3*5"
    problem = task.make((3, 5, 7, 12), 69, 4)
    verdict = task.verify(problem, text)
    steps = task.steps(problem, text, verdict)
    assert [(text[s.start : s.end], s.tag, s.reward) for s in steps] == [
        ("7", "start", 0.0),
        ("*12", "*", 0.0),
        ("-3", "-", 0.0),
        ("*5", "*", 1.0),
    ]
    assert [s.state for s in steps] == ["", "7", "7*12", "7*12-3"]
    _, tokenizer = nn.load("base")
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    ends = token_ends(tokenizer, ids)
    assert ends[-1] == len(text)
    of_tokens = steps_of_tokens(ends, steps)
    assert of_tokens == sorted(of_tokens) and of_tokens[0] == 0 and of_tokens[-1] == 3
    planning = overlaps(ends, task.planning(problem, text))
    starts = [0, *ends[:-1]]
    for start, end, plans in zip(starts, ends, planning, strict=True):
        assert plans == bool(re.search(r"[-+*/()]", text[start:end]))


@pytest.mark.parametrize("text", ["", "((((", "7*7*7", "é" * 50, "(" * 10_000, "9" * 5000, "1 2 3"])
def test_steps_and_plans_of_any_text(text: str) -> None:
    task = Countdown()
    problem = task.make((3, 5, 7, 12), 69, 4)
    verdict = Verdict(False, 0.0, "", "none", "", "x")
    steps = task.steps(problem, text, verdict)
    assert [s.start for s in steps] == sorted(s.start for s in steps)
    assert all(0 <= s.start <= s.end <= len(text) for s in steps)
    assert all(0 <= a < b <= len(text) for a, b in task.planning(problem, text))
    if text == "7*7*7":
        assert [s.reward for s in steps] == [0.0, -0.1, -0.1]
