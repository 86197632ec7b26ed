"""Finite for everything a run can meet: random groups and masks, ratios from 1e-6 to 1e6, float32."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offleash.core.rng import stream
from offleash.objectives import PRESETS, GroupBatch, Objective, TokenBatch
from offleash.objectives.checks import example, gradient
from offleash.objectives.checks.example import annotated, denominator
from offleash.objectives.compose import over_tokens
from offleash.objectives.preset import build

REGULARIZED: dict[str, Any] = {"kl_beta": 0.1, "entropy_coef": 0.1}
ROWS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in PRESETS),
    ("skywork-or1", {"entropy_target": 20.0}),
    ("80-20", {"rows": "selected"}),
    ("scale-rl", {"rows": "negative"}),
    ("hicra", {"rows": "positive"}),
    ("rlvmr", {"singleton": "reward", "std": "sample"}),
    ("riskpo", {"natural_baseline": False, "centre": True}),
    ("unlikeliness", {"skip_equal": False}),
    ("grpo", {"mismatch": "sequence-truncate"}),
    ("grpo", {"mismatch": "geometric-mask", "mismatch_low": 0.5}),
]


def cast(batch: Any, dtype: torch.dtype) -> Any:
    """The same batch with all its float tensors of this type."""
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    floats = {k: v for k, v in values.items() if isinstance(v, torch.Tensor) and v.is_floating_point()}
    return replace(batch, **{k: v.to(dtype) for k, v in floats.items()})


def drawn_groups(draw: np.random.Generator, objective: Objective, prompts: int, size: int) -> GroupBatch:
    """Any verdicts, some missing, with every annotation; lengths and log-probs up to their extremes."""
    shape = (prompts, max(size, objective.least_group))
    group = annotated(
        torch.from_numpy(draw.integers(0, 2, shape).astype("float64")), torch.from_numpy(draw.integers(0, 64, shape))
    )
    return replace(
        group,
        external_PG=torch.from_numpy(draw.random(shape) < 0.3) & objective.uses_external,
        valid_PG=torch.from_numpy(draw.random(shape) < 0.8),
        lengths_PG=torch.from_numpy(draw.integers(0, 3, shape)),
        mean_logprobs_PG=-torch.from_numpy(draw.uniform(0.0, 14.0, shape)),
        reference_logprobs_PGR=-torch.from_numpy(draw.uniform(0.0, 700.0, (*shape, 2))),
    )


def drawn_tokens(draw: np.random.Generator, group: GroupBatch, width: int, spread: float, share: float) -> TokenBatch:
    """Tokens of the groups' completions; `share` of them count, so that rows or all of them may be empty."""
    shape = (group.rewards_PG.numel(), width)
    old = -torch.from_numpy(draw.uniform(1e-6, 14.0, shape))
    near = [(old + spread * torch.from_numpy(draw.uniform(-1, 1, shape))).clamp(max=0.0) for _ in range(2)]
    assert group.external_PG is not None
    return TokenBatch(
        logprobs=near[0],
        old_logprobs=old,
        ref_logprobs=old,
        engine_logprobs=near[1],
        entropy=torch.from_numpy(draw.uniform(0.0, 3.0, shape)),
        mask=torch.from_numpy(draw.random(shape) < share),
        advantages=torch.zeros(shape[0], dtype=torch.float64),
        vocab_size=100,
        external=group.external_PG.flatten(),
        correct=(group.rewards_PG == 1).flatten(),
        planning=torch.from_numpy(draw.random(shape) < 0.4),
        group_ids=torch.arange(shape[0]) // group.rewards_PG.shape[1],
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "overrides"), ROWS, ids=lambda v: v if isinstance(v, str) else ",".join(v) or "row")
@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    prompts=st.integers(1, 4),
    size=st.integers(2, 5),
    width=st.integers(1, 6),
    spread=st.floats(0.0, math.log(1e6)),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_loss_and_gradient_are_finite(
    name: str,
    overrides: dict[str, Any],
    seed: int,
    prompts: int,
    size: int,
    width: int,
    spread: float,
    share: float,
    dtype: torch.dtype,
) -> None:
    draw = stream("finite", seed)
    objective = build(PRESETS[name], **{**PRESETS[name].claims.shown_at, **REGULARIZED, **overrides})
    group, state = objective.prepare(cast(drawn_groups(draw, objective, prompts, size), dtype))
    adv = objective.advantages(group)
    assert adv.isfinite().all()
    assert adv.dtype == dtype
    batch = cast(drawn_tokens(draw, group, width, spread, share), dtype)
    step_NT = torch.from_numpy(draw.integers(-1, 3, tuple(batch.mask.shape)))
    batch, _ = objective.prepare(replace(batch, advantages=over_tokens(adv, step_NT)), state)
    loss, grad, grad_entropy, metrics = gradient(objective, batch, denominator(objective, batch))
    assert loss.isfinite()
    assert grad.isfinite().all()
    assert grad_entropy.isfinite().all()
    assert all(m.isfinite() for m in metrics.values())
    assert (grad[~batch.mask] == 0).all()
    assert (grad_entropy[~batch.mask] == 0).all()
    assert loss.dtype == grad.dtype == dtype


@pytest.mark.parametrize("name", PRESETS)
def test_single_precision_agrees_with_double(name: str) -> None:
    e = example(PRESETS[name])
    loss, grad, _, _ = gradient(e.objective, e.batch, e.denominator)
    loss_single, grad_single, _, _ = gradient(e.objective, cast(e.batch, torch.float32), e.denominator)
    assert loss_single.item() == pytest.approx(loss.item(), rel=1e-6, abs=1e-6)
    assert torch.allclose(grad_single.double(), grad, atol=1e-6)
    group, _ = e.objective.prepare(cast(e.group, torch.float32))
    assert torch.allclose(e.objective.advantages(group).double(), e.advantages(), rtol=1e-4, atol=1e-4)
