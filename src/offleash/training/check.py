"""What a recipe names and is not there, found before anything is written."""

from __future__ import annotations

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from offleash import nn, tasks
from offleash.core import InputError
from offleash.engines.native.limits import context_length
from offleash.objectives import Objective
from offleash.objectives import get as get_objective
from offleash.objectives.preset import example_groups
from offleash.training import lora
from offleash.training.demonstrations import make_demonstrations
from offleash.training.groups import check_annotations
from offleash.training.problems import make_problems
from offleash.training.schedule import every_setting
from offleash.training.settings import TrainSettings

PROMPTS = 16
"""Prompts of each level whose length is looked at."""


def check(settings: TrainSettings, *, without_model: bool = False) -> None:
    """Raise an InputError for what a recipe names and is not there, before anything is written.

    Looks at the model folder, the task with its levels and split, whether prompts and completions fit the model, and the
    objective with its overrides, demonstrations and group size; in every stage and after every change of the guard. With
    `without_model` all but the model, and what has to fit it: for a recipe that is read where its model is not.
    """
    for part in every_setting(settings):
        _check(part, without_model)
    if not without_model:
        lora.check(settings.lora, nn.load_outline(settings.model)[0])


def _check(settings: TrainSettings, without_model: bool) -> None:
    outline = None if without_model else nn.load_outline(settings.model)
    task = tasks.get(settings.task.name)
    prompts = [
        task.generate((settings.seed, "check", i), level, settings.task.split).prompt
        for level in settings.task.levels
        for i in range(PROMPTS)
    ]
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
    if objective.settings["sft_coef"] and not settings.external.per_group:
        raise InputError("external.per_group: 0, but objective.overrides.sft_coef imitates demonstrations; set it to 1")
    if outline and (settings.rollout.num_generations or settings.probe.every):
        _check_lengths(*outline, prompts, settings.rollout.max_completion_length)
    check_annotations(objective, task, settings.task.strategic_grams)
    make_problems(task, settings, make_demonstrations(task, settings))
    _check_group_sizes(objective, settings)


def _check_group_sizes(objective: Objective, settings: TrainSettings) -> None:
    """One computation of advantages of the step's size: groups too small, bundles that do not fit."""
    size = settings.rollout.num_generations + settings.external.per_group
    group = example_groups(objective, settings.rollout.num_prompts, size)
    try:
        objective.advantages(objective.prepare(group)[0])
    except InputError as error:
        where = "rollout" if str(error).startswith("num_") else "objective.overrides"
        raise InputError(f"{where}.{error}") from error


def _check_lengths(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, prompts: list[str], max_completion_length: int
) -> None:
    context, longest = context_length(config), max(map(len, tokenizer(prompts)["input_ids"]))
    if longest + max_completion_length > context:
        raise InputError(
            f"rollout.max_completion_length: {max_completion_length} and a prompt of {longest} tokens exceed the model's "
            f"context of {context}; lower it, or use a model with a longer context"
        )
