"""What a recipe names and is not there, found before anything is written."""

from __future__ import annotations

from offleash import nn, tasks
from offleash.core import InputError
from offleash.objectives import Objective
from offleash.objectives import get as get_objective
from offleash.objectives.preset import example_groups
from offleash.training.groups import check_annotations
from offleash.training.settings import TrainSettings


def check(settings: TrainSettings) -> None:
    """Raise an InputError for what a recipe names and is not there, before anything is written.

    Looks at the model folder, the task with its levels and split, and the objective with its overrides and demonstrations.
    """
    nn.model_folder(settings.model)
    task = tasks.get(settings.task.name)
    for level in settings.task.levels:
        task.generate((settings.seed, "check"), level, settings.task.split)
    objective = get_objective(settings.objective.name, **settings.objective.overrides)
    if settings.external.per_group and not objective.uses_external:
        raise InputError(
            f"external.per_group: objective {settings.objective.name} has no rule for demonstrations; set it to 0, or use "
            "rl-plus, luffy, sft or grpo+sft-loss"
        )
    if objective.needs_external and not settings.external.per_group:
        raise InputError(
            f"external.per_group: 0, but objective {settings.objective.name} learns from demonstrations; set it to 1"
        )
    check_annotations(objective, task, settings.task.strategic_grams)
    _check_group_sizes(objective, settings)


def _check_group_sizes(objective: Objective, settings: TrainSettings) -> None:
    """One computation of advantages of the step's size: groups too small, bundles that do not fit."""
    size = settings.rollout.num_generations + settings.external.per_group
    group = example_groups(objective, settings.rollout.num_prompts, size)
    objective.advantages(objective.prepare(group)[0])
