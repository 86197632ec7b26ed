"""What a reader of the documentation tried and was not told: settings and tensors that must be refused by name."""

from __future__ import annotations

import copy
import pickle
import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from offleash.core import InputError
from offleash.objectives import PRESETS, Claims, GroupBatch, Preset, TokenBatch, get, register
from offleash.objectives.checks import example, gradient


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("grpo", {"std_epsilon": -1.0}, "std_epsilon: is -1.0; give a number of at least 0"),
        ("grpo", {"std_epsilon": float("nan")}, "std_epsilon: is nan; give a finite number"),
        ("grpo", {"kl_beta": -1.0}, "kl_beta: is -1.0"),
        ("grpo", {"kl_beta": float("inf")}, "kl_beta: is inf"),
        ("grpo", {"kl_estimator": "k4"}, "unknown kl_estimator 'k4'"),
        ("grpo", {"mismatch": "token-mask", "mismatch_low": 3.0, "mismatch_high": 2.0}, "mismatch_low: is 3.0"),
        ("kl-cov", {"least_selected": 1.5}, "least_selected: is 1.5; kl-cov takes a whole number"),
        ("kl-cov", {"least_selected": -1}, "least_selected: is -1"),
        ("clip-cov", {"clip_cov_low": 5.0, "clip_cov_high": 1.0}, "clip_cov_low: is 5.0"),
        ("riskpo", {"quantile_rate": 5.0}, "quantile_rate: is 5.0"),
        ("riskpo", {"bundle_size": 2.5}, "bundle_size: is 2.5; riskpo takes a whole number"),
        ("nsr", {"positive_weight": -1.0}, "positive_weight: is -1.0"),
        ("skywork-or1", {"entropy_target": float("inf")}, "entropy_target: is inf"),
        ("skywork-or1", {"entropy_coef_max": -1.0}, "entropy_coef_max: is -1.0"),
        ("pkpo", {"pass_k": 2.5}, "pass_k: is 2.5"),
        ("pkpo", {"pass_k": 10**9}, "pass_k: is 1000000000; give a whole number from 1"),
        ("grpo", {"name": "x"}, "unknown setting of grpo 'name'"),
        (":x", {}, "give package.module:name"),
        ("os:getcwd", {}, "os:getcwd"),
        ("offleash.objectives.advantages:group_relative", {}, "is registered as advantage"),
    ],
)
def test_settings(name: str, overrides: dict[str, Any], message: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        get(name, **overrides)
    assert time.monotonic() - start < 5


def test_an_adaptive_bonus_can_be_switched_off() -> None:
    assert get("skywork-or1", entropy_target=None).prepare_tokens == {}


def test_masks_beside_a_group_batch_are_not_ignored() -> None:
    rewards_PG = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    with pytest.raises(InputError, match="put them into the GroupBatch"):
        get("grpo").advantages(GroupBatch(rewards_PG=rewards_PG), None, torch.ones(1, 4, dtype=torch.bool))


@pytest.mark.parametrize("field", ["old_logprobs", "ref_logprobs", "engine_logprobs", "advantages"])
def test_what_must_not_carry_a_gradient(field: str) -> None:
    e = example(PRESETS["grpo"])
    live = getattr(e.batch, field).clone().requires_grad_()
    with pytest.raises(InputError, match=f"{field}: carries a gradient"):
        e.objective.loss(replace(e.batch, **{field: live}), e.denominator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_a_mask_of_the_denominator_that_is_none(dtype: torch.dtype) -> None:
    with pytest.raises(Exception, match="mask"):  # the annotation's check under the tests, ours without it
        get("grpo").denominator(torch.ones(2, 3).to(dtype))


def test_other_kinds_of_tensors() -> None:
    e = example(PRESETS["grpo"])
    for field, value, message in (
        ("advantages", e.batch.advantages.long(), r"advantages: is torch\.int64; give floats"),
        ("old_logprobs", e.batch.logprobs.long(), r"old_logprobs: is torch\.int64; give floats"),
        ("mask", [[True]], "mask: is a list; give a tensor"),
    ):
        batch = copy.copy(e.batch)
        object.__setattr__(batch, field, value)  # past the check of the annotations
        with pytest.raises(InputError, match=message):
            e.objective.loss(batch, e.denominator)
    with pytest.raises(Exception, match="advantages"):
        e.objective.denominator(e.batch.mask, advantages=e.rewards_PG)


def test_lengths_and_steps_that_are_none() -> None:
    e = example(PRESETS["reinforce++"])
    with pytest.raises(InputError, match="lengths_PG"):
        e.objective.advantages(replace(e.group, lengths_PG=e.group.require("lengths_PG") - 100))
    g = example(PRESETS["gigpo"])
    empty = {
        n: g.group.require(n)[..., :0]
        for n in ("step_rewards_PGS", "step_states_PGS", "step_mask_PGS", "step_tags_PGS")
    }
    with pytest.raises(InputError, match="step_mask_PGS: has no step"):
        g.objective.advantages(replace(g.group, **empty))


@pytest.mark.parametrize("name", PRESETS)
def test_an_objective_can_be_pickled(name: str) -> None:
    e = example(PRESETS[name])
    again = pickle.loads(pickle.dumps(e.objective))
    assert torch.equal(gradient(again, e.batch, e.denominator)[1], gradient(e.objective, e.batch, e.denominator)[1])


@pytest.mark.parametrize("name", ["", "Bad Name", "-x", "a--", "x y"])
def test_names_of_rows(name: str) -> None:
    with pytest.raises(InputError, match="kebab-case"):
        register(Preset(name=name, paper="", equation="", formula="", advantage="reward", surrogate="nll",
                        reduction="token-mean", claims=Claims()))  # fmt: skip


def test_padding_of_any_kind_gives_the_same_numbers() -> None:
    """The fast way to mask multiplies; where padding holds NaN the slow way takes over."""
    e = example(PRESETS["cispo"])
    loss, grad, _, _ = gradient(e.objective, e.batch, e.denominator)
    for filler in (0.0, 1e300, float("inf"), float("nan")):
        spoilt = {
            n: torch.where(e.batch.mask, getattr(e.batch, n), filler) for n in ("logprobs", "old_logprobs", "entropy")
        }
        batch: TokenBatch = replace(e.batch, **spoilt)
        found = gradient(e.objective, batch, e.denominator)
        assert torch.equal(found[0], loss) and torch.equal(found[1], grad)
