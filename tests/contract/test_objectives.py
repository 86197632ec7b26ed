"""The contract of every objective: each preset passes the checks that its claims call for, and inherits them all."""

from __future__ import annotations

import sys
import types
from dataclasses import fields, replace

import pytest
import torch

from offleash.core import InputError
from offleash.objectives import PRESETS, Claims, Preset, TokenBatch, get
from offleash.objectives.checks import CHECKS, applicable, example, gradient
from offleash.objectives.preset import find_preset

LONG = ("biased", "unbiased", "batches")
"""Exact expectations over all groups, and splits into batches: over half the time of this file. The fast tests have grpo's and rloo's."""
ROWS = [
    pytest.param(preset, check, marks=pytest.mark.slow if check in LONG and preset not in ("grpo", "rloo") else ())
    for preset in PRESETS
    for check in applicable(PRESETS[preset])
]
FIELD = (
    "grpo dr-grpo dapo rloo reinforce reinforce++ reinforce++-baseline prorl prorl-v2 scale-rl bnpo "
    "grpo-n gspo-n nsr psr w-reinforce gspo gspo-token cispo gppo gppo+nll-loss clip-cov kl-cov "
    "hicra 80-20 grpo+entropy-bonus skywork-or1 pass-at-k pkpo max-rl unlikeliness outcome-batch outcome-ucb darling qae "
    "riskpo rlvmr gigpo dro grpo+tis grpo+mis icepop rl-plus luffy mixed-policy external-ratio sft grpo+sft-loss "
    "rejection-sampling"
)


@pytest.mark.parametrize(("preset", "check"), ROWS)
def test_row_holds(preset: str, check: str) -> None:
    CHECKS[check].run(PRESETS[preset])


def test_the_rows_of_the_field_are_there() -> None:
    assert set(FIELD.split()) <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_row_says_where_it_comes_from(name: str) -> None:
    preset = PRESETS[name]
    assert name == name.lower()
    assert preset.name == name
    for text in (preset.paper, preset.equation, preset.formula, preset.when):
        assert text


@pytest.mark.parametrize("name", PRESETS)
def test_released_settings_build_and_run(name: str) -> None:
    e = example(PRESETS[name], **PRESETS[name].released)
    loss, grad, _, _ = gradient(e.objective, e.batch, e.denominator)
    assert loss.isfinite()
    assert grad.isfinite().all()


def test_every_boolean_claim_is_made_by_some_row_and_not_by_another() -> None:
    for field in fields(Claims):
        values = {bool(getattr(p.claims, field.name)) for p in PRESETS.values()}
        not_yes_or_no = ("unbiased_factor", "smallest_group", "shown_at")
        if field.name not in (*not_yes_or_no, "micro_batch_invariant", "vmap"):
            assert values == {True, False}, field.name


WRONG_CLAIMS = [
    ("grpo", {"unbiased_for": "J"}, "unbiased"),
    ("dr-grpo", {"unbiased_factor": "1"}, "unbiased"),
    ("dr-grpo", {"scale_invariant": True}, "scale"),
    ("nsr", {"zero_on_equal_rewards": True}, "equal-rewards"),
    ("nsr", {"shift_invariant": True}, "exact-claims"),
    ("rloo", {"unbiased_for": None}, "biased"),
    ("psr", {"never_reinforces": True}, "never-reinforces"),
    ("cispo", {"differentiable_value": True}, "gradient"),
    ("rl-plus", {"differentiable_value": True}, "gradient"),
    ("clip-cov", {"policy_gradient_at_ratio_one": True}, "policy-gradient"),
    ("kl-cov", {"zero_advantage_is_zero_gradient": True}, "zero-advantage"),
    ("reinforce", {"uses_ratio": True}, "ratio"),
    ("grpo", {"needs_external": True}, "exact-claims"),
    ("sft", {"zero_on_equal_rewards": True}, "exact-claims"),
]


@pytest.mark.parametrize(("name", "claims", "check"), WRONG_CLAIMS)
def test_a_wrong_claim_is_found(name: str, claims: dict[str, object], check: str) -> None:
    preset = PRESETS[name]
    wrong = replace(preset, claims=replace(preset.claims, **claims), settings=dict(preset.settings, **_room(name)))
    assert check in applicable(wrong)
    with pytest.raises((AssertionError, InputError)):
        CHECKS[check].run(wrong)


def _room(name: str) -> dict[str, object]:
    # 2e-4 of the example's few tokens is one token; with a wide window it is never an ineligible one.
    return {"clip_cov_low": -10.0, "clip_cov_high": 10.0, "clip_cov_ratio": 0.5} if name == "clip-cov" else {}


# ------------------------------------------------------------------------------------------------ a user's own method


@pytest.fixture
def my_module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("my_methods")

    def softened(batch: TokenBatch, *, softness: float = 1.0):  # type: ignore[no-untyped-def]
        return -batch.advantages_NT * softness * torch.tanh(batch.log_ratio_NT / softness), {}

    def inside_mean(batch: TokenBatch):  # type: ignore[no-untyped-def]
        ratio = batch.log_ratio_NT.exp()
        return -batch.advantages_NT * ratio / ratio.detach().mean(), {}

    module.softened, module.inside_mean, module.number = softened, inside_mean, 3  # type: ignore[attr-defined]
    module.row = Preset(  # type: ignore[attr-defined]
        name="mine",
        paper="mine",
        equation="1",
        formula="softened ratio",
        advantage="leave-one-out",
        surrogate="my_methods:softened",
        reduction="token-mean",
        settings={"softness": 2.0},
        why_not={"unbiased_for": "token mean", "zero_advantage_is_zero_gradient": "not declared by the function"},
        claims=Claims(
            shift_invariant=True,
            zero_on_equal_rewards=True,
            policy_gradient_at_ratio_one=True,
            zero_advantage_is_zero_gradient=False,
        ),
    )
    monkeypatch.setitem(sys.modules, "my_methods", module)
    return module


def test_a_function_at_a_dotted_path_is_an_objective(my_module: types.ModuleType) -> None:
    objective = get("my_methods:softened", softness=0.5, reduction="token-mean")
    assert objective.settings["softness"] == 0.5
    e = example(find_preset("my_methods:softened"))
    assert gradient(e.objective, e.batch, e.denominator)[1].abs().sum() > 0


def test_a_preset_at_a_dotted_path_inherits_the_contract(my_module: types.ModuleType) -> None:
    preset = find_preset("my_methods:row")
    assert get("my_methods:row").settings["softness"] == 2.0
    for check in applicable(preset):
        CHECKS[check].run(preset)


def test_the_inherited_contract_finds_a_mean_taken_inside_a_micro_batch(my_module: types.ModuleType) -> None:
    preset = replace(my_module.row, surrogate="my_methods:inside_mean", settings={})
    with pytest.raises(AssertionError):
        CHECKS["micro-batches"].run(preset)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:fn", "cannot import no_such_module"),
        ("my_methods:sofetned", "did you mean 'softened'"),
        ("my_methods:number", "give a function"),
    ],
)
def test_a_wrong_path_is_named(my_module: types.ModuleType, path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get(path)
