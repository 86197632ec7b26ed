"""Stages, resets, the guard's changes: what is in force at a step, and that a resumed run finds the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from offleash.core import InputError
from offleash.store import RunFolder
from offleash.training import Hooks, TrainSettings, train
from offleash.training.actions import Action
from offleash.training.check import check
from offleash.training.schedule import every_setting, in_force, resets_at
from offleash.training.settings import (
    GuardSettings,
    ObjectiveSettings,
    OptimizerSettings,
    ProbeSettings,
    ResetSettings,
    RolloutSettings,
    StageSettings,
    TaskSettings,
)

KL = ObjectiveSettings("grpo", {"kl_beta": 0.01})


def recipe(**changes: object) -> TrainSettings:
    settings = TrainSettings(
        steps=6,
        task=TaskSettings(levels=(4,)),
        rollout=RolloutSettings(num_prompts=4, num_generations=6, max_completion_length=20, rows=24),
        optimizer=OptimizerSettings(learning_rate=3e-4, minibatches=2, micro_batch_rows=16),
        checkpoint_every=2,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def run_to(settings: TrainSettings, folder: Path, hooks: Hooks | None = None) -> RunFolder:
    train(settings, RunFolder.create(folder, "x: 1\n", {"kind": "train"}), hooks=hooks)
    return RunFolder.open(folder)


def weights(run: RunFolder, step: int) -> dict[str, torch.Tensor]:
    return load_file(run.checkpoint_dir(step) / "model.safetensors")


def test_stages_are_in_force_in_turn() -> None:
    settings = recipe(
        stages=(
            StageSettings(2),
            StageSettings(3, {"objective": {"name": "nsr"}, "rollout": {"temperature": 1.2}}, ("optimizer",)),
            StageSettings(1, {"task": {"levels": [5]}}),
        ),
        objective=ObjectiveSettings("grpo", {"eps_high": 0.3}),
    )
    names = [in_force(settings, s).objective.name for s in range(6)]
    assert names == ["grpo", "grpo", "nsr", "nsr", "nsr", "grpo"]
    assert in_force(settings, 2).objective.overrides == {}  # another objective starts without the first one's overrides
    assert in_force(settings, 5).objective.overrides == {"eps_high": 0.3}
    assert [in_force(settings, s).rollout.temperature for s in (1, 2, 5)] == [1.0, 1.2, 1.0]
    assert in_force(settings, 2).rollout.num_generations == 6
    assert in_force(settings, 5).task.levels == (5,)
    assert [resets_at(settings, s) for s in range(6)] == [(), (), ("optimizer",), (), (), ()]
    assert len(every_setting(settings)) == 3


def test_the_guards_changes_add_up() -> None:
    events = [
        {"kind": "guard", "do": "change", "step": 2, "change": {"rollout": {"temperature": 1.3}}},
        {"kind": "guard", "do": "warn", "step": 3},
        {"kind": "guard", "do": "change", "step": 4, "change": {"objective": {"name": "nsr"}}},
    ]
    found = [in_force(recipe(), s, events) for s in range(6)]
    assert [f.rollout.temperature for f in found] == [1, 1, 1.3, 1.3, 1.3, 1.3]
    assert [f.objective.name for f in found] == ["grpo"] * 4 + ["nsr"] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": (StageSettings(2),)}, "stages: 2 steps together, but steps is 6"),
        ({"stages": (StageSettings(6, {}, ("refrence",)),)}, "did you mean 'reference'"),
        ({"stages": (StageSettings(6, {"model": "x"}),)}, "stages.0.change: unknown field 'model'"),
        ({"stages": (StageSettings(6, {"rollout": {"temprature": 1}}),)}, "did you mean 'temperature'"),
        ({"stages": (StageSettings(6, {"rollout": {"temperature": "hot"}}),)}, "stages.0.change.rollout.temperature"),
        ({"stages": (StageSettings(6, {"objective": {"name": "gropo"}}),)}, "did you mean"),
        (
            {"stages": (StageSettings(6, {"optimizer": {"betas": [0.5, 0.9]}}),)},
            r"betas: .* changes it to \(0.5, 0.9\)",
        ),
        ({"guard": (GuardSettings("narrowed"),)}, "probe.every: 0"),
        ({"guard": (GuardSettings("narowed"),), "probe": ProbeSettings(2)}, "did you mean 'narrowed'"),
        ({"guard": (GuardSettings("narrowed", ("change",)),), "probe": ProbeSettings(2)}, "guard.0.change"),
        ({"guard": (GuardSettings("narrowed", k=100),), "probe": ProbeSettings(2)}, "guard.0.k: 100"),
    ],
)
def test_bad_schedules_are_named(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run_to(recipe(**changes), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": {"name": "gpro"}}, "objective.name: unknown objective 'gpro'; did you mean 'gspo'?"),
        ({"objective": {"overrides": {"kl_bta": 1}}}, "objective.overrides: unknown setting of grpo 'kl_bta'; did you"),
        ({"objective": {"overrides": {"kl_beta": -1}}}, "objective.overrides.kl_beta: is -1; give a number"),
        ({"objective": 3}, "objective: is 3; input should be an object"),
        ({"rollout": {"temprature": 1}}, "rollout: unknown field 'temprature'; did you mean 'temperature'?"),
        ({"rollout": {"temperature": -1.0}}, "rollout.temperature: -1.0 is not above 0"),
        ({"rollout": {"engine": "natvie"}}, "rollout.engine: unknown rollout.engine 'natvie'; did you mean 'native'?"),
        ({"rollout": {"num_generations": 1}}, "rollout.num_generations: is 1, and grpo compares the samples"),
        ({"rollout": {"max_completion_length": 4000}}, "rollout.max_completion_length: 4000 and a prompt of"),
        ({"task": {"name": "countdwn"}}, "task.name: unknown task 'countdwn'; did you mean 'countdown'?"),
        ({"task": {"levels": [4, 99]}}, "task.levels: countdown has no level 99"),
        ({"task": {"split": "trian"}}, "task.split: split 'trian': no countdown problem"),
        ({"external": {"per_group": 1}}, "external.per_group: objective grpo has no rule for demonstrations"),
        ({"optimizer": {"eps": 0.1}}, "optimizer.eps: a stage or the guard changes it to 0.1"),
    ],
)
def test_a_wrong_value_is_named_with_its_stage_or_rule(change: dict[str, object], message: str) -> None:
    staged = {"stages": (StageSettings(2), StageSettings(4, change))}
    ruled = {"guard": (GuardSettings("plateau", ("change",), change),), "probe": ProbeSettings(2)}
    for where, changes in {"stages.1.change.": staged, "guard.0.change.": ruled}.items():
        with pytest.raises(InputError) as caught:
            check(recipe(**changes))
        assert str(caught.value).startswith(where + message)


def test_a_combination_that_is_wrong_in_one_stage_only_is_named_with_it() -> None:
    stages = (StageSettings(2), StageSettings(4, {"rollout": {"num_prompts": 3}}))
    with pytest.raises(InputError, match=r"^stages\.1\.change: optimizer\.minibatches: 2 does not divide .* 3"):
        check(recipe(stages=stages))
    forgotten = (StageSettings(2), StageSettings(4, {"objective": {"name": "sft"}}))
    with pytest.raises(InputError, match=r"^stages\.1\.change: external\.per_group: 0, but objective sft"):
        check(recipe(stages=forgotten))


def test_what_is_wrong_in_the_recipe_itself_is_named_without_a_stage() -> None:
    stages = (StageSettings(2, {"rollout": {"temperature": 1.1}}), StageSettings(4))
    for wrong, field in (
        ({"objective": ObjectiveSettings("gpro")}, "objective.name"),
        ({"task": TaskSettings(levels=(99,))}, "task.levels"),
    ):
        with pytest.raises(InputError, match=f"^{field}: "):
            check(recipe(stages=stages, **wrong))
    # A name that no stage leaves in force is no one's mistake.
    check(recipe(stages=(StageSettings(6, {"objective": {"name": "grpo"}}),), objective=ObjectiveSettings("gpro")))


STAGED = recipe(
    stages=(
        StageSettings(2),
        StageSettings(2, {"objective": {"name": "skywork-or1"}, "rollout": {"temperature": 1.1}}, ("optimizer",)),
        StageSettings(2, {"task": {"levels": [3]}}, ("reference",)),
    ),
    objective=KL,
)


@pytest.mark.slow
def test_a_staged_run_resumes_to_the_bit(tmp_path: Path) -> None:
    whole = run_to(STAGED, tmp_path / "whole")
    assert [(e["step"], e["what"]) for e in whole.events() if e["kind"] == "stage"] == [(3, 2), (5, 3)]
    for stop in (2, 3, 5):
        folder = tmp_path / f"stopped at {stop}"
        half = RunFolder.create(folder, "x: 1\n", {"kind": "train"})
        seen = {"steps": 0}

        def halt(step: int, *_: object, stop: int = stop, seen: dict[str, int] = seen) -> None:
            seen["steps"] = step
            if step == stop:
                raise RuntimeError("killed")

        with pytest.raises(RuntimeError, match="killed"):
            train(STAGED, half, hooks=Hooks(on_step=halt))
        train(STAGED, RunFolder.open(folder), resume=True)
        resumed = RunFolder.open(folder)
        assert resumed.metrics() == whole.metrics()
        assert resumed.events() == whole.events()
        for name, tensor in weights(whole, 6).items():
            assert torch.equal(tensor, weights(resumed, 6)[name])


def test_both_distances_are_logged_and_part_after_a_reset(tmp_path: Path) -> None:
    run = run_to(recipe(objective=KL, resets=ResetSettings(reference_every=3, optimizer_every=4)), tmp_path / "run")
    rows = run.metrics()
    assert [row["kl_reference"] == row["kl_original"] for row in rows] == [True] * 3 + [False] * 3
    assert rows[0]["kl_reference"] == pytest.approx(0, abs=1e-5)
    assert rows[3]["kl_reference"] == pytest.approx(0, abs=1e-5)  # it has just become the present model
    assert rows[3]["kl_original"] > 1e-4
    resets = [(e["step"], e["what"]) for e in run.events() if e["kind"] == "reset"]
    assert resets == [(4, "reference"), (5, "optimizer")]


def looks(passes: dict[int, float]):
    """A probe that reports these pass@4."""

    def probe(step: int, *_: object) -> dict[str, object]:
        return {"pass_at_k": {"4": {"value": passes.get(step, 0.5)}}, "seen": step}

    return probe


@pytest.mark.slow
def test_the_guard_acts_between_steps_and_a_resume_repeats_it(tmp_path: Path) -> None:
    settings = recipe(
        objective=KL,
        probe=ProbeSettings(every=2, keep_best=True),
        guard=(
            GuardSettings(
                "narrowed", ("return_to_best", "reset_reference", "change"), {"rollout": {"temperature": 1.3}}
            ),
        ),
    )

    def guard(events: list[dict[str, object]]) -> list[Action]:
        if events[-1]["seen"] != 4:
            return []
        return [
            Action("return_to_best", "because", rule=0),
            Action("reset_reference", "because", rule=0),
            Action("change", "because", {"rollout": {"temperature": 1.3}}, rule=0),
        ]

    hooks = Hooks(probe=looks({0: 0.2, 2: 0.9, 4: 0.1, 6: 0.3}), guard=guard)  # type: ignore[arg-type]
    whole = run_to(settings, tmp_path / "whole", hooks)
    assert torch.equal(weights(whole, 4)["model.norm.weight"], weights(whole, 2)["model.norm.weight"])
    assert '"step": 2' in (tmp_path / "whole" / "best.json").read_text().replace("\n", " ")
    done = [(e["step"], e["do"]) for e in whole.events() if e["kind"] == "guard"]
    assert done == [(4, "return_to_best"), (4, "reset_reference"), (4, "change")]
    folder = tmp_path / "resumed"
    half = RunFolder.create(folder, "x: 1\n", {"kind": "train"})

    def halt(step: int, *_: object) -> None:
        if step == 6:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(settings, half, hooks=replace(hooks, on_step=halt))
    train(settings, RunFolder.open(folder), resume=True, hooks=hooks)
    assert RunFolder.open(folder).metrics() == whole.metrics()
    assert RunFolder.open(folder).events() == whole.events()


def test_a_stop_ends_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    settings = recipe(probe=ProbeSettings(every=2), guard=(GuardSettings("narrowed", ("stop",)),), checkpoint_every=50)

    def guard(events: list[dict[str, object]]) -> list[Action]:
        return [Action("stop", "because", rule=0)] if events[-1]["seen"] == 2 else []

    hooks = Hooks(probe=looks({}), guard=guard)  # type: ignore[arg-type]
    run = run_to(settings, tmp_path / "run", hooks)
    assert [row["step"] for row in run.metrics()] == [1, 2]
    assert run.latest_checkpoint() == run.checkpoint_dir(2)
    assert train(settings, run, resume=True, hooks=hooks) == run.checkpoint_dir(2)
    assert len(run.metrics()) == 2
