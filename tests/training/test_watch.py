"""Warnings about rewards that say nothing, once a stretch; and rollouts that are kept, as a store reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offleash import tasks
from offleash.core import Problem, Verdict
from offleash.store import RunFolder, Store
from offleash.tasks.base import _TASKS
from offleash.tasks.countdown import Countdown
from offleash.training import Hooks, TrainSettings, train
from offleash.training.rollout import Rollout
from offleash.training.settings import RewardSettings, RolloutSettings, TaskSettings
from offleash.training.watch import UNDECIDED_STEPS, Watch


class Dying(Countdown):
    """A verifier that is killed by most texts."""

    name = "countdown-dying"

    def verify(self, problem: Problem, text: str) -> Verdict:
        return Verdict(None, 0.0, "", "none", "the worker was killed (memory)", self.verifier_version)


@pytest.fixture
def dying() -> Iterator[str]:
    tasks.register(Dying())
    yield Dying.name
    del _TASKS[Dying.name]


def recipe(steps: int, **changes: Any) -> TrainSettings:
    rollout = RolloutSettings(num_prompts=2, num_generations=4, max_completion_length=12, rows=16)
    settings = TrainSettings(steps=steps, task=TaskSettings(levels=(3,)), rollout=rollout, checkpoint_every=2)
    return replace(settings, **changes)


def said(run: RunFolder) -> list[tuple[int, str]]:
    return [(e["step"], e["message"]) for e in run.events() if e["kind"] == "warning"]


def row(step: int, std: float | None = 0.0, undecided: float = 0.0) -> dict[str, Any]:
    return {"step": step, "reward": 0.0, "reward_std": std, "undecided_share": undecided}


NOTHING = Rollout([], [], [])


def test_a_stretch_of_equal_rewards_is_told_once() -> None:
    stds: list[float | None] = [0.0] * 3 + [0.5] + [0.0] * 7 + [None] + [0.0] * 4
    watch = Watch(4)
    told = [e["step"] for i, std in enumerate(stds) for e in watch.see(row(i, std), NOTHING)]
    assert told == [7, 15]
    assert not any(Watch(0).see(row(i), NOTHING) for i in range(30))


def test_a_verifier_that_decides_less_than_half_is_told_once_a_stretch() -> None:
    shares = [0.6, 0.9, 0.5, 0.6, 0.7, 0.8, 1.0, 0.0, 0.6, 0.6, 0.6]
    watch = Watch(0)
    told = [e["step"] for i, share in enumerate(shares) for e in watch.see(row(i, 0.1, share), NOTHING)]
    assert told == [5, 10] and UNDECIDED_STEPS == 3


def test_a_run_says_it_and_a_resumed_one_does_not_say_it_again(tmp_path: Path) -> None:
    settings = recipe(8, reward=RewardSettings("random", gamma=0.0), warn_after=3)
    whole, half = (RunFolder.create(tmp_path / name, "x: 1\n", {}) for name in ("whole", "half"))
    heard: list[Any] = []
    hooks = Hooks(on_event=heard.append)
    train(settings, whole, hooks=hooks)
    assert [step for step, _ in said(whole)] == [3] == [e["step"] for e in heard]
    assert said(whole)[0][1].startswith("all rewards of a step have been equal (0) for 3 steps")
    train(replace(settings, steps=2), half, hooks=hooks)
    assert said(half) == []
    train(settings, half, resume=True, hooks=hooks)
    assert said(half) == said(whole)
    assert half.metrics() == whole.metrics()


def test_a_verifier_that_dies_is_an_event_with_its_reason(tmp_path: Path, dying: str) -> None:
    run = RunFolder.create(tmp_path / "run", "x: 1\n", {})
    train(recipe(4, task=TaskSettings(dying, levels=(3,))), run)
    ((step, message),) = said(run)
    assert step == 3 and "the worker was killed (memory)" in message
    assert [m["undecided_share"] for m in run.metrics()] == [1.0] * 4


def test_kept_rollouts_are_a_store_of_what_training_saw(tmp_path: Path) -> None:
    settings = recipe(3, reward=RewardSettings("format"), task=TaskSettings(levels=(3,), problems=1))
    settings = replace(settings, rollout=replace(settings.rollout, keep=True))
    whole, half = (RunFolder.create(tmp_path / name, "x: 1\n", {}) for name in ("whole", "half"))
    train(settings, whole)
    store = Store(whole.path)
    labels = ["step_1", "step_2", "step_3"]
    assert [m["label"] for m in store.models()] == labels
    for label, metrics in zip(labels, whole.metrics(), strict=True):
        (count,) = store.counts(store.model(label)["id"])  # a pool of one problem, drawn twice a step
        assert (count.n, count.undecided) == (8, 0)
        assert count.c == round(metrics["accuracy"] * 8)  # what the verifier said, not what was paid
        rewards = [v["reward"] for v in whole.verdicts().to_pylist() if v["model"] == store.model(label)["id"]]
        assert sum(rewards) / 8 == pytest.approx(metrics["reward"])
    texts = {r["text"] for r in whole.samples().to_pylist()}
    (problem,) = (s.problem for s in store.problems())
    task = tasks.get("countdown")
    assert any(task.verify(problem, text).correct for text in texts) or all(m["accuracy"] == 0 for m in whole.metrics())
    # A resumed run drops what lies past its checkpoint and writes the same again.
    train(replace(settings, steps=2), half)
    half.truncate_after(1)
    assert {s["seed"] for s in half.samples().to_pylist()} == {1}
    train(settings, half, resume=True)
    assert half.samples().to_pylist()[-8:] == whole.samples().to_pylist()[-8:]
