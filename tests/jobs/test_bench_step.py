"""The step's benchmark is fair: both sides have the same problems, tokens, optimizer steps, loss and gradient."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from offleash import nn
from offleash.core import InputError
from offleash.jobs.benchmarks import step, step_trl
from offleash.jobs.benchmarks.step_curves import Curve, gap
from offleash.jobs.benchmarks.step_sides import Pause, Side, Told, ours, peak_mib, resident_mib
from offleash.jobs.benchmarks.step_trl import Chosen, theirs
from offleash.store import RunFolder
from offleash.training import TrainSettings, train, update
from offleash.training.settings import OptimizerSettings, RewardSettings, RolloutSettings

slow = pytest.mark.prove  # importing trl takes about ten seconds
pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's own

PROMPTS, SIZE, LENGTH = 4, 4, 12
EXACT = Chosen("float32", step_trl.QUIET | {"bf16": False}, rows=8, threads=1)


def tiny(steps: int = 3) -> TrainSettings:
    """Random rewards, so that every group has a signal."""
    rollout = RolloutSettings(num_prompts=PROMPTS, num_generations=SIZE, max_completion_length=LENGTH)
    return replace(step.grpo(nn.EMBEDDED), steps=steps, rollout=rollout, reward=RewardSettings("random"))


@pytest.fixture
def sides() -> Iterator[Any]:
    opened: list[Side] = []

    def start(work: Any) -> Side:
        opened.append(Side(work, 1))
        return opened[-1]

    yield start
    for side in opened:
        side.close()


# --------------------------------------------------------------------------------------------------------- taking turns


def told(number: int) -> Told:
    return Told(number, 10, 2, 0.0, 0.5, None)


def test_a_side_waits_between_its_steps(sides: Any) -> None:
    log: list[str] = []

    def loop(name: str) -> Any:
        def work(pause: Pause) -> None:
            for i in range(3):
                log.append(f"{name}{i}")
                pause(told(i))

        return work

    a, b = sides(loop("a")), sides(loop("b"))
    steps = [side.step().told.step for side in (a, b, b, a)]
    assert log == ["a0", "b0", "b1", "a1"] and steps == [0, 0, 1, 1]


def test_an_error_in_a_loop_is_raised_where_its_step_is_asked_for(sides: Any) -> None:
    def work(pause: Pause) -> None:
        pause(told(1))
        raise InputError("loop: broken")

    side = sides(work)
    side.step()
    with pytest.raises(InputError, match="broken"):
        side.step()


def test_a_loop_that_ends_early_is_an_error(sides: Any) -> None:
    with pytest.raises(RuntimeError, match="without another step"):
        sides(lambda pause: None).step()


def test_rounds_begin_with_another_side_each_time() -> None:
    log: list[int] = []

    def make(i: int) -> Any:
        def work(pause: Pause) -> None:
            for n in range(4):
                log.append(i)
                pause(told(n))

        return lambda: Side(work, 1)

    rounds = step.take_turns([make(0), make(1)], rounds=3)
    assert log == [0, 1, 1, 0, 0, 1, 1, 0]
    assert [[s.told.step for s in r] for r in rounds] == [[1, 1], [2, 2], [3, 3]]


# ------------------------------------------------------------------------------------------------------- the same work


def test_our_side_is_the_trainer_itself(sides: Any, tmp_path: Path) -> None:
    side = sides(ours(tiny()))
    found = [side.step().told for _ in range(2)]
    run = RunFolder.create(tmp_path / "run", "", {})
    train(tiny(2), run)
    assert [t.reward for t in found] == [row["reward"] for row in run.metrics()]
    assert [t.tokens for t in found] == [row["tokens"] for row in run.timings()]
    assert [t.step for t in found] == [1, 2]


def test_our_imposed_lengths_are_those_drawn(sides: Any) -> None:
    lengths = [1 + i % LENGTH for i in range(PROMPTS * SIZE)]
    assert sides(ours(tiny(), lengths)).step().told.tokens == sum(lengths)


@slow
@pytest.mark.parametrize("rows", [16, 4])
def test_same_tokens_steps_loss_and_gradient(rows: int, monkeypatch: Any, tmp_path: Path) -> None:
    """TRL is given our completions of the first step; both are looked at before their optimizers move."""
    own = first_gradient_of_ours(monkeypatch, tmp_path)
    peer = first_gradient_of_trl(replace(EXACT, rows=rows), own["completions"], tmp_path)
    assert own["prompts"] == peer["prompts"]
    assert own["tokens"] == peer["tokens"] == sum(map(len, own["completions"]))
    assert own["reward"] == pytest.approx(peer["reward"], abs=1e-6)
    assert peer["loss"] == pytest.approx(own["loss"], abs=1e-6)
    assert own["gradient"].norm() > 1e-3
    assert torch.allclose(own["gradient"], peer["gradient"], rtol=1e-3, atol=1e-6)


def first_gradient_of_ours(monkeypatch: Any, tmp_path: Path) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    apply, make_rows = update.Updater._apply, update.make_rows

    def applied(self: Any, active: Any, number: int) -> float:
        if "gradient" not in seen:
            seen["gradient"] = flat(self.model)
        return apply(self, active, number)

    def made(rollout: Any, *others: Any) -> Any:
        rows = make_rows(rollout, *others)
        seen.setdefault("completions", [row.completion for row in rows])
        seen.setdefault("prompts", [row.prompt for row in rows])
        return rows

    monkeypatch.setattr(update.Updater, "_apply", applied)
    monkeypatch.setattr(update, "make_rows", made)
    run = RunFolder.create(tmp_path / "run", "", {})
    # Clipping is TRL's own function on both sides; without it the gradients are compared as they are.
    train(replace(tiny(1), optimizer=OptimizerSettings(max_grad_norm=1e9)), run)
    (metrics,), (timings,) = run.metrics(), run.timings()
    return seen | {"loss": metrics["loss"], "reward": metrics["reward"], "tokens": timings["tokens"]}


def first_gradient_of_trl(chosen: Chosen, completions: list[list[int]], tmp_path: Path) -> dict[str, Any]:
    from transformers import TrainerCallback

    settings = replace(tiny(1), optimizer=OptimizerSettings(max_grad_norm=1e9))
    trainer = step_trl.make_trainer(settings, chosen, str(tmp_path / "trl"))
    watch, seen, losses = step_trl._watched(trainer), {}, []

    def given(prompt_ids: Any, *others: Any, **named: Any) -> Any:
        seen["prompts"] = [list(ids) for ids in prompt_ids]
        return [list(ids) for ids in completions], None

    compute = trainer._compute_loss

    def computed(model: Any, inputs: Any) -> Any:
        losses.append(compute(model, inputs))
        return losses[-1]

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, *given: Any, **named: Any) -> None:
            seen["gradient"] = flat(trainer.accelerator.unwrap_model(trainer.model))

    trainer._generate_single_turn, trainer._compute_loss = given, computed
    trainer.add_callback(Look())
    trainer.train()
    assert trainer.state.global_step == 1 and len(losses) == PROMPTS * SIZE // chosen.rows
    return seen | {"loss": float(sum(losses)), "reward": watch.reward, "tokens": watch.tokens}


def flat(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten().clone() for _, p in sorted(model.named_parameters())])


@slow
def test_both_go_through_the_same_problems_and_count_the_same_way(sides: Any) -> None:
    lengths = [1 + (i * 5) % LENGTH for i in range(PROMPTS * SIZE)]
    own, peer = sides(ours(tiny(), lengths)), sides(theirs(tiny(), EXACT, lengths))
    for number in (1, 2):
        a, b = own.step().told, peer.step().told
        assert a.tokens == b.tokens == sum(lengths)
        assert a.step == b.step == number
        assert a.completions == b.completions == PROMPTS * SIZE
        assert a.reward == b.reward  # of random rewards: the same stream, problem by problem


@slow
def test_rows_of_the_result() -> None:
    work = step.Work("tiny", tiny(10), (2.5, 2.0), rounds=2, trials=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = step.compare(work, [EXACT, replace(EXACT, rows=16)], memory=False)
    assert [row["peer_settings"]["per_device_train_batch_size"] for row in rows] == [8, 16]
    for row, target in zip(rows, (2.5, 2.0), strict=True):
        assert row["target"] == target and row["pairs"] == 2
        assert 0 < row["low"] <= row["ratio"] <= row["high"]
        assert 0 < row["rollout_share"] < 1 and 0 < row["peer_rollout_share"] < 1
        assert row["optimizer_steps"] == row["peer_optimizer_steps"] == 3
        assert row["completions"] == PROMPTS * SIZE


@slow
def test_what_trl_cannot_do_is_refused(tmp_path: Path) -> None:
    settings = replace(tiny(), optimizer=OptimizerSettings(minibatches=2))
    with pytest.raises(InputError, match="one optimizer step"):
        step_trl.make_trainer(settings, EXACT, str(tmp_path))
    with pytest.raises(InputError, match="do not divide"):
        step_trl.make_trainer(tiny(), replace(EXACT, rows=5), str(tmp_path))


@pytest.mark.slow
def test_memory_is_this_process_s_own() -> None:
    """A child is born with its parent's ru_maxrss; its own highest size is what counts."""
    held = torch.ones(200 * 2**18)  # 200 MiB
    code = "from offleash.jobs.benchmarks.step_sides import *; print(resident_mib(), peak_mib())"
    before, peak = map(
        float, subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    )
    assert 0 < before <= peak < before + 150
    assert peak_mib() >= resident_mib() >= held.nbytes / 2**20


# ------------------------------------------------------------------------------------------------------------- the curves


def test_the_gap_of_curves_is_held_against_the_noise_of_seeds() -> None:
    own = [Curve([0.1, 0.3]), Curve([0.2, 0.4])]
    same = gap(own, [Curve([0.2, 0.3]), Curve([0.2, 0.35])])
    assert same["reward_gap"] == pytest.approx(0.25 - 0.2625) and same["within_noise"]
    assert same["seed_noise"] == pytest.approx(math.sqrt((0.005 + 0.0003125) / 2))
    assert not gap(own, [Curve([0.8, 0.8]), Curve([0.8, 0.8])])["within_noise"]


def test_time_to_a_pass_at_1() -> None:
    curve = Curve(looks=[(5, 1.0, 0.1), (10, 2.0, 0.3), (15, 3.0, 0.2)])
    assert curve.time_to(0.2) == 2.0
    assert math.isnan(curve.time_to(0.5))
