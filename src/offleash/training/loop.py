"""The loop: rollout, verdicts, advantages, update, metrics, checkpoint. Read this first.

    for step:  problems -> engine -> completions -> verifier -> verdicts -> objective -> gradient -> new weights

A run is a function of its recipe: problems, samples and batches of step n depend on (seed, n) alone, so a run that was
stopped and resumed writes the same metrics as one that was not.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash import nn, tasks
from offleash.engines import SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.objectives import get as get_objective
from offleash.store import RunFolder
from offleash.training import checkpoint
from offleash.training.check import check
from offleash.training.interrupt import interruptible
from offleash.training.metrics import rollout_metrics
from offleash.training.rollout import collect
from offleash.training.settings import TrainSettings
from offleash.training.update import Updater, make_optimizer

Metrics = dict[str, float]
Probe = Callable[[int, PreTrainedModel, PreTrainedTokenizerBase], dict[str, Any]]


@dataclass
class Hooks:
    """What the caller may attach: a display, and a boundary probe (its result is logged as an event)."""

    on_step: Callable[[int, Metrics, Metrics], None] | None = None
    probe: Probe | None = None


def train(settings: TrainSettings, run: RunFolder, *, resume: bool = False, hooks: Hooks | None = None) -> Path:
    """Train to `settings.steps`; returns the last checkpoint's folder.

    A first SIGINT finishes the step, saves a checkpoint and raises KeyboardInterrupt; a second one stops at once.

    Raises:
        InputError: a recipe field that cannot be used.
        OffleashError: gradients that stay not finite, a disk that is full.
    """
    hooks = hooks or Hooks()
    check(settings)
    task, objective = (
        tasks.get(settings.task.name),
        get_objective(settings.objective.name, **settings.objective.overrides),
    )
    model, tokenizer = nn.load(settings.model)
    reference = copy.deepcopy(model).requires_grad_(False) if objective.needs_ref else None
    optimizer = make_optimizer(model, settings)
    sampling = SamplingSettings(settings.rollout.temperature, settings.rollout.max_completion_length)
    engine = NativeEngine(model, tokenizer, sampling, settings.rollout.rows)
    updater = Updater(model, reference, optimizer, objective, settings, tokenizer.pad_token_id or 0)
    start = _resume(run, model, optimizer, updater) if resume else 0
    folder = run.checkpoint_dir(start)
    # A probe is logged before the checkpoint of its step: a kill between the two repeats it, the other way round would lose it.
    if start == 0:
        _probe(hooks, run, settings, 0, model, tokenizer)
        checkpoint.save(folder, model, tokenizer, optimizer, {"step": 0})
    with interruptible() as interrupted:
        for step in range(start, settings.steps):
            clock = _Clock()
            engine.refresh()
            rollout = collect(task, engine, tokenizer, settings, step)
            clock.lap("rollout_s")
            rows, advantages_PG = updater.rows(rollout, task, tokenizer)
            metrics = {"step": step + 1, **updater.update(rows, step), **rollout_metrics(rollout, advantages_PG)}
            metrics["lr"] = optimizer.param_groups[0]["lr"]
            clock.lap("update_s")
            timings = clock.timings(step + 1, rollout)
            run.append_metrics(metrics)
            run.append_timings(timings)
            if hooks.on_step:
                hooks.on_step(step + 1, metrics, timings)
            _probe(hooks, run, settings, step + 1, model, tokenizer)
            last = step + 1 == settings.steps or bool(interrupted)
            if last or (step + 1) % settings.checkpoint_every == 0:
                folder = run.checkpoint_dir(step + 1)
                state = {"step": step + 1, "objective": updater.state}
                checkpoint.save(folder, model, tokenizer, optimizer, state)
            if interrupted:
                run.append_event(
                    {"step": step + 1, "kind": "interrupted", "message": "stopped by the user; --resume goes on"}
                )
                raise KeyboardInterrupt
    return folder


def _probe(
    hooks: Hooks,
    run: RunFolder,
    settings: TrainSettings,
    step: int,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    every = settings.probe.every
    if hooks.probe and every and (step % every == 0 or step == settings.steps):
        run.append_event({"step": step, "kind": "probe", **hooks.probe(step, model, tokenizer)})


def _resume(run: RunFolder, model: PreTrainedModel, optimizer: torch.optim.Optimizer, updater: Updater) -> int:
    """Restore the newest complete checkpoint and drop what was logged after it; 0 where there is none."""
    folder = run.latest_checkpoint()
    if folder is None:
        run.truncate_after(-1)
        return 0
    state = checkpoint.restore(folder, model, optimizer)
    updater.remember(state.get("objective"), str(folder))
    step = int(state["step"])
    run.truncate_after(step)
    return step


class _Clock:
    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.laps: Metrics = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self.last
        self.last = now

    def timings(self, step: int, rollout: Any) -> Metrics:
        tokens = sum(len(c.token_ids) for c in rollout.completions)
        return {"step": step, **self.laps, "tokens": tokens, "tokens_per_s": tokens / max(1e-9, self.laps["rollout_s"])}
