"""Numbers of the literature, each with where it comes from."""

from __future__ import annotations

import math

import pytest
import torch

from offleash.objectives import GroupBatch, TokenBatch, get
from offleash.objectives.advantages import soft_overlong
from offleash.objectives.surrogates import exploration_weight, mean_log_ratio, multiple_importance_ratio

V = 152_064  # Qwen2.5's vocabulary, used in the comparison of RL-PLUS's two ratios


def rewards(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_advantage_of_one_success_in_eight() -> None:
    """GRPO with G = 8: 2.475 with the sample deviation (verl), 2.646 with the population's. Checked: 7/8 / sqrt(1/8),
    and 7/8 / sqrt(7/64)."""
    group = rewards(1, 0, 0, 0, 0, 0, 0, 0)
    assert get("grpo").advantages(group)[0, 0].item() == pytest.approx(2.475, abs=5e-4)
    assert get("grpo", std="population").advantages(group)[0, 0].item() == pytest.approx(2.646, abs=5e-4)


def test_advantage_of_a_lone_better_answer_does_not_depend_on_the_gap() -> None:
    """arXiv 2510.04028: among G - 1 answers worth 0.8, one worth 1 has A = sqrt(G - 1) (population), at any gap."""
    for gap in (0.2, 1e-3):
        adv = get("grpo", std="population", std_epsilon=0.0).advantages(rewards(*[0.8] * 9, 0.8 + gap))
        assert adv[0, -1].item() == pytest.approx(3.0, abs=1e-9)


def test_advantage_of_a_wrong_sample_in_grpo_n() -> None:
    """-sqrt(p / (1 - p)) at success rate p with 0/1 rewards (derived): -1 for p = 1/2, -sqrt(3) for p = 3/4."""
    settings = {"std": "population", "std_epsilon": 0.0}
    for right, total in ((2, 4), (3, 4), (1, 4)):
        adv = get("grpo-n", **settings).advantages(rewards(*[1.0] * right, *[0.0] * (total - right)))[0]
        p = right / total
        assert adv[-1].item() == pytest.approx(-math.sqrt(p / (1 - p)), abs=1e-12)
        assert (adv[:right] == 0).all()


@pytest.mark.parametrize(
    ("p", "paper", "released"),
    [
        (1e-6, 0.418, 4.0e-6),
        (1e-4, 1.305, 4.0e-4),
        (1e-3, 1.330, 3.99e-3),
        (1e-2, 1.333, 0.0388),
        (0.1, 1.333, 0.308),
        (0.5, 1.333, 0.80),
    ],
)
def test_ratios_of_rl_plus_where_the_policy_has_not_moved(p: float, paper: float, released: float) -> None:
    """arXiv 2508.00222 Eq. 4 with U = 1/V, and rlplus_core_alg.py with U = 1, at pi = pi_old = p; computed by hand."""
    logp = torch.tensor([[math.log(p)]], dtype=torch.float64)
    assert multiple_importance_ratio(logp, logp, 1.0 / V).item() == pytest.approx(paper, rel=2e-3)
    assert multiple_importance_ratio(logp, logp, 1.0).item() == pytest.approx(released, rel=4e-3)


def test_ratios_of_rl_plus_in_closed_form_and_their_bound() -> None:
    """At theta_old: 2p / (1.5 p + 0.5/V), never above 4/3; and 4p / (3p + 1) as released."""
    p = torch.logspace(-9, 0, 50, dtype=torch.float64)[None]
    paper = multiple_importance_ratio(p.log(), p.log(), 1.0 / V)
    assert torch.allclose(paper, 2 * p / (1.5 * p + 0.5 / V), rtol=1e-12)
    assert (paper <= 4.0 / 3.0).all()
    assert torch.allclose(multiple_importance_ratio(p.log(), p.log(), 1.0), 4 * p / (3 * p + 1), rtol=1e-12)


def weight_on_a_demonstration(name: str, p: float, **overrides: object) -> float:
    objective = get(name, reduction="sequence-sum", **overrides)
    logprobs = torch.tensor([[math.log(p)]], dtype=torch.float64, requires_grad=True)
    batch = TokenBatch(
        logprobs=logprobs,
        old_logprobs=logprobs.detach(),
        mask=torch.ones(1, 1, dtype=torch.bool),
        advantages=torch.ones(1, dtype=torch.float64),
        vocab_size=V,
        external=torch.ones(1, dtype=torch.bool),
    )
    divisor = objective.denominator(batch.mask, external=batch.external)
    return -torch.autograd.grad(objective.loss(batch, divisor)[0], logprobs)[0].item()


def test_weights_on_a_demonstration_of_probability_a_thousandth() -> None:
    """Paper 1.33, released 0.0040, LUFFY 0.0098, SFT 1 (derived from the formulas, gamma = 0.5, shaping = 0.1)."""
    assert weight_on_a_demonstration("rl-plus", 1e-3) == pytest.approx(1.33, abs=5e-3)
    assert weight_on_a_demonstration("rl-plus", 1e-3, uniform="released") == pytest.approx(0.0040, abs=5e-5)
    assert weight_on_a_demonstration("luffy", 1e-3) == pytest.approx(0.0098, abs=5e-5)
    assert weight_on_a_demonstration("sft", 1e-3) == pytest.approx(1.0, abs=1e-12)


def test_weights_of_luffy() -> None:
    """gamma p / (p + gamma)^2 (arXiv 2504.14945): 0.25 at p = gamma = 0.1, its maximum, and 0.0826 at 0.01."""
    assert weight_on_a_demonstration("luffy", 0.1) == pytest.approx(0.25, abs=1e-12)
    assert weight_on_a_demonstration("luffy", 0.01) == pytest.approx(0.0826, abs=5e-5)
    assert max(weight_on_a_demonstration("luffy", p) for p in (0.05, 0.09, 0.11, 0.2)) < 0.25


@pytest.mark.parametrize("name", ["luffy", "rl-plus"])
def test_a_demonstration_in_a_failing_group(name: str) -> None:
    """Seven failures and a right demonstration, deviation off as released: 7/8 and -1/8. All right: imitation ends."""
    demo = torch.tensor([[True] + [False] * 7])
    objective = get(name, std="none")
    adv = objective.advantages(rewards(1, 0, 0, 0, 0, 0, 0, 0), demo)[0]
    assert adv.tolist() == [7 / 8] + [-1 / 8] * 7
    assert (objective.advantages(rewards(*[1.0] * 8), demo) == 0).all()
    assert (objective.advantages(rewards(*[0.0] * 8), demo) == 0).all()


def test_sequence_ratio_of_gspo() -> None:
    """Ratios 1.10, 0.95, 1.30, 0.90 have the geometric mean 1.05154 (arXiv 2507.18071's s, computed by hand)."""
    logprobs = torch.tensor([[1.10, 0.95, 1.30, 0.90, 7.0]], dtype=torch.float64).log()
    batch = TokenBatch(
        logprobs=logprobs,
        old_logprobs=torch.zeros_like(logprobs),
        mask=torch.tensor([[True, True, True, True, False]]),
        advantages=torch.ones(1, dtype=torch.float64),
        vocab_size=10,
    )
    assert mean_log_ratio(batch).exp().item() == pytest.approx(1.05154, abs=5e-6)


def test_overlong_penalty_of_dapo() -> None:
    """arXiv 2503.14476 with L_max 20,480 and a cache of 4,096: 0 at 16,384, -0.5 at 18,432, -1 at 20,480 and beyond."""
    lengths = torch.tensor([[1, 16_384, 18_432, 20_480, 30_000]])
    assert soft_overlong(lengths, 20_480, 4_096).tolist() == [[0.0, 0.0, -0.5, -1.0, -1.0]]


def test_nsr_weights() -> None:
    """RLVR-Decomposed: A = R - 1 (negative), R (positive), lambda = 0.1 or -1 (weighted)."""
    group = rewards(1, 0, 1)
    assert get("nsr").advantages(group).tolist() == [[0.0, -1.0, 0.0]]
    assert get("psr").advantages(group).tolist() == [[1.0, 0.0, 1.0]]
    assert get("w-reinforce").advantages(group).tolist() == [[0.1, -1.0, 0.1]]


def test_a_covariance_that_is_eligible() -> None:
    """arXiv 2505.22617: log pi = -6 and mean -0.3, A - mean A = -0.354 give 2.02 (exactly 2.0178), between 1 and 5."""
    logprobs = torch.full((1, 60), -0.203389831, dtype=torch.float64)
    logprobs[0, 0] = -6.0  # mean of all 60: -0.3
    adv = torch.full((1, 60), 0.006, dtype=torch.float64)
    adv[0, 0] = -0.354
    batch = TokenBatch(
        logprobs=logprobs,
        old_logprobs=logprobs,
        mask=torch.ones(1, 60, dtype=torch.bool),
        advantages=adv,
        vocab_size=10,
    )
    prepared, _ = get("clip-cov").prepare(batch)
    assert prepared.selected is not None
    assert prepared.selected.nonzero().tolist() == [[0, 0]]
    # A confident token of a good completion is never eligible.
    good, _ = get("clip-cov").prepare(
        TokenBatch(
            logprobs=logprobs,
            old_logprobs=logprobs,
            mask=torch.ones(1, 60, dtype=torch.bool),
            advantages=-adv,
            vocab_size=10,
        )
    )
    assert good.selected is not None
    assert not good.selected.any()


def test_exploration_weight_is_defined_at_one_and_just_above() -> None:
    logp = torch.tensor([[0.0, 1e-9, math.log(0.75)]], dtype=torch.float64)
    assert exploration_weight(logp, 0.5).tolist() == [[0.0, 0.0, 0.5]]
    assert exploration_weight(logp, 0.0).tolist() == [[1.0, 1.0, 1.0]]


def test_group_batch_is_what_an_advantage_reads() -> None:
    from offleash.objectives.advantages import leave_one_out

    assert leave_one_out(GroupBatch(rewards_PG=rewards(1, 0, 0))).tolist() == [[1.0, -0.5, -0.5]]
