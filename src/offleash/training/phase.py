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
from offleash.training.rollout import Source
from offleash.training.settings import TrainSettings
from offleash.training.update import Updater

if TYPE_CHECKING:
    from offleash.training.loop import Learner


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
        given = (learner.model, learner.tokenizer, sampling, settings.rollout.rows)
        dtype = torch.bfloat16 if settings.bf16 else None
        self.engine = NativeEngine(*given, dtype) if settings.rollout.engine == "native" else HfEngine(*given)
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

    @staticmethod
    def needs_reference(settings: TrainSettings) -> bool:
        """Whether the objective reads a reference model."""
        return get_objective(settings.objective.name, **settings.objective.overrides).needs_ref
