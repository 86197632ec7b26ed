"""What a recipe names and is not there, found before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from offleash import nn, tasks
from offleash.core import InputError, Problem
from offleash.engines import get as get_engine
from offleash.engines.native.limits import context_length
from offleash.objectives import Objective
from offleash.objectives import get as get_objective
from offleash.objectives.preset import example_groups, find_preset
from offleash.tasks import Task
from offleash.tasks.worlds import World
from offleash.training import lora
from offleash.training.demonstrations import make_demonstrations
from offleash.training.groups import check_annotations
from offleash.training.problems import make_problems
from offleash.training.schedule import check_every, every_setting, resets_reference
from offleash.training.settings import TrainSettings

PROMPTS = 16
"""Prompts of each level whose length is looked at."""


def check(settings: TrainSettings, *, without_model: bool = False) -> None:
    """Raise an InputError for what a recipe names and is not there, before anything is written.

    Looks at the model folder, the task with its levels and split, whether prompts and completions fit the model, and the
    objective with its overrides, demonstrations and group size; in every stage and after every change of the guard. With
    `without_model` all but the model, and what has to fit it: for a recipe that is read where its model is not.
    """

    def check_part(part: TrainSettings) -> None:
        _check(part, without_model)
        _check_adamw(settings, part)

    check_every(settings, check_part)
    _check_returns(settings)
    if not without_model:
        lora.check(settings.lora, nn.load_outline(settings.model)[0])


def _check(settings: TrainSettings, without_model: bool) -> None:
    if settings.rollout.engine == "server" and (missing := get_engine("openai").missing()):
        raise InputError(f"rollout.engine: {missing}")
    outline = None if without_model else nn.load_outline(settings.model)
    with _field("task.name"):
        task = tasks.get(settings.task.name)
    problems = _problems(task, settings)
    objective = _objective(settings)
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
        _check_lengths(*outline, [p.prompt for p in problems], settings.rollout.max_completion_length)
    check_annotations(objective, task, settings.task.strategic_grams)
    demonstrations = make_demonstrations(task, settings)
    pool = make_problems(task, settings, demonstrations).pool
    if outline and demonstrations and not isinstance(task, World):  # an episode is tokenized turn by turn
        looked_at = pool if demonstrations.texts is not None else (pool or problems)[:PROMPTS]
        _check_demonstrations(*outline, settings.external.source, demonstrations.pairs(looked_at))
    _check_group_sizes(objective, settings)


@contextmanager
def _field(name: str) -> Iterator[None]:
    """Complaints of a room that knows no recipes, with the field they are of."""
    try:
        yield
    except InputError as error:
        said = str(error)
        inner = name == "objective.overrides" and re.match(r"\w+: ", said)
        raise InputError(f"{name}.{said}" if inner else f"{name}: {said}") from error


def _problems(task: Task, settings: TrainSettings) -> list[Problem]:
    for level in settings.task.levels:
        if level not in task.levels:
            raise InputError(
                f"task.levels: {task.name} has no level {level}; levels: {', '.join(map(str, task.levels))}"
            )
    try:
        return [
            task.generate((settings.seed, "check", i), level, settings.task.split)
            for level in settings.task.levels
            for i in range(PROMPTS)
        ]
    except InputError as error:  # the split, or what the task as a whole lacks
        raise InputError(f"task.{'split' if 'split' in str(error) else 'name'}: {error}") from error


def _objective(settings: TrainSettings) -> Objective:
    name, overrides = settings.objective.name, settings.objective.overrides
    with _field("objective.name"):
        find_preset(name)
    with _field("objective.overrides" if overrides else "objective.name"):
        return get_objective(name, **overrides)


def _check_adamw(settings: TrainSettings, part: TrainSettings) -> None:
    """AdamW is made once: a stage that names another beta would train with the first one and not say so."""
    for name in ("betas", "eps", "weight_decay"):
        value, changed = getattr(settings.optimizer, name), getattr(part.optimizer, name)
        if changed != value:
            raise InputError(
                f"optimizer.{name}: a stage or the guard changes it to {changed}, but it is of the whole run ({value}); "
                "change learning_rate, max_grad_norm or minibatches instead, or set it for the whole run"
            )


def _check_returns(settings: TrainSettings) -> None:
    """Whether there is a reference for a guard that returns to it."""
    read = any(get_objective(s.objective.name, **s.objective.overrides).needs_ref for s in every_setting(settings))
    if read or resets_reference(settings):
        return
    for i, rule in enumerate(settings.guard):
        if "return_to_reference" in rule.do:
            raise InputError(
                f"guard.{i}.do: return_to_reference, but no objective of the run has a reference; give one a KL penalty "
                "(objective.overrides.kl_beta), or use return_to_best with probe.keep_best: true"
            )


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


def _check_demonstrations(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, source: str, pairs: list[tuple[str, str]]
) -> None:
    """Prompts, texts and the end token of each have to fit: what is too long has no positions, and nothing else cuts it."""
    context = context_length(config)
    prompts = tokenizer([prompt for prompt, _ in pairs])["input_ids"]
    texts = tokenizer([text for _, text in pairs], add_special_tokens=False)["input_ids"]
    lengths = [len(prompt) + len(text) + 1 for prompt, text in zip(prompts, texts, strict=True)]
    long = sum(length > context for length in lengths)
    if long:
        raise InputError(
            f"external.source: {long} of {len(pairs)} texts of {source} exceed, with their prompts, the model's context of "
            f"{context} tokens (the longest has {max(lengths)}); leave them out, or use a model with a longer context"
        )
