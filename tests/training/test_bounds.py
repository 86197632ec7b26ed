"""Numbers out of bounds are refused as the recipe is read, by field and with the mend."""

from __future__ import annotations

import math
import re
from dataclasses import asdict

import pytest

from offleash.core import InputError
from offleash.jobs.recipe import parse_recipe
from offleash.training import TrainSettings, check
from offleash.training.bounds import AT_LEAST
from offleash.training.settings import GuardSettings, ProbeSettings, TaskSettings

PROBED = "probe: {every: 2}"


@pytest.mark.parametrize(("name", "least"), AT_LEAST.items())
def test_each_field_has_its_least(name: str, least: int) -> None:
    with pytest.raises(
        InputError, match=rf"{re.escape(name)}: {least - 1}(\.0)? is below {least}; give {least} or more"
    ):
        parse_recipe("steps: 4", TrainSettings, [f"{name}={least - 1}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer: {betas: [0.9, 1.0]}", "optimizer.betas: 1.0 is not from 0 to below 1"),
        ("optimizer: {betas: [-0.1, 0.9]}", "optimizer.betas: -0.1"),
        ("optimizer: {eps: 0.0}", "optimizer.eps: 0.0 is not above 0"),
        ("optimizer: {learning_rate: .inf}", "optimizer.learning_rate: inf is not above 0"),
        ("optimizer: {max_grad_norm: 0.0}", "optimizer.max_grad_norm: 0.0"),
        ("lora: {alpha: 0.0}", "lora.alpha: 0.0 is not above 0"),
        ("probe: {every: 2, samples: 0}", "probe.samples: 0 is below 1"),
        ("probe: {every: 2, problems: 0}", "probe.problems: 0 is below 1"),
        (f"{PROBED}\nguard: [{{when: plateau, patience: 0}}]", "guard.0.patience: 0 is below 1"),
        (f"{PROBED}\nguard: [{{when: plateau}}, {{when: plateau, times: 0}}]", "guard.1.times: 0 is below 1"),
        (f"{PROBED}\nguard: [{{when: plateau, do: []}}]", "guard.0.do: empty; name at least one of warn, stop"),
        (f"{PROBED}\nguard: [{{when: narrowed, do: [return_to_best]}}]", "probe.keep_best is false"),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        parse_recipe(f"steps: 4\n{text}", TrainSettings)


def numbers(value: object, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [prefix] if isinstance(value, int | float) and not isinstance(value, bool) else []
    return [name for key, inner in value.items() for name in numbers(inner, f"{prefix}.{key}".lstrip("."))]


@pytest.mark.parametrize("name", numbers(asdict(TrainSettings(steps=4, probe=ProbeSettings(2)))))
def test_no_number_of_a_recipe_may_be_anything(name: str) -> None:
    if name == "seed":
        assert parse_recipe("steps: 4", TrainSettings, ["seed=-1"]).seed == -1
        return
    with pytest.raises(InputError, match=re.escape(name)):
        parse_recipe(f"steps: 4\n{PROBED}", TrainSettings, [f"{name}=-1"])


@pytest.mark.parametrize("name", numbers(asdict(GuardSettings("narrowed"))))
def test_no_number_of_a_rule_may_be_anything(name: str) -> None:
    with pytest.raises(InputError, match=f"guard.0.{name}"):
        parse_recipe(f"steps: 4\n{PROBED}\nguard: [{{when: narrowed, {name}: -1}}]", TrainSettings)


def test_the_bounds_themselves_are_in() -> None:
    text = "steps: 1\noptimizer: {betas: [0.0, 0.0], max_grad_norm: .inf}\nprobe: {samples: 0}"
    assert parse_recipe(text, TrainSettings).optimizer.max_grad_norm == math.inf


def test_a_return_to_the_reference_needs_one() -> None:
    def recipe(do: tuple[str, ...], change: dict[str, object]) -> TrainSettings:
        rule = GuardSettings("plateau", do, change)
        return TrainSettings(steps=4, task=TaskSettings(levels=(3,)), probe=ProbeSettings(2), guard=(rule,))

    with pytest.raises(InputError, match=r"guard.0.do: return_to_reference, but no objective .* has a reference"):
        check(recipe(("return_to_reference",), {}), without_model=True)
    penalty = {"objective": {"name": "grpo", "overrides": {"kl_beta": 0.1}}}
    check(recipe(("return_to_reference", "change"), penalty), without_model=True)
    check(recipe(("return_to_reference", "reset_reference"), {}), without_model=True)
