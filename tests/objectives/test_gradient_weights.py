"""The cross-method table: weight g of grad log pi for one token, by ratio and sign of the advantage.

Provenance: derived from each paper's formula; the columns are the regions of a two-sided clip at 1 - 0.2, 1 + 0.28.
"""

from __future__ import annotations

import math

import pytest
import torch

from offleash.objectives import TokenBatch, get

LOW, HIGH = 0.2, 0.28
BOUNDS = {"epsilon_low": LOW, "epsilon_high": HIGH}
#                         A > 0: rho = 1.1      rho = 4          A < 0: rho = 0.9, 4       rho = 0.5
TABLE = {
    "importance": ({}, {(1, 1.1): 1.1, (1, 4.0): 4.0, (-1, 0.9): 0.9, (-1, 4.0): 4.0, (-1, 0.5): 0.5, (1, 0.5): 0.5}),
    "ppo-clip": (
        BOUNDS,
        {(1, 1.1): 1.1, (1, 4.0): 0.0, (-1, 0.9): 0.9, (-1, 4.0): 4.0, (-1, 0.5): 0.0, (1, 0.5): 0.5},
    ),
    "ppo-clip, dual clip 3": (
        {**BOUNDS, "dual_clip": 3.0},
        {(1, 1.1): 1.1, (1, 4.0): 0.0, (-1, 0.9): 0.9, (-1, 2.9): 2.9, (-1, 4.0): 0.0, (-1, 0.5): 0.0},
    ),
    "gppo": (
        BOUNDS,
        {(1, 1.1): 1.1, (1, 4.0): 1.28, (-1, 0.9): 0.9, (-1, 4.0): 4.0, (-1, 0.5): 0.8, (1, 0.5): 0.5},
    ),
    "gppo, dual clip 3": ({**BOUNDS, "dual_clip": 3.0}, {(1, 4.0): 1.28, (-1, 4.0): 0.0, (-1, 0.5): 0.8}),
    "gppo, b1 0.25": ({**BOUNDS, "boundary_low": 0.25}, {(1, 4.0): 1.28, (-1, 0.5): 0.2}),
    "cispo, two-sided": (
        BOUNDS,
        {(1, 1.1): 1.1, (1, 4.0): 1.28, (-1, 0.9): 0.9, (-1, 4.0): 1.28, (-1, 0.5): 0.8, (1, 0.5): 0.8},
    ),
    "cispo, no floor": (
        {"epsilon_low": None, "epsilon_high": HIGH},
        {(1, 1.1): 1.1, (1, 4.0): 1.28, (-1, 0.9): 0.9, (-1, 4.0): 1.28, (-1, 0.5): 0.5, (1, 0.5): 0.5},
    ),
    "cispo, no bounds": ({"epsilon_low": None, "epsilon_high": None}, {(1, 4.0): 4.0, (-1, 4.0): 4.0, (-1, 0.5): 0.5}),
    "gspo": (BOUNDS, {(1, 1.1): 1.1, (1, 4.0): 0.0, (-1, 0.9): 0.9, (-1, 4.0): 4.0, (-1, 0.5): 0.0}),
    "gspo-token": (BOUNDS, {(1, 1.1): 1.1, (1, 4.0): 0.0, (-1, 0.9): 0.9, (-1, 4.0): 4.0, (-1, 0.5): 0.0}),
    "score-function": ({}, {(1, 4.0): 1.0, (-1, 0.5): 1.0}),
}
CASES = [(name, *case, weight) for name, (_, cases) in TABLE.items() for case, weight in cases.items()]


def weight(name: str, advantage: float, rho: float, **overrides: object) -> float:
    """-d loss / d log pi / A for one completion of one token."""
    objective = get("grpo", surrogate=name, reduction="sequence-sum", **overrides)
    old = torch.tensor([[math.log(0.1)]], dtype=torch.float64)
    logprobs = (old + math.log(rho)).requires_grad_()
    batch = TokenBatch(
        logprobs=logprobs,
        old_logprobs=old,
        mask=torch.ones(1, 1, dtype=torch.bool),
        advantages=torch.tensor([advantage], dtype=torch.float64),
        vocab_size=100,
        selected=torch.zeros(1, 1, dtype=torch.bool),
    )
    loss, _ = objective.loss(batch, objective.denominator(batch.mask))
    return -torch.autograd.grad(loss, logprobs)[0].item() / advantage


@pytest.mark.parametrize(("row", "sign", "rho", "expected"), CASES)
def test_weight(row: str, sign: int, rho: float, expected: float) -> None:
    for size in (0.3, 2.0):
        actual = weight(row.split(",")[0], sign * size, rho, **TABLE[row][0])
        assert actual == pytest.approx(expected, abs=1e-12)


def test_kl_cov_weight_is_the_ratio_with_no_clip_and_the_penalty_on_selected_tokens() -> None:
    objective = get("kl-cov", reduction="sequence-sum", kl_cov_beta=0.7)
    old = torch.full((1, 2), math.log(0.1), dtype=torch.float64)
    for rho, sign in ((4.0, 1.0), (0.5, 1.0), (4.0, -1.0), (0.5, -1.0)):
        logprobs = (old + math.log(rho)).requires_grad_()
        batch = TokenBatch(
            logprobs=logprobs,
            old_logprobs=old,
            mask=torch.ones(1, 2, dtype=torch.bool),
            advantages=torch.tensor([sign * 2.0], dtype=torch.float64),
            vocab_size=100,
            selected=torch.tensor([[False, True]]),
        )
        loss, _ = objective.loss(batch, objective.denominator(batch.mask))
        plain, selected = (-torch.autograd.grad(loss, logprobs)[0][0] / (sign * 2.0)).tolist()
        assert plain == pytest.approx(rho)
        assert selected == pytest.approx(rho - 0.7 * math.copysign(1.0, math.log(rho)) / (sign * 2.0))


@pytest.mark.parametrize("name", ["grpo", "dapo", "gppo", "cispo", "kl-cov"])
def test_on_the_first_minibatch_all_clips_give_the_same_gradient(name: str) -> None:
    """PPO, DAPO, GPPO, CISPO and KL-Cov agree with the plain policy gradient where every ratio is 1."""
    for sign in (1.0, -1.0):
        surrogate = get(name).settings["surrogate"]
        assert weight(str(surrogate), sign, 1.0) == pytest.approx(1.0, abs=1e-12)


def test_what_a_clip_of_dapo_leaves_to_a_rare_token() -> None:
    """A token of old probability 0.01 keeps its gradient up to 0.0128 under epsilon_high = 0.28 (DAPO sec. 3.1)."""
    bounds = {"epsilon_low": 0.2, "epsilon_high": 0.28}
    assert weight("ppo-clip", 1.0, 0.012799 / 0.01, **bounds) > 1.0
    assert weight("ppo-clip", 1.0, 0.012801 / 0.01, **bounds) == 0.0
