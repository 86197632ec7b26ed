"""The parts of a run that follow from the settings in force: task, engine, objective. A stage or the guard replaces them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from offleash import tasks
from offleash.engines import SamplingSettings
from offleash.engines.episodes import stops_of
from offleash.engines.hf import HfEngine
from offleash.engines.native import NativeEngine
from offleash.objectives import get as get_objective
from offleash.training.demonstrations import make_demonstrations
from offleash.training.problems import make_problems
from offleash.training.rollout import Rollout, Source, collect
from offleash.training.settings import TrainSettings
from offleash.training.update import Updater

if TYPE_CHECKING:
    from offleash.training.loop import Learner
    from offleash.training.server import Served


class Phase:
    """A stretch of steps with the same settings."""

    def __init__(self, settings: TrainSettings, learner: Learner, remembered: dict[str, Any]) -> None:
        """Build the parts.

        Args:
            settings: in force.
            learner: what they train.
            remembered: the state of a checkpoint; its objective's memory is taken up where it is this objective's.
        """
        self.settings, self.learner = settings, learner
        self.task = tasks.get(settings.task.name)
        demonstrations = make_demonstrations(self.task, settings)
        rollout = settings.rollout
        sampling = SamplingSettings(rollout.temperature, rollout.max_completion_length, stops_of(self.task))
        self.engine = _engine(settings, learner, sampling)
        self.measured: dict[str, float] = {}
        """Of the last rollout, what only a server's has: how far its log-probs are from the trainer's."""
        problems = make_problems(self.task, settings, demonstrations)
        self.source = Source(problems, self.engine, learner.tokenizer, demonstrations, learner.processes)
        objective = get_objective(settings.objective.name, **settings.objective.overrides)
        self.updater = Updater(
            learner.model,
            learner.references,
            learner.optimizer,
            objective,
            settings,
            learner.tokenizer.pad_token_id or 0,
            learner.processes,
        )
        if remembered.get("of", settings.objective.name) == settings.objective.name and "objective" in remembered:
            self.updater.remember(remembered["objective"], remembered["where"])

    def at(self, settings: TrainSettings) -> Phase:
        """This phase while its settings are in force, else the next one; the same objective keeps what it remembers."""
        if settings == self.settings:
            return self
        bad_steps = self.updater.bad_steps
        made = Phase(settings, self.learner, {})
        made.updater.bad_steps = bad_steps
        if settings.objective == self.settings.objective:
            made.updater.state = self.updater.state
        return made

    def rollout(self, step: int) -> Rollout:
        """A step's experience under the present weights; of a server, compared with what the trainer makes of it."""
        if isinstance(self.engine, NativeEngine | HfEngine):
            self.engine.refresh()
            return collect(self.source, step)
        if self.settings.rollout.num_generations:
            self.engine.refresh(step)
        found, self.measured = self.engine.checked(collect(self.source, step), self.updater)
        return found

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint after so many steps remembers of this phase."""
        return {"step": step, "objective": self.updater.state, "of": self.settings.objective.name}

    @staticmethod
    def needs_reference(settings: TrainSettings) -> bool:
        """Whether the objective reads a reference model."""
        return get_objective(settings.objective.name, **settings.objective.overrides).needs_ref


def _engine(settings: TrainSettings, learner: Learner, sampling: SamplingSettings) -> NativeEngine | HfEngine | Served:
    given = (learner.model, learner.tokenizer, sampling, settings.rollout.rows)
    if settings.rollout.engine == "native":
        return NativeEngine(*given, torch.bfloat16 if settings.bf16 else None)
    if settings.rollout.engine == "hf":
        return HfEngine(*given)
    from offleash.training.server import Served, link_of  # its HTTP client is an extra

    return Served(link_of(learner, settings.rollout.server), learner, settings.rollout, sampling)
