"""The loop: rollout, verdicts, advantages, update, metrics, probe, checkpoint. Read this first.

    for step:  problems -> engine -> completions -> verifier -> verdicts -> objective -> gradient -> new weights

A run is a function of its recipe: problems, samples and batches of step n depend on (seed, n) alone, and what stages and the
guard change at step n is read from the recipe and the events before it. A run that was stopped and resumed therefore writes
the same metrics as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash import nn
from offleash.core import OffleashError
from offleash.store import RunFolder
from offleash.store.checkpoints import all_named, complete, damage
from offleash.training import checkpoint, lora
from offleash.training.actions import Action, apply, best_step, stopped_at
from offleash.training.check import check
from offleash.training.interrupt import interruptible
from offleash.training.keep import keep
from offleash.training.metrics import Totals, rollout_metrics
from offleash.training.phase import Phase
from offleash.training.processes import ALONE, Processes, start, zero_wanted
from offleash.training.references import References
from offleash.training.rollout import Rollout
from offleash.training.schedule import every_setting, in_force, resets_at, resets_reference, stage_of
from offleash.training.settings import ServerSettings, TrainSettings
from offleash.training.sharding import check_launch, shard
from offleash.training.update import make_optimizer
from offleash.training.watch import Watch
from offleash.training.zero import Zero

if TYPE_CHECKING:
    from offleash.training.server import Link

Metrics = dict[str, float]
Event = dict[str, Any]
Probe = Callable[[int, PreTrainedModel, PreTrainedTokenizerBase], Event]
LAUNCHER_PAUSE = 3.0
"""Seconds in which a launcher passes on the SIGINT that the terminal has sent to everyone already."""


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
    watch: Watch | None = field(default=None, init=False)
    """How long the rewards have said nothing; of one run, and read from its metrics when it goes on."""

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
    processes: Processes = ALONE
    links: dict[ServerSettings, Link] = field(default_factory=dict)
    """Of a run whose completions a server draws: the servers it has given weights."""
    tell: Callable[[int, str], None] = lambda step, message: None
    """Hears of a server that is waited for."""

    def save(self, folder: Path, state: Event) -> None:
        """Write a checkpoint."""
        parts = (self.model, self.tokenizer, self.optimizer, state, self.references, self.processes)
        checkpoint.save(folder, *parts)


def train(settings: TrainSettings, run: RunFolder, *, resume: bool = False, hooks: Hooks | None = None) -> Path:
    """Train to `settings.steps`, or to where the guard stops; returns the last checkpoint's folder.

    A first SIGINT finishes the step, saves a checkpoint and raises KeyboardInterrupt; a second one stops at once. Under a
    launcher (processes.py) all processes call this; `share` is what the main one reads or writes for all.

    Raises:
        InputError: a recipe field that cannot be used.
        OffleashError: gradients that stay not finite, a disk that is full.
    """
    hooks = replace(hooks) if hooks else Hooks()
    processes = start()
    share = processes.share
    processes.agree(lambda: check(settings))
    learner = _learner(settings, processes)
    learner.tell = partial(_warn, hooks, run)
    found = _resume(hooks, run, learner) if resume else None
    first, remembered = found or (0, {})
    phase = Phase(share(lambda: in_force(settings, first, run.events())), learner, remembered)
    totals = Totals.of(learner.model.num_parameters(), share(lambda: run.metrics()[-1:]) if first else [])
    folder = run.checkpoint_dir(first)
    # A probe is logged before the checkpoint of its step: a kill between the two repeats it, the other way round would lose it.
    if found is None:
        _look(hooks, run, settings, 0, learner)
        learner.save(folder, {"step": 0})
    if settings.probe.keep_best:
        share(lambda: _name_best(run))
    with interruptible(LAUNCHER_PAUSE if processes.count > 1 else 0.0) as interrupted:
        for step in range(first, settings.steps):
            stopped, now = share(partial(_before, run, settings, step))
            if stopped:
                break
            phase = phase.at(now)
            _reset(hooks, settings, step, learner, run)
            clock = _Clock()
            rollout = _rollout(run, phase, learner, step)
            clock.lap("rollout_s")
            rows, advantages_PG = phase.updater.rows(rollout, phase.task, learner.tokenizer)
            metrics = {"step": step + 1, **phase.updater.update(rows, step), **rollout_metrics(rollout, advantages_PG)}
            metrics |= phase.measured | totals.add(*phase.updater.tokens(rollout, rows))
            metrics["lr"] = learner.optimizer.param_groups[0]["lr"]
            clock.lap("update_s")
            share(partial(_log, hooks, run, metrics, clock.timings(step + 1, rollout), rollout, phase))
            looked = _look(hooks, run, settings, step + 1, learner)
            stopping = processes.any(bool(interrupted))
            stopped, best = share(partial(_after, run, step + 1))
            best = best and looked and settings.probe.keep_best
            if stopping or stopped or best or step + 1 == settings.steps or (step + 1) % settings.checkpoint_every == 0:
                folder = run.checkpoint_dir(step + 1)
                learner.save(folder, phase.state(step + 1))
            if best:
                share(lambda: _name_best(run))
            if stopping:
                message = "stopped by the user; --resume goes on"
                share(partial(run.append_event, {"step": step + 1, "kind": "interrupted", "message": message}))
                raise KeyboardInterrupt
    return folder


def _learner(settings: TrainSettings, processes: Processes) -> Learner:
    """The model as training starts from it; with references where any part of the run reads one."""

    def load() -> tuple[PreTrainedModel, PreTrainedTokenizerBase, References | None]:
        check_launch(settings, processes)
        model, tokenizer = nn.load(settings.model)
        nn.require_plain_head(model)  # otherwise the loss would be that of other logits
        if processes.device is not None:
            model.to(processes.device)  # type: ignore[arg-type]
        lora.add_adapters(model, settings.lora, settings.seed, settings.model)
        wanted = resets_reference(settings) or any(Phase.needs_reference(s) for s in every_setting(settings))
        return model, tokenizer, References(model) if wanted else None

    model, tokenizer, references = processes.agree(load)
    if processes.sharded:
        shard(model, processes)
    optimizer = make_optimizer(model, settings)
    if zero_wanted() and processes.device is not None:
        processes.zero = Zero(model, optimizer, settings.optimizer, processes.device)
    return Learner(model, tokenizer, optimizer, references, processes)


def _rollout(run: RunFolder, phase: Phase, learner: Learner, step: int) -> Rollout:
    """The step's experience. Where it cannot be had (a server is lost), what was trained is saved before the run ends."""
    try:
        return phase.rollout(step)
    except OffleashError:
        folder = run.checkpoint_dir(step)
        served = phase.settings.rollout.engine == "server"
        if served and learner.processes.count == 1 and not complete(folder, step):
            learner.save(folder, phase.state(step))
        raise


def _warn(hooks: Hooks, run: RunFolder, step: int, message: str) -> None:
    hooks.note(run, {"step": step, "kind": "warning", "message": message})


def _log(hooks: Hooks, run: RunFolder, metrics: Metrics, timings: Metrics, rollout: Rollout, phase: Phase) -> None:
    if phase.settings.rollout.keep:
        keep(run, int(metrics["step"]), rollout, phase.engine.settings(), phase.task.verifier_version)
    hooks.watch = hooks.watch or Watch.of(phase.settings.warn_after, run.metrics())
    run.append_metrics(metrics)
    run.append_timings(timings)
    for warning in hooks.watch.see(metrics, rollout):
        hooks.note(run, warning)
    if hooks.on_step:
        hooks.on_step(int(metrics["step"]), metrics, timings)


def _before(run: RunFolder, settings: TrainSettings, step: int) -> tuple[bool, TrainSettings]:
    """Whether the guard has stopped the run, and what is in force at this step."""
    events = run.events()
    return stopped_at(events, step), in_force(settings, step, events)


def _after(run: RunFolder, step: int) -> tuple[bool, bool]:
    """Whether the guard has stopped the run, and whether this step's probe is the best."""
    events = run.events()
    return stopped_at(events, step), best_step(events) == step


def _look(hooks: Hooks, run: RunFolder, settings: TrainSettings, step: int, learner: Learner) -> bool:
    """Probe, and do what the guard says; whether there was a probe."""
    every, share = settings.probe.every, learner.processes.share
    if not (hooks.probe and every and (step % every == 0 or step == settings.steps)):
        return False
    found = hooks.probe(step, learner.model, learner.tokenizer)
    share(lambda: hooks.note(run, {"step": step, "kind": "probe", **found}))
    for action in share(lambda: hooks.guard(run.events()) if hooks.guard else []):
        apply(action, learner, run)
        share(partial(hooks.note, run, {"step": step, "kind": "guard", **action.to_json()}))
    return True


def _name_best(run: RunFolder) -> None:
    """Write where the best checkpoint lies; again on a resume, since a kill may have come between the two."""
    step = best_step(run.events())
    if step is not None:
        run.write_json("best.json", {"step": step, "model": str(run.checkpoint_dir(step).relative_to(run.path))})


def _reset(hooks: Hooks, settings: TrainSettings, step: int, learner: Learner, run: RunFolder) -> None:
    """What the recipe schedules before this step: a new stage, resets."""
    stage, begins = stage_of(settings, step)
    if stage and step == begins:
        event = {"step": step + 1, "kind": "stage", "message": f"stage {stage + 1} begins", "what": stage + 1}
        learner.processes.share(partial(hooks.note, run, event))
    for name in resets_at(settings, step):
        apply(Action(f"reset_{name}", f"the {name} is reset before step {step + 1}, as scheduled"), learner, run)
        event = {"step": step + 1, "kind": "reset", "message": f"{name} reset, as scheduled", "what": name}
        learner.processes.share(partial(hooks.note, run, event))


def _resume(hooks: Hooks, run: RunFolder, learner: Learner) -> tuple[int, dict[str, Any]] | None:
    """Restore the newest sound checkpoint and drop what was logged after it; its step and state, None where there is none.

    A checkpoint whose files are not as they were written is named in the events, and the one before it taken.
    """
    processes = learner.processes
    folder, messages = processes.share(lambda: _newest(run))
    if folder is None:
        processes.share(lambda: run.truncate_after(-1))
        return None
    parts = (learner.model, learner.optimizer, learner.references, processes)
    state = processes.agree(lambda: checkpoint.restore(folder, *parts))
    step, before = int(state["step"]), int(state.get("processes", 1))
    if before != processes.count:
        messages.append(
            f"resumed with {processes.count} processes, {before} wrote the checkpoint: gradients are the same up to rounding, "
            "so what follows is not to the bit what the others would have made of it"
        )

    def go_on() -> None:
        run.truncate_after(step)
        for message in messages:
            hooks.note(run, {"step": step, "kind": "warning", "message": message})

    processes.share(go_on)
    return step, state | {"where": str(folder)}


def _newest(run: RunFolder) -> tuple[Path | None, list[str]]:
    """The newest sound checkpoint, and what is said of damaged ones."""
    damaged: list[str] = []
    for step, folder in all_named(run.path / "checkpoints"):
        found = damage(folder) or ("" if complete(folder, step) else "a file is missing or truncated")
        if not found:
            return folder, damaged
        damaged.append(f"checkpoint {folder.name} is damaged: {found}; an earlier one is used")
    if damaged:
        raise OffleashError(
            f"{run.path}: no sound checkpoint is left ({damaged[0]}); start a new run in another folder"
        )
    if logged := run.metrics():
        raise OffleashError(
            f"{run.path}: {len(logged)} steps are logged, but there is no checkpoint to go on from; put one back into "
            "checkpoints/, or start a new run in another folder"
        )
    return None, []


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
