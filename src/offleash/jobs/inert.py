"""Parts of a recipe that change nothing as they stand: said by `train --dry-run`, since a method may be off without a word."""

from __future__ import annotations

from offleash import tasks
from offleash.jobs.guard import planned_looks
from offleash.objectives import get as get_objective
from offleash.training import TrainSettings
from offleash.training.demonstrations import make_demonstrations
from offleash.training.schedule import every_setting, resets_reference, stage_of
from offleash.training.settings import LoraSettings, ProbeSettings, ServerSettings


def inert(settings: TrainSettings) -> list[str]:
    """A line for each; the stage is named where only one has it."""
    found: dict[str, None] = {}
    for part in every_setting(settings):
        found |= dict.fromkeys([*_of(part), *wrong_demonstrations(part)])
    return [*found, *_of_run(settings)]


def _of(settings: TrainSettings) -> list[str]:
    objective = get_objective(settings.objective.name, **settings.objective.overrides)
    name, found = settings.objective.name, []
    if settings.optimizer.minibatches == 1:
        found.append(
            f"optimizer.minibatches is 1: every importance ratio is 1, so what {name} does with ratios (clipping, caps, masks by "
            "ratio or by covariance) never acts; compare methods with 2 or more"
        )
    if name == "sft" and settings.rollout.num_generations:
        found.append("objective sft reads demonstrations only: rollout.num_generations only costs time; set it to 0")
    if settings.reward.arm != "random" and settings.reward.gamma != 0.5:
        found.append(f"reward.gamma is read by the arm random only; reward.arm is {settings.reward.arm}")
    if settings.rollout.max_rounds > 1 and not settings.rollout.num_generations:
        found.append("rollout.max_rounds: nothing is sampled, so there is nothing to draw again")
    if settings.reward.arm != "correct" and not settings.rollout.num_generations:
        found.append(f"reward.arm {settings.reward.arm}: nothing is sampled, and demonstrations keep their own reward")
    if objective.uses_external and not settings.external.per_group:
        found.append(
            f"external.per_group is 0: objective {name} has a rule for demonstrations, and there are none; set it to 1 or more"
        )
    if settings.rollout.engine != "server" and settings.rollout.server != ServerSettings():
        found.append(f"rollout.engine is {settings.rollout.engine}: the fields of rollout.server are not read")
    if settings.task.strategic_grams and "planning" not in objective.needs:
        found.append(f"task.strategic_grams: objective {name} does not read what plans (hicra does)")
    return found


def _of_run(settings: TrainSettings) -> list[str]:
    found = []
    reads = any(get_objective(p.objective.name, **p.objective.overrides).needs_ref for p in every_setting(settings))
    if resets_reference(settings) and not reads:
        found.append(
            "the reference is reset, but no objective of the run pulls towards it (kl_beta is 0): only kl_reference moves"
        )
    if not settings.lora.rank and settings.lora != LoraSettings():
        found.append("lora.rank is 0: the other fields of lora are not read, all weights are trained")
    probe = settings.probe
    if not probe.every and probe != ProbeSettings():
        found.append("probe.every is 0: the other fields of probe are not read")
    never = [n for n in ("reference_every", "optimizer_every") if getattr(settings.resets, n) >= settings.steps > 0]
    found += [f"resets.{n} is not below steps ({settings.steps}): it never comes to pass" for n in never]
    last = stage_of(settings, settings.steps - 1)[1]
    if settings.probe.every > settings.steps - last and settings.stages:
        found.append(f"probe.every {settings.probe.every} is longer than the last stage: it is probed at its end only")
    return found + _of_guard(settings)


def _of_guard(settings: TrainSettings) -> list[str]:
    found, every = [], settings.probe.every
    if settings.guard and every >= settings.steps:
        found.append(
            f"probe.every {every} is not below steps ({settings.steps}): the guard looks after the last step only, when no "
            "training follows"
        )
    for i, rule in enumerate(settings.guard):
        looks = planned_looks(settings)
        if rule.when == "plateau" and rule.patience > looks:
            found.append(
                f"guard.{i}.patience is {rule.patience}, and there are {looks} probes after that of step 0: the rule never acts"
            )
    return found


def wrong_demonstrations(settings: TrainSettings) -> list[str]:
    """A line where the task's verifier calls demonstrations wrong, of the first that there are."""
    demonstrations = make_demonstrations(tasks.get(settings.task.name), settings)
    wrong, looked_at = demonstrations.wrong() if demonstrations else (0, 0)
    if not wrong:
        return []
    return [
        f"external.source: the verifier of {settings.task.name} calls {wrong} of {looked_at} demonstrations looked at wrong; "
        "external_accuracy is logged at every step"
    ]
