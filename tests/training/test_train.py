"""The loop: resume to the bit, the denominators, demonstrations, interruptions, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from offleash import nn, tasks
from offleash.core import InputError, OffleashError
from offleash.engines import SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.objectives import get
from offleash.store import RunFolder
from offleash.training import Hooks, TrainSettings, check, train
from offleash.training import update as update_module
from offleash.training.demonstrations import make_demonstrations
from offleash.training.problems import Problems
from offleash.training.rollout import Source, collect
from offleash.training.settings import (
    ExternalSettings,
    ObjectiveSettings,
    OptimizerSettings,
    RolloutSettings,
    TaskSettings,
)
from offleash.training.update import Updater, make_optimizer


@pytest.fixture
def base() -> str:
    """The embedded base: it solves enough four-number problems that groups carry a signal."""
    return "base"


def recipe(base: str, **changes: object) -> TrainSettings:
    settings = TrainSettings(
        steps=4,
        model=base,
        task=TaskSettings(levels=(4,)),
        rollout=RolloutSettings(num_prompts=8, num_generations=8, max_completion_length=20, rows=32),
        optimizer=OptimizerSettings(learning_rate=1e-4, minibatches=2, micro_batch_rows=16),
        checkpoint_every=2,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def new_run(path: Path) -> RunFolder:
    return RunFolder.create(path, "steps: 4\n", {"kind": "train"})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo", "grpo-n", "rl-plus", "sft", "nsr", "dr-grpo"])
def test_every_objective_trains_and_repeats_to_the_bit(name: str, base: str, tmp_path: Path) -> None:
    external = ExternalSettings(per_group=1 if name in ("rl-plus", "sft") else 0)
    settings = recipe(base, objective=ObjectiveSettings(name), external=external, steps=2)
    if name == "sft":
        settings = replace(settings, rollout=replace(settings.rollout, num_generations=0))
    first = train(settings, new_run(tmp_path / "a"))
    second = train(settings, new_run(tmp_path / "b"))
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(tmp_path / "a" / "checkpoints" / "step_0"))


@pytest.mark.slow
def test_resume_equals_an_uninterrupted_run(base: str, tmp_path: Path) -> None:
    settings = recipe(base, steps=5)
    whole = train(settings, new_run(tmp_path / "whole"))
    half = new_run(tmp_path / "half")
    train(replace(settings, steps=3), half)  # its last checkpoint is at step 3, metrics to step 3
    resumed = train(settings, RunFolder.open(tmp_path / "half"), resume=True)
    assert same(weights(whole), weights(resumed))
    assert RunFolder.open(tmp_path / "half").metrics() == RunFolder.open(tmp_path / "whole").metrics()
    assert same(load_file(whole / "optimizer.safetensors"), load_file(resumed / "optimizer.safetensors"))


def _command(base: str, folder: Path, steps: int) -> list[str]:
    code = f"""
import torch; torch.set_num_threads(1)
from pathlib import Path
from offleash.store import RunFolder
from offleash.training import TrainSettings, train
from offleash.training.settings import *
folder = Path({str(folder)!r})
resume = (folder / "run.json").is_file()
run = RunFolder.open(folder) if resume else RunFolder.create(folder, "x: 1", {{}})
train(TrainSettings(steps={steps}, model={base!r}, task=TaskSettings(levels=(4,)),
    rollout=RolloutSettings(num_prompts=8, num_generations=8, max_completion_length=20, rows=32),
    optimizer=OptimizerSettings(learning_rate=1e-4, minibatches=2, micro_batch_rows=16), checkpoint_every=2), run, resume=resume)
"""
    return [sys.executable, "-c", code]


def _wait_for_lines(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if path.is_file() and len(path.read_bytes().splitlines()) >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"no {count} lines in {path}; exit {process.poll()}")


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(base: str, tmp_path: Path) -> None:
    steps = 12
    subprocess.run(_command(base, tmp_path / "whole", steps), check=True, timeout=200)
    for lines in (2, 7):  # SIGKILL at two different depths, resuming each time
        process = subprocess.Popen(_command(base, tmp_path / "killed", steps))
        _wait_for_lines(tmp_path / "killed" / "metrics.jsonl", lines, process)
        process.kill()
        process.wait()
    subprocess.run(_command(base, tmp_path / "killed", steps), check=True, timeout=200)
    last = Path("checkpoints") / f"step_{steps}"
    assert same(weights(tmp_path / "whole" / last), weights(tmp_path / "killed" / last))
    assert RunFolder.open(tmp_path / "whole").metrics() == RunFolder.open(tmp_path / "killed").metrics()


@pytest.mark.slow
def test_sigint_leaves_a_checkpoint_and_a_readable_run(base: str, tmp_path: Path) -> None:
    process = subprocess.Popen(_command(base, tmp_path / "run", 500), stderr=subprocess.DEVNULL)
    _wait_for_lines(tmp_path / "run" / "metrics.jsonl", 3, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    run = RunFolder.open(tmp_path / "run")
    latest = run.latest_checkpoint()
    assert latest is not None
    step = json.loads((latest / "training_state.json").read_text())["step"]
    assert step == len(run.metrics()) and run.events()[-1]["kind"] == "interrupted"
    nn.load(str(latest))


def gradient(base: str, settings: TrainSettings) -> dict[str, torch.Tensor]:
    """The summed gradient of the first update, without its optimizer step."""
    task, objective = tasks.get("countdown"), get(settings.objective.name, **settings.objective.overrides)
    model, tokenizer = nn.load(base)
    engine = NativeEngine(model, tokenizer, SamplingSettings(1.0, settings.rollout.max_completion_length), 64)
    rollout = collect(Source(Problems(task, settings), engine, tokenizer, make_demonstrations(task, settings)), 0)
    updater = Updater(model, None, make_optimizer(model, settings), objective, settings, 0)
    rows, _ = updater.rows(rollout, task, tokenizer)
    caught: dict[str, torch.Tensor] = {}

    def keep(active: list[update_module.Row], step: int) -> float:
        caught.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        return 0.0

    updater._apply = keep  # type: ignore[method-assign]
    updater.update(rows, 0)
    return caught


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo", "dr-grpo", "grpo-n", "rl-plus", "nsr"])
def test_micro_batches_do_not_change_the_gradient(name: str, base: str) -> None:
    external = ExternalSettings(per_group=1 if name == "rl-plus" else 0)
    settings = recipe(base, objective=ObjectiveSettings(name), external=external)
    settings = replace(settings, optimizer=replace(settings.optimizer, minibatches=1))
    wide = gradient(base, replace(settings, optimizer=replace(settings.optimizer, micro_batch_rows=1000)))
    for rows in (3, 17):
        narrow = gradient(base, replace(settings, optimizer=replace(settings.optimizer, micro_batch_rows=rows)))
        for key, value in wide.items():
            torch.testing.assert_close(narrow[key], value, atol=1e-6, rtol=1e-4)


def test_skipping_rows_without_advantage_changes_nothing(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = recipe(base)
    skipped = gradient(base, settings)
    init = Updater.__init__

    def without(self: Updater, *args: object, **kwargs: object) -> None:
        init(self, *args, **kwargs)  # type: ignore[arg-type]
        self.skip_zero = False

    monkeypatch.setattr(Updater, "__init__", without)
    for key, value in gradient(base, settings).items():
        torch.testing.assert_close(skipped[key], value, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_rewards_rise_on_an_easy_level(base: str, tmp_path: Path) -> None:
    settings = recipe(
        base,
        steps=40,
        task=TaskSettings(levels=(2,)),
        rollout=RolloutSettings(num_prompts=16, num_generations=16, max_completion_length=20),
        optimizer=OptimizerSettings(learning_rate=5e-4, minibatches=2),
    )
    run = new_run(tmp_path / "r")
    train(settings, run)
    accuracy = [m["accuracy"] for m in run.metrics()]
    assert sum(accuracy[-5:]) > sum(accuracy[:5]) + 5 * 0.15, accuracy
    assert max(m["mismatch"] for m in run.metrics()) < 1e-4


def test_gradient_not_finite_is_skipped_then_stops(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *a, **k: torch.tensor(float("nan")))
    run = new_run(tmp_path / "r")
    with pytest.raises(OffleashError, match="gradient was not finite in 5 updates in a row"):
        train(recipe(base, steps=50), run)
    assert run.latest_checkpoint() is not None


@pytest.mark.slow
def test_full_disk_at_checkpoint_time(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(tmp_path / "r")
    train(recipe(base, steps=2), run)
    before = weights(run.checkpoint_dir(2))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("offleash.training.checkpoint.save_file", full)
    with pytest.raises(OffleashError, match="No space left on device; earlier checkpoints are intact"):
        train(recipe(base, steps=4), RunFolder.open(tmp_path / "r"), resume=True)
    latest = RunFolder.open(tmp_path / "r").latest_checkpoint()
    assert latest == run.checkpoint_dir(2) and same(before, weights(latest))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "/nowhere"}, "model: no folder '/nowhere'"),
        ({"task": TaskSettings(name="countdwn")}, "did you mean 'countdown'"),
        ({"task": TaskSettings(levels=(9,))}, "no level 9; levels: 2, 3"),
        ({"task": TaskSettings(split="tset")}, "split 'tset'"),
        ({"objective": ObjectiveSettings("gropo")}, "did you mean 'grpo'"),
        ({"objective": ObjectiveSettings("grpo", {"epsilon_hgih": 0.3})}, "epsilon_high"),
        ({"external": ExternalSettings(1)}, "grpo has no rule for demonstrations"),
        ({"objective": ObjectiveSettings("sft")}, "learns from demonstrations; set it to 1"),
        (
            {"rollout": RolloutSettings(num_prompts=8, num_generations=1)},
            r"rollout\.num_generations: is 1, and grpo compares",
        ),
        (
            {"rollout": RolloutSettings(num_prompts=8, max_completion_length=120)},
            r"rollout\.max_completion_length: 120 and a prompt of 1\d tokens exceed the model's context of 128; lower it",
        ),
    ],
)
def test_what_a_recipe_names_is_checked_before_anything_is_written(
    changes: dict[str, object], message: str, base: str
) -> None:
    with pytest.raises(InputError, match=message):
        check(recipe(base, **changes))


@pytest.mark.slow
def test_probe_results_are_events(base: str, tmp_path: Path) -> None:
    from offleash.training.settings import ProbeSettings

    run = new_run(tmp_path / "r")
    settings = recipe(base, probe=ProbeSettings(every=2, problems=4, samples=4))
    train(settings, run, hooks=Hooks(probe=lambda step, model, tokenizer: {"seen": step}))
    assert [e["seen"] for e in run.events() if e["kind"] == "probe"] == [0, 2, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: 0 is below 1"),
        (
            {"optimizer": OptimizerSettings(minibatches=3)},
            "optimizer.minibatches: 3 does not divide rollout.num_prompts 8",
        ),
        ({"task": TaskSettings(levels=())}, "task.levels: empty"),
        ({"task": TaskSettings(levels=(4, 3, 4))}, "task.levels: 4 occurs more than once"),
        ({"rollout": RolloutSettings(num_prompts=0)}, "rollout.num_prompts: 0 is below 1"),
        ({"rollout": RolloutSettings(num_prompts=-4)}, "rollout.num_prompts: -4 is below 1"),
        ({"rollout": RolloutSettings(num_prompts=2_000_000)}, "rollout.num_prompts: 2000000 is not between"),
        ({"rollout": RolloutSettings(num_prompts=200_000)}, "rollout.num_prompts: .* 3200000 texts a step"),
        (
            {"rollout": RolloutSettings(num_generations=-1), "external": ExternalSettings(3)},
            "rollout.num_generations: -1 is not between",
        ),
        ({"rollout": RolloutSettings(num_generations=0)}, "a group needs at least one text"),
        ({"optimizer": OptimizerSettings(learning_rate=float("nan"))}, "optimizer.learning_rate: nan"),
    ],
)
def test_bad_recipes_are_named(changes: dict[str, object], message: str, base: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(base, **changes)
