"""The loop: rollout, verdicts, advantages, update, metrics, probe, checkpoint. Read this first.

    for step:  problems -> engine -> completions -> verifier -> verdicts -> objective -> gradient -> new weights

A run is a function of its recipe: problems, samples and batches of step n depend on (seed, n) alone, and what stages and the
guard change at step n is read from the recipe and the events before it. A run that was stopped and resumed therefore writes
the same metrics as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash import nn
from offleash.core import OffleashError
from offleash.store import RunFolder
from offleash.store.checkpoints import damage
from offleash.training import checkpoint
from offleash.training.actions import Action, apply, best_step, stopped_at
from offleash.training.check import check
from offleash.training.interrupt import interruptible
from offleash.training.metrics import Totals, rollout_metrics
from offleash.training.phase import Phase
from offleash.training.references import References
from offleash.training.rollout import collect
from offleash.training.schedule import every_setting, in_force, resets_at, resets_reference
from offleash.training.settings import TrainSettings
from offleash.training.update import make_optimizer

Metrics = dict[str, float]
Event = dict[str, Any]
Probe = Callable[[int, PreTrainedModel, PreTrainedTokenizerBase], Event]


@dataclass
class Hooks:
    """What the caller may attach: a display, a boundary probe, and a guard that reads the probes.

    A probe's result is logged as an event. The guard is given all events after each probe and says what to do; it must be a
    function of the events alone, so that a resumed run does the same.
    """

    on_step: Callable[[int, Metrics, Metrics], None] | None = None
    probe: Probe | None = None
    guard: Callable[[Sequence[Event]], list[Action]] | None = None
    on_event: Callable[[Event], None] | None = None

    def note(self, run: RunFolder, event: Event) -> None:
        """Log an event and tell of it."""
        run.append_event(event)
        if self.on_event:
            self.on_event(event)


@dataclass
class Learner:
    """What a run changes and a checkpoint keeps: the policy, its optimizer, the references of its KL penalty."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    optimizer: torch.optim.Optimizer
    references: References | None


def train(settings: TrainSettings, run: RunFolder, *, resume: bool = False, hooks: Hooks | None = None) -> Path:
    """Train to `settings.steps`, or to where the guard stops; returns the last checkpoint's folder.

    A first SIGINT finishes the step, saves a checkpoint and raises KeyboardInterrupt; a second one stops at once.

    Raises:
        InputError: a recipe field that cannot be used.
        OffleashError: gradients that stay not finite, a disk that is full.
    """
    hooks = hooks or Hooks()
    check(settings)
    learner = _learner(settings)
    found = _resume(hooks, run, learner) if resume else None
    start, remembered = found or (0, {})
    phase = Phase(in_force(settings, start, run.events()), learner, remembered)
    totals = Totals.of(learner.model.num_parameters(), run.metrics() if start else [])
    folder = run.checkpoint_dir(start)
    # A probe is logged before the checkpoint of its step: a kill between the two repeats it, the other way round would lose it.
    if found is None:
        _look(hooks, run, settings, 0, learner)
        checkpoint.save(folder, learner.model, learner.tokenizer, learner.optimizer, {"step": 0})
    if settings.probe.keep_best:
        _name_best(run)
    with interruptible() as interrupted:
        for step in range(start, settings.steps):
            if stopped_at(run.events(), step):
                break
            phase = phase.at(in_force(settings, step, run.events()))
            _reset(hooks, settings, step, learner, run)
            clock = _Clock()
            phase.engine.refresh()
            rollout = collect(phase.source, step)
            clock.lap("rollout_s")
            rows, advantages_PG = phase.updater.rows(rollout, phase.task, learner.tokenizer)
            metrics = {"step": step + 1, **phase.updater.update(rows, step), **rollout_metrics(rollout, advantages_PG)}
            metrics |= totals.add(*phase.updater.tokens(rollout, rows))
            metrics["lr"] = learner.optimizer.param_groups[0]["lr"]
            clock.lap("update_s")
            timings = clock.timings(step + 1, rollout)
            run.append_metrics(metrics)
            run.append_timings(timings)
            if hooks.on_step:
                hooks.on_step(step + 1, metrics, timings)
            looked = _look(hooks, run, settings, step + 1, learner)
            last = step + 1 == settings.steps or bool(interrupted) or stopped_at(run.events(), step + 1)
            best = looked and settings.probe.keep_best and best_step(run.events()) == step + 1
            if last or best or (step + 1) % settings.checkpoint_every == 0:
                folder = run.checkpoint_dir(step + 1)
                state = {"step": step + 1, "objective": phase.updater.state, "of": phase.settings.objective.name}
                checkpoint.save(folder, learner.model, learner.tokenizer, learner.optimizer, state, learner.references)
            if best:
                _name_best(run)
            if interrupted:
                run.append_event(
                    {"step": step + 1, "kind": "interrupted", "message": "stopped by the user; --resume goes on"}
                )
                raise KeyboardInterrupt
    return folder


def _learner(settings: TrainSettings) -> Learner:
    """The model as training starts from it; with references where any part of the run reads one."""
    model, tokenizer = nn.load(settings.model)
    nn.require_plain_head(model)  # otherwise the loss would be that of other logits
    wanted = resets_reference(settings) or any(Phase.needs_reference(s) for s in every_setting(settings))
    references = References(model) if wanted else None
    return Learner(model, tokenizer, make_optimizer(model, settings), references)


def _look(hooks: Hooks, run: RunFolder, settings: TrainSettings, step: int, learner: Learner) -> bool:
    """Probe, and do what the guard says; whether there was a probe."""
    every = settings.probe.every
    if not (hooks.probe and every and (step % every == 0 or step == settings.steps)):
        return False
    hooks.note(run, {"step": step, "kind": "probe", **hooks.probe(step, learner.model, learner.tokenizer)})
    for action in hooks.guard(run.events()) if hooks.guard else ():
        apply(action, learner, run)
        hooks.note(run, {"step": step, "kind": "guard", **action.to_json()})
    return True


def _name_best(run: RunFolder) -> None:
    """Write where the best checkpoint lies; again on a resume, since a kill may have come between the two."""
    step = best_step(run.events())
    if step is not None:
        run.write_json("best.json", {"step": step, "model": str(run.checkpoint_dir(step).relative_to(run.path))})


def _reset(hooks: Hooks, settings: TrainSettings, step: int, learner: Learner, run: RunFolder) -> None:
    """The resets that the recipe schedules before this step."""
    for name in resets_at(settings, step):
        apply(Action(f"reset_{name}", f"the {name} is reset before step {step + 1}, as scheduled"), learner, run)
        hooks.note(run, {"step": step + 1, "kind": "reset", "message": f"{name} reset, as scheduled", "what": name})


def _resume(hooks: Hooks, run: RunFolder, learner: Learner) -> tuple[int, dict[str, Any]] | None:
    """Restore the newest sound checkpoint and drop what was logged after it; its step and state, None where there is none.

    A checkpoint whose files are not as they were written is named in the events, and the one before it taken.
    """
    damaged = []
    for folder in run.checkpoints():
        if found := damage(folder):
            damaged.append(f"checkpoint {folder.name} is damaged: {found}; an earlier one is used")
            continue
        state = checkpoint.restore(folder, learner.model, learner.optimizer, learner.references)
        run.truncate_after(int(state["step"]))
        for message in damaged:
            hooks.note(run, {"step": int(state["step"]), "kind": "warning", "message": message})
        return int(state["step"]), state | {"where": str(folder)}
    if damaged:
        raise OffleashError(
            f"{run.path}: no sound checkpoint is left ({damaged[0]}); start a new run in another folder"
        )
    run.truncate_after(-1)
    return None


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
