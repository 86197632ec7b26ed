"""Advantages, reductions and the denominator, one by one."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from offleash.core import InputError
from offleash.objectives import PRESETS, Denominator, GroupBatch, Reduction, get
from offleash.objectives.advantages import group_relative, leave_one_out, signed_binary, soft_overlong
from offleash.objectives.checks import example, gradient
from offleash.objectives.checks.example import annotated
from offleash.objectives.reduce import MODES, RowFlags, count, restrict

LOSS = torch.tensor([[1.0, 2.0, 3.0], [10.0, 0.0, 0.0], [5.0, 5.0, 5.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])


def group(*rows: list[float], external: list[bool] | None = None, valid: list[bool] | None = None) -> GroupBatch:
    return GroupBatch(
        rewards_PG=torch.tensor(rows, dtype=torch.float64),
        external_PG=torch.tensor([external]) if external else None,
        valid_PG=torch.tensor([valid]) if valid else None,
    )


# ----------------------------------------------------------------------------------------------------------- reductions


def test_reductions_by_hand() -> None:
    flags = RowFlags(group_ids=torch.tensor([0, 0, 1]))
    counts = count(MASK, flags, 8)
    expected = {
        "token-mean": 16.0 / 4.0,
        "sequence-mean": (2.0 + 10.0) / 2.0,
        "prompt-mean": 16.0 / 4.0,  # one prompt has all four tokens; the other none, and does not count
        "sequence-sum": 16.0 / 2.0,
        "constant-length": 16.0 / (2.0 * 8.0),
        "constant-sum": 16.0 / 8.0,
    }
    assert set(expected) == set(MODES)
    for mode, value in expected.items():
        assert Reduction(mode)(LOSS, MASK, counts, flags).item() == value
        # One number a row is the same number at each of its tokens.
        wide = Reduction(mode)(LOSS[:, :1].expand(3, 3), MASK, counts, flags)
        assert Reduction(mode)(LOSS[:, :1], MASK, counts, flags).item() == wide.item()


def test_the_mean_over_prompts_by_hand() -> None:
    flags = RowFlags(group_ids=torch.tensor([4, 9, 9]))
    mask = torch.tensor([[True, True, True], [True, False, False], [True, True, True]])
    value = Reduction("prompt-mean")(LOSS, mask, count(mask, flags), flags)
    assert value.item() == ((1.0 + 2.0 + 3.0) / 3.0 + (10.0 + 15.0) / 4.0) / 2.0


def test_counts_by_hand() -> None:
    flags = RowFlags(
        advantages=torch.tensor([1.0, -1.0, -1.0]),
        external=torch.tensor([False, True, True]),
        correct=torch.tensor([True, True, False]),
    )
    counts = count(MASK, flags, 8)
    assert counts.tokens == {"all": 4, "policy": 3, "external": 1, "negative": 1, "positive": 3, "correct": 4}
    assert counts.sequences == {"all": 2, "policy": 1, "external": 1, "negative": 1, "positive": 1, "correct": 2}
    assert count(MASK, RowFlags()).tokens == {"all": 4}
    assert (counts + counts).tokens["all"] == 8
    per_token = RowFlags(advantages=torch.tensor([[-1.0, 1.0, -1.0]] * 3))
    assert count(MASK, per_token).tokens["negative"] == 3


def test_denominators_under_different_limits_do_not_add() -> None:
    with pytest.raises(InputError, match="max_completion_length"):
        Denominator({"all": 1.0}, {"all": 1.0}, 8) + Denominator({"all": 1.0}, {"all": 1.0}, 9)


@pytest.mark.parametrize(
    ("mode", "rows", "length", "message"),
    [
        ("token-maen", "all", None, "did you mean 'token-mean'"),
        ("token-mean", "alll", None, "did you mean 'all'"),
        ("constant-length", "all", 0.0, "constant_length: is 0\\.0"),
        ("constant-length", "all", float("nan"), "constant_length: is nan"),
    ],
)
def test_a_wrong_reduction_is_named(mode: str, rows: str, length: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Reduction(mode, rows, length)


def test_what_tells_the_rows_must_be_there() -> None:
    with pytest.raises(InputError, match="external: needed to tell the policy rows"):
        restrict(MASK, "policy", RowFlags())
    for name, field in (("sft", "external"), ("gppo+nll-loss", "correct"), ("grpo+sft-loss", "external")):
        with pytest.raises(InputError, match=f"{field}: the denominator over"):
            get(name).denominator(MASK)
    with pytest.raises(InputError, match="advantages: the denominator over negative rows"):
        get("grpo-n", rows="negative").denominator(MASK)


def test_dr_grpo_needs_the_generation_limit_and_never_takes_the_padded_width() -> None:
    with pytest.raises(InputError, match="max_completion_length"):
        get("dr-grpo").denominator(MASK)
    assert get("dr-grpo", constant_length=100).denominator(MASK).length is None
    e = example(PRESETS["dr-grpo"])
    by_setting = get("dr-grpo", constant_length=2 * 9)
    loss, grad, _, _ = gradient(e.objective, e.batch, e.denominator)
    half_loss, half_grad, _, _ = gradient(by_setting, e.batch, e.denominator)
    assert half_loss.item() == pytest.approx(loss.item() / 2)
    assert torch.allclose(half_grad, grad / 2)


# ----------------------------------------------------------------------------------------------------------- advantages


def test_demonstrations_in_the_baseline_and_out_of_it() -> None:
    batch = group([1.0, 0.0, 0.0, 1.0], external=[True, False, False, False])
    inside = group_relative(batch, std="none")
    assert inside.tolist() == [[0.5, -0.5, -0.5, 0.5]]
    outside = group_relative(batch, std="none", external_in_baseline=False)
    assert outside[0].tolist() == pytest.approx([2 / 3, -1 / 3, -1 / 3, 2 / 3])


def test_a_demonstration_outside_a_baseline_of_equal_rollouts_is_not_blown_up() -> None:
    batch = group([1.0, 0.0, 0.0, 0.0], external=[True, False, False, False])
    assert group_relative(batch, external_in_baseline=False).tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_groups_left_with_one_decided_sample_or_none_get_0() -> None:
    for valid in ([True, False, False], [False, False, False]):
        batch = group([1.0, 0.0, float("nan")], valid=valid)
        for function in (group_relative, leave_one_out):
            adv = torch.where(torch.tensor(valid), function(batch), 0.0)
            assert adv.tolist() == [[0.0, 0.0, 0.0]]


def test_rewards_far_from_zero_keep_their_digits() -> None:
    large = group_relative(group([1e8, 1e8 + 1, 1e8, 1e8]))
    assert torch.allclose(large, group_relative(group([0.0, 1.0, 0.0, 0.0])), rtol=1e-9)


def test_signed_binary_refuses_a_reward_in_neither_class() -> None:
    with pytest.raises(InputError, match=r"row 0, sample 1 is 0\.5"):
        signed_binary(group([1.0, 0.5]))
    assert signed_binary(group([1.0, 0.5], valid=[True, False])).shape == (1, 2)
    for name in ("nsr", "psr", "w-reinforce"):
        with pytest.raises(InputError, match="the verdict itself"):
            get(name).advantages(torch.tensor([[1.0, -1.0]]))


def test_soft_overlong_refuses_a_slope_longer_than_the_limit() -> None:
    with pytest.raises(InputError, match="cache: is 20"):
        soft_overlong(torch.tensor([[1]]), 10, 20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_are_kept(dtype: torch.dtype) -> None:
    for name, preset in PRESETS.items():
        objective = get(name, **preset.claims.shown_at)
        groups = annotated(torch.tensor([[1, 0, 0, 1]], dtype=dtype), torch.arange(4)[None])
        floats = {f.name: getattr(groups, f.name) for f in fields(groups)}
        cast = {k: v.to(dtype) for k, v in floats.items() if isinstance(v, torch.Tensor) and v.is_floating_point()}
        groups, _ = objective.prepare(replace(groups, **cast))
        assert objective.advantages(groups).dtype == dtype, name


def test_integer_rewards_are_refused() -> None:
    from offleash.objectives.compose import Objective

    with pytest.raises(Exception, match="rewards_PG"):
        Objective.advantages(get("grpo"), torch.tensor([[1, 0]]))
