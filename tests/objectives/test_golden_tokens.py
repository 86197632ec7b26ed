"""Numbers of the literature on how tokens are weighed. "As computed": worked out from the cited formula by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from offleash.core.rng import stream
from offleash.objectives import PRESETS, Objective, TokenBatch, get
from offleash.objectives.checks import example, gradient
from offleash.objectives.checks.example import denominator


def tokens(n: int, width: int, **changes: Any) -> TokenBatch:
    """On-policy rows of `width` tokens, with advantage 1, nothing planned and all from the trainer's own engine."""
    logprobs = torch.full((n, width), -1.0, dtype=torch.float64)
    batch = TokenBatch(
        logprobs=logprobs,
        old_logprobs=logprobs,
        engine_logprobs=logprobs,
        ref_logprobs=logprobs,
        entropy=torch.ones_like(logprobs),
        mask=torch.ones(n, width, dtype=torch.bool),
        advantages=torch.ones(n, dtype=torch.float64),
        vocab_size=10,
        planning=torch.zeros(n, width, dtype=torch.bool),
        group_ids=torch.arange(n),
    )
    return replace(batch, **changes)


def slopes(objective: Objective, batch: TokenBatch) -> torch.Tensor:
    """Minus the gradient with respect to log-probs."""
    return -gradient(objective, batch, denominator(objective, batch))[1]


# ------------------------------------------------------------------------------------------------------ credit for tokens


def test_credit_of_planning_tokens() -> None:
    """A + 0.2 |A|: 0.5 becomes 0.6, -0.5 becomes -0.4, 0 stays 0 (arXiv 2509.03646; as computed)."""
    planning = torch.tensor([[True, False]] * 3)
    batch = tokens(3, 2, planning=planning, advantages=torch.tensor([0.5, -0.5, 0.0], dtype=torch.float64))
    found = slopes(get("hicra", reduction="constant-sum", constant_length=1.0), batch)
    assert torch.allclose(found, torch.tensor([[0.6, 0.5], [-0.4, -0.5], [0.0, 0.0]], dtype=torch.float64))


def test_credit_without_its_factor_is_grpo_without_deviation() -> None:
    """Bit for bit (arXiv 2509.03646: the base is GRPO with clip-higher)."""
    e = example(PRESETS["hicra"], spread=0.8, planning_alpha=0.0)
    plain = get("grpo", std="none", epsilon_high=0.28)
    assert torch.equal(plain.advantages(e.rewards_PG), e.advantages())
    pairs = zip(*(gradient(o, e.batch, e.denominator)[:2] for o in (e.objective, plain)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# --------------------------------------------------------------------------------------------------------------- entropy


def bonus_over_steps(entropies: list[float], **settings: Any) -> tuple[list[float], list[float]]:
    """The coefficient that acts at each step (from the gradient), and the one that is remembered."""
    objective, state = get("skywork-or1", **settings), None
    acting, kept = [], []
    for entropy in entropies:
        old = torch.full((2, 3), -entropy, dtype=torch.float64)
        batch, state = objective.prepare(tokens(2, 3, logprobs=old, old_logprobs=old), state)
        slope = -gradient(objective, batch, denominator(objective, batch))[2]
        assert torch.allclose(slope, slope[0, 0].expand(2, 3))
        acting.append(6 * slope[0, 0].item())
        kept.append(state["adaptive-entropy"]["coefficient"])
    return acting, kept


def test_adaptive_entropy() -> None:
    """Target 0.2, delta 1e-4, entropies 0.3, 0.25, 0.19, 0.18, 0.21, 0.1 (SkyworkAI/Skywork-OR1, EntController; as
    computed)."""
    acting, kept = bonus_over_steps([0.3, 0.25, 0.19, 0.18, 0.21, 0.1])
    assert acting == pytest.approx([0, 0, 1e-4, 2e-4, 0, 2e-4], abs=1e-12)
    assert kept == pytest.approx([0, 0, 1e-4, 2e-4, 1e-4, 2e-4], abs=1e-12)


def test_adaptive_entropy_stays_within_its_bounds() -> None:
    """0 and 5e-3 by default, as in the released controller; below means below, not at the target."""
    acting, kept = bonus_over_steps([0.125] * 4 + [0.25, 0.5, 0.5], entropy_target=0.25, entropy_delta=2e-3)
    assert acting == pytest.approx([2e-3, 4e-3, 5e-3, 5e-3, 0, 0, 0], abs=1e-12)
    assert kept == pytest.approx([2e-3, 4e-3, 5e-3, 5e-3, 3e-3, 1e-3, 0], abs=1e-12)


@pytest.mark.parametrize(
    ("count", "percent", "chosen"), [(1, 20, 1), (5, 20, 1), (6, 20, 2), (35, 20, 7), (100, 7, 7), (100, 29, 29)]
)
def test_share_of_high_entropy_tokens(count: int, percent: int, chosen: int) -> None:
    """ceil(rho N), also where the entropies are all equal (arXiv 2506.01939 and its released code; as computed)."""
    for entropy in (torch.ones(1, count), torch.linspace(0.1, 2.0, count)[None]):
        prepared, _ = get("80-20", entropy_fraction=percent / 100).prepare(tokens(1, count, entropy=entropy.double()))
        assert prepared.selected is not None
        assert int(prepared.selected.sum()) == chosen


@pytest.mark.parametrize("rows", ["all", "selected"])
def test_all_tokens_of_high_entropy_are_dapo(rows: str) -> None:
    """Bit for bit at a fraction of 1, in both denominators (arXiv 2506.01939: the base is DAPO)."""
    e = example(PRESETS["80-20"], spread=0.8, entropy_fraction=1.0, rows=rows)
    dapo = get("dapo")
    assert torch.equal(dapo.advantages(e.rewards_PG), e.advantages())
    found = gradient(e.objective, e.batch, e.denominator)
    expected = gradient(dapo, e.batch, denominator(dapo, e.batch))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_denominators_of_high_entropy_tokens_differ_by_the_share() -> None:
    """1 / 0.2 = 5 times the gradient where the selected tokens are counted (arXiv 2506.01939 against its code)."""
    entropy = torch.linspace(0.1, 2.0, 40, dtype=torch.float64).view(4, 10)
    by_all, by_selected = (get("80-20", rows=rows) for rows in ("all", "selected"))
    batch, _ = by_all.prepare(tokens(4, 10, entropy=entropy))
    assert torch.allclose(slopes(by_selected, batch), 5 * slopes(by_all, batch))


def test_high_entropy_tokens_of_the_step_are_not_those_of_its_parts() -> None:
    """One completion of high entropy takes all places over the step, and only its share by itself (arXiv 2506.01939)."""
    entropy = torch.full((5, 10), 0.1, dtype=torch.float64)
    entropy[2] = 2.0
    batch, objective = tokens(5, 10, entropy=entropy), get("80-20")
    whole, _ = objective.prepare(batch)
    assert whole.require("selected").sum(1).tolist() == [0, 0, 10, 0, 0]
    parts = [objective.prepare(batch.rows(slice(n, n + 1)))[0].require("selected") for n in range(5)]
    assert [int(part.sum()) for part in parts] == [2] * 5


def test_counts_of_selection_by_covariance() -> None:
    """Of 10,000 tokens KL-Cov takes 20 (0.2 percent) and Clip-Cov 2 (2e-4) (arXiv 2505.22617 and its scripts)."""
    draw = stream("covariance counts")
    batch = tokens(
        100,
        100,
        logprobs=-torch.from_numpy(draw.exponential(1.5, (100, 100))),
        advantages=torch.from_numpy(draw.normal(size=100)),
    )
    batch = replace(batch, old_logprobs=batch.logprobs)
    for name, chosen in (("kl-cov", 20), ("clip-cov", 2)):
        prepared, _ = get(name).prepare(batch)
        assert int(prepared.require("selected").sum()) == chosen
    on_policy, _ = get("kl-cov").prepare(batch)  # |log rho| has no slope at 0: nothing until the second update
    assert torch.equal(slopes(get("kl-cov"), on_policy), slopes(get("kl-cov", kl_cov_beta=0.0), on_policy))


# ----------------------------------------------------------------------------------------------------- ratios and averages


def test_a_ratio_beyond_the_cap_of_scale_rl_keeps_the_gradient_of_the_cap() -> None:
    """A ratio of 100 moves as much as one of 5, where PPO stops (arXiv 2510.13786; as computed)."""
    old = torch.tensor([[-1.0 - math.log(100.0), -1.0 - math.log(5.0), -1.0]], dtype=torch.float64)
    batch = tokens(1, 3, old_logprobs=old)
    found = slopes(get("scale-rl", reduction="constant-sum", constant_length=1.0), batch)
    assert found[0].tolist() == pytest.approx([5.0, 5.0, 1.0], abs=1e-9)
    assert slopes(get("dapo"), batch)[0, 0] == 0.0


def test_prompts_of_scale_rl_weigh_alike() -> None:
    """Each prompt's tokens share 1/P: twice as long answers to one do not change another (arXiv 2510.13786)."""
    prompts = torch.tensor([0, 0, 1, 1])
    found = []
    for length in (2, 4):
        mask = torch.ones(4, 4, dtype=torch.bool)
        mask[:2, length:] = False
        found.append(slopes(get("scale-rl"), tokens(4, 4, mask=mask, group_ids=prompts)))
    assert torch.equal(found[0][2:], found[1][2:])
    assert [f[:2].sum().item() for f in found] == pytest.approx([0.5, 0.5])
    assert found[0][2, 0].item() == pytest.approx(0.5 / 8)


@pytest.mark.parametrize("name", ["prorl", "prorl-v2"])
def test_after_a_reset_of_the_reference_its_penalty_is_0_and_has_no_slope(name: str) -> None:
    """KL(pi || pi) = 0 (arXiv 2505.24864: the reference becomes the policy); without a reset k2 pulls by beta x d."""
    draw = stream("reset")
    logprobs = -torch.from_numpy(draw.uniform(0.1, 3.0, (3, 5)))
    same = dict.fromkeys(("logprobs", "old_logprobs", "engine_logprobs", "ref_logprobs"), logprobs)
    batch, objective = tokens(3, 5, **same), get(name, kl_beta=0.5)
    _, grad, _, metrics = gradient(objective, batch, denominator(objective, batch))
    assert metrics["loss_kl"].item() == 0.0
    assert torch.equal(-grad, slopes(get(name, kl_beta=0.0), batch))
    moved = replace(batch, ref_logprobs=logprobs - 0.2)
    pull = slopes(objective, moved) - slopes(get(name, kl_beta=0.0), moved)
    assert torch.allclose(pull, torch.full_like(pull, -0.5 * 0.2 / 15))


def test_engine_ratios_of_prorl_v2() -> None:
    """Ratios within [0.5, 5] weigh as they are, others nothing, and stay counted (ProRL v2's and IcePop's bounds)."""
    ratios = torch.tensor([[0.49, 0.51, 1.0, 4.9, 5.1]], dtype=torch.float64)
    batch = tokens(1, 5, engine_logprobs=-1.0 - ratios.log())
    for name in ("prorl-v2", "icepop"):
        assert slopes(get(name, kl_beta=0.0), batch)[0].tolist() == pytest.approx([0, 0.102, 0.2, 0.98, 0], abs=1e-9)
    assert slopes(get("grpo+tis"), batch)[0].tolist() == pytest.approx([0.098, 0.102, 0.2, 0.4, 0.4], abs=1e-9)


def test_engine_ratios_of_prorl_v2_1() -> None:
    """A completion counts in full if the geometric mean of its ratios is within [0.999, 1.002] (ProRL v2.1), however far
    single tokens are; the product of as many small shifts is not bounded so (as computed)."""
    shift = torch.tensor([[0.5, -0.5, 0.0, 0.0], [0.0012] * 4, [0.003] * 4, [-0.002] * 4], dtype=torch.float64)
    batch = tokens(4, 4, engine_logprobs=-1.0 - shift)
    bounds = {"mismatch_low": 0.999, "mismatch_high": 1.002}
    kept = slopes(get("prorl-v2", kl_beta=0.0, mismatch="geometric-mask", **bounds), batch)
    assert torch.allclose(kept, torch.tensor([[1.0], [1.0], [0.0], [0.0]], dtype=torch.float64).expand(4, 4) / 16)
    product = slopes(get("prorl-v2", kl_beta=0.0, mismatch="sequence-mask", **bounds), batch)
    assert torch.allclose(product[0], kept[0])
    assert (product[1:] == 0).all()
