"""Finite for everything a run can meet: random masks, ratios from 1e-6 to 1e6, any group, float32."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offleash.core.rng import stream
from offleash.objectives import PRESETS, TokenBatch, get
from offleash.objectives.checks import gradient
from offleash.objectives.checks.example import denominator


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 4),
    group=st.integers(2, 5),
    width=st.integers(1, 6),
    spread=st.floats(0.0, math.log(1e6)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_loss_and_gradient_are_finite(
    name: str, seed: int, rows: int, group: int, width: int, spread: float, dtype: torch.dtype
) -> None:
    draw = stream("finite", seed)
    objective = get(name, kl_beta=0.1, entropy_coef=0.1)
    n = rows * group
    rewards_PG = torch.from_numpy(draw.integers(0, 2, (rows, group))).to(dtype)
    external_PG = torch.from_numpy(draw.random((rows, group)) < 0.3) & objective.uses_external
    valid_PG = torch.from_numpy(draw.random((rows, group)) < 0.8)
    adv_PG = objective.advantages(rewards_PG, external_PG, valid_PG)
    assert adv_PG.isfinite().all()
    old = -torch.from_numpy(draw.uniform(1e-6, 14.0, (n, width))).to(dtype)
    new = (old + spread * torch.from_numpy(draw.uniform(-1, 1, (n, width))).to(dtype)).clamp(max=0.0)
    mask = torch.from_numpy(draw.random((n, width)) < 0.7)  # rows without a token are among them
    batch = TokenBatch(
        logprobs=new,
        old_logprobs=old,
        ref_logprobs=old,
        entropy=torch.rand(n, width, dtype=dtype, generator=torch.Generator().manual_seed(seed)),
        mask=mask,
        advantages=adv_PG.flatten(),
        vocab_size=100,
        external=external_PG.flatten(),
        correct=(rewards_PG == 1).flatten(),
    )
    batch, _ = objective.prepare(batch)
    loss, grad, grad_entropy, metrics = gradient(objective, batch, denominator(objective, batch))
    assert loss.isfinite()
    assert grad.isfinite().all()
    assert grad_entropy.isfinite().all()
    assert all(m.isfinite() for m in metrics.values())
    assert (grad[~mask] == 0).all()
    assert loss.dtype == grad.dtype == dtype


@pytest.mark.parametrize("name", ["grpo", "dapo", "rl-plus", "gspo", "cispo"])
def test_single_precision_agrees_with_double(name: str) -> None:
    from offleash.objectives.checks import example

    e = example(PRESETS[name])
    loss, grad, _, _ = gradient(e.objective, e.batch, e.denominator)
    single = TokenBatch(
        **{
            field: value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for field, value in vars(e.batch).items()
        }
    )
    loss_single, grad_single, _, _ = gradient(e.objective, single, e.denominator)
    assert loss_single.item() == pytest.approx(loss.item(), abs=1e-6)
    assert torch.allclose(grad_single.double(), grad, atol=1e-6)
