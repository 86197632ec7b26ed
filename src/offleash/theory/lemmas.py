"""The two-stage paper's update rules (X. Yao et al., arXiv 2510.04028), held against the trainer's own objectives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from offleash.core import rng
from offleash.objectives import PRESETS, Objective, get
from offleash.theory.expectation import expected_update, multiset_probabilities, multisets
from offleash.theory.measures import expected_reward, gradient
from offleash.theory.statement import Statement
from offleash.theory.updates import update
from offleash.theory.worlds import World, bandit, logits_of

PAPER = "X. Yao et al., arXiv 2510.04028"
GROUP = 5
TINY = 1e-12


def plain_presets() -> list[str]:
    """Rows whose update on one-token answers is that of -A log pi, from rewards alone: no demonstration, no batch statistic."""
    names = []
    for name, preset in PRESETS.items():
        objective = get(name)
        alone = not objective.group_needs and not objective.remembers and not objective.needs_external
        one_term = len(objective.terms) == 1  # a bonus or an imitation loss adds its own part
        if preset.claims.policy_gradient_at_ratio_one and alone and one_term and objective.least_group <= GROUP:
            names.append(name)
    return names


def logit_update(names: Sequence[str] | None = None) -> Statement:
    """Lemma 1: one sampled answer a of advantage A moves logit v by A (1[v = a] - pi(v)); a group by the mean of it."""
    world, draw = bandit([0.0, 1.0, 1.0, 0.0]), rng.stream("logit update")
    logits = torch.from_numpy(draw.normal(0.0, 1.5, (16, 1, 4)))
    outcomes = torch.from_numpy(draw.integers(0, 4, (16, 1, GROUP)))
    worst, drift = 0.0, 0.0
    names = plain_presets() if names is None else list(names)
    for name in names:
        objective = get(name)
        for r in range(len(outcomes)):
            rewards_PG = world.rewards_PM[0][outcomes[r]]
            got = update(objective, world, logits[r : r + 1], outcomes[r : r + 1], together=False)[0, 0]
            score_GV = torch.nn.functional.one_hot(outcomes[r, 0], 4) - logits[r, 0].softmax(0)
            wanted = (objective.advantages(rewards_PG)[0, :, None] * score_GV).mean(0)
            worst = max(worst, float((got - wanted).abs().max()))
            drift = max(drift, abs(float(got.sum())))
    return Statement(
        name="logit-update",
        claim="a sampled answer a of advantage A moves logit v by A (1[v = a] - pi(v)); over all v the moves sum to 0",
        source=f"{PAPER}, Lemma 1",
        held=worst < TINY and drift < TINY,
        numbers={"presets": len(names), "largest_gap": worst, "largest_sum": drift},
        fails="off-policy (clipping, ratios), and with a KL or entropy term, which add their own parts",
    )


def conditional_advantage(objective: Objective, world: World, logits_SV: Tensor, group: int) -> Tensor:
    """A(v) = mean advantage of a sample given that it is v, the other G - 1 members drawn from the policy; (V)."""
    others_KG = multisets(world.outcomes, group - 1)
    weight_K = multiset_probabilities(others_KG, logits_SV[0].softmax(0))
    rewards_M = world.rewards_PM[0]
    values = []
    for v in range(world.outcomes):
        groups_KG = torch.cat([torch.full((len(others_KG), 1), v), others_KG], 1)
        values.append((weight_K * objective.advantages(rewards_M[groups_KG])[:, 0]).sum())
    return torch.stack(values)


def expected_rule(names: Sequence[str] = ("grpo", "dr-grpo", "rloo", "grpo-n", "gspo", "gspo-n")) -> Statement:
    """Theorem 1: the mean update of logit v is pi(v) (A(v) - E_pi[A]), with A(v) the conditional advantage."""
    world, logits = bandit([0.8, 1.0, 0.0]), logits_of([[0.30, 0.02, 0.68]])
    pi = logits[0].softmax(0)
    worst, drift = 0.0, 0.0
    for name in names:
        objective = get(name)
        got = expected_update(objective, world, logits, GROUP)[0]
        advantage_V = conditional_advantage(objective, world, logits, GROUP)
        worst = max(worst, float((got - pi * (advantage_V - (pi * advantage_V).sum())).abs().max()))
        drift = max(drift, abs(float(got.sum())))
    rloo = expected_update(get("rloo"), world, logits, GROUP)
    exact = float((rloo - gradient(expected_reward, world, logits)).abs().max())
    return Statement(
        name="expected-update",
        claim="the mean update of logit v is pi(v) (A(v) - E[A]): an answer moves as fast as it is likely",
        source=f"{PAPER}, Theorem 1",
        held=max(worst, drift, exact) < TINY,
        numbers={"largest_gap": worst, "largest_sum": drift, "rloo_against_the_gradient_of_J": exact},
        fails="A(v) depends on the whole group: only without a deviation is it the reward less its mean",
    )


def unsampled() -> Statement:
    """Bidirectional rule: an answer outside the group stays under a zero-sum advantage, and gains ~ pi if only negatives count."""
    world, logits = bandit([1.0, 0.0, 0.0, 1.0, 0.0]), logits_of([[0.4, 0.3, 0.2, 0.06, 0.04]])
    group = torch.tensor([[[0, 0, 1, 1, 2]]])  # answers 3 and 4 are not in it
    pi = logits[0].softmax(0)
    full = update(get("grpo"), world, logits[None], group)[0, 0]
    negative = update(get("grpo-n"), world, logits[None], group)[0, 0]
    nsr = update(get("nsr"), world, logits[None], group)[0, 0]
    still = float(full[3:].abs().max())
    ratios = [float((g[3] / g[4]) / (pi[3] / pi[4]) - 1) for g in (negative, nsr)]
    wrong_gains = float(negative[4])
    return Statement(
        name="unsampled-answers",
        claim=(
            "GRPO moves no logit outside its group; negative-only raises each in proportion to its probability, "
            "wrong ones too, so the likelier gains more"
        ),
        source=f"{PAPER}, the bidirectional rule; the proportion is NSR's, arXiv 2506.01347, Eq. 6-8",
        held=still < TINY and max(map(abs, ratios)) < TINY and wrong_gains > 0,
        numbers={"grpo_moves": still, "grpo_n_ratio_error": ratios[0], "nsr_ratio_error": ratios[1]},
        fails="probabilities still move, through the sum of the softmax; shared features move unsampled answers too",
    )


def first_move(names: Sequence[str] = ("rloo", "grpo"), points: int = 60) -> Statement:
    """The stage boundary at the start: a very rare best answer first falls if and only if pi(good) > pi(bad).

    For advantages that sum to 0 over a group, pi_1 A(1) = -pi_3 A(3) in the limit pi_2 -> 0, so that
    d log pi_2 = -sum_u pi_u dz_u = -pi_1 A(1) (pi_1 - pi_3).
    """
    world, rare = bandit([0.8, 1.0, 0.0]), 1e-9
    agree = total = 0
    for name in names:
        objective = get(name)
        for pi1 in torch.linspace(0.02, 0.98, points).tolist():
            if abs(pi1 - 0.5) < 1e-3:
                continue
            logits = logits_of([[pi1, rare, 1 - rare - pi1]])
            dz = expected_update(objective, world, logits, GROUP)[0]
            dlog = float(dz[1] - (logits[0].softmax(0) * dz).sum())
            agree += math.copysign(1, dlog) == math.copysign(1, 0.5 - pi1)
            total += 1
    return Statement(
        name="first-move",
        claim="a rare best answer first falls if the good answer is likelier than the bad one, and first rises if not",
        source="derived here",
        held=agree == total,
        numbers={"agree": agree, "starts": total},
        fails="advantages that do not sum to 0 over a group (negative-only)",
    )
