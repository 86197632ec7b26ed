"""Entropy under training: the covariance formula to first order, and when entropy rises at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from offleash.core import rng
from offleash.objectives import get
from offleash.theory.dynamics import Progress
from offleash.theory.expectation import expected_update
from offleash.theory.measures import conditional_entropies, entropy, probabilities
from offleash.theory.statement import Figure, Line, Number, Panel, Statement, Study
from offleash.theory.worlds import bandit, logits_of

MECHANISM = "G. Cui et al., arXiv 2505.22617"
LEASH = "F. Wu et al., The Invisible Leash, arXiv 2507.14843, app. C.6"
CONFIDENTLY_WRONG = (0.98, 0.01, 0.01)
"""The counterexample: one wrong answer of 0.98, two right ones of 0.01."""


@dataclass(frozen=True)
class Settings:
    """What `offleash theory entropy` can change.

    Attributes:
        answers: V, answers of one token; the first `right` of them earn 1.
        right: how many are right.
        group: G of the objectives whose mean update is taken.
        rates: learning rates of one step, for the order of the remainder.
        seeds: random policies.
    """

    answers: int = 6
    right: int = 2
    group: int = 4
    rates: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    seeds: int = 20


def tilted(q_V: Tensor, rewards_V: Tensor, beta: float) -> Tensor:
    """q exp(beta r), normalised: the optimum of J - KL(pi || q) / beta."""
    return (q_V.log() + beta * rewards_V).softmax(0)


def plain_entropy(p_V: Tensor) -> float:
    """-sum p log p in nats; 0 log 0 = 0."""
    return float(-torch.xlogy(p_V, p_V).sum())


def covariance(p_V: Tensor, x_V: Tensor, y_V: Tensor) -> float:
    """Cov_p(x, y)."""
    return float((p_V * (x_V - (p_V * x_V).sum()) * (y_V - (p_V * y_V).sum())).sum())


def first_order(s: Settings, names: Sequence[str] = ("rloo", "grpo", "grpo-n", "nsr")) -> tuple[Statement, list[float]]:
    """dH = -Cov_pi(log pi, dz) to first order, for the mean update of several presets; also the errors by rate."""
    world = bandit([1.0] * s.right + [0.0] * (s.answers - s.right))
    errors: dict[float, list[float]] = {rate: [] for rate in s.rates}
    for seed in range(s.seeds):
        logits = torch.from_numpy(rng.stream("entropy", seed).normal(0.0, 1.0, (1, s.answers)))
        pi = logits[0].softmax(0)
        for name in names:
            dz = expected_update(get(name), world, logits, s.group)
            slope = -covariance(pi, pi.log(), dz[0])
            for rate in s.rates:
                change = float(entropy(world, logits + rate * dz) - entropy(world, logits))
                errors[rate].append(abs(change / (rate * slope) - 1))
    medians = [float(np.median(errors[rate])) for rate in s.rates]
    statement = Statement(
        name="covariance-formula",
        claim="a small step changes entropy by -Cov(log pi, dz), for every objective's mean update",
        source=f"{MECHANISM}; to 1e-3 relative at rate 0.001",
        held=medians[0] < 1e-3,
        numbers={
            **{f"median_relative_error_at_{rate:g}": m for rate, m in zip(s.rates, medians, strict=True)},
            f"largest_relative_error_at_{s.rates[0]:g}": max(errors[s.rates[0]]),
        },
        fails="the error grows in proportion to the rate; where the covariance itself is near 0 it is all there is",
    )
    return statement, medians


def policy_gradient_form(s: Settings) -> Statement:
    """dz = pi (r - J) for the plain policy gradient, and dz = r - J for the natural one: both through one formula."""
    rate, worst = 1e-4, 0.0
    numbers: dict[str, Number] = {}
    world = bandit([1.0] * s.right + [0.0] * (s.answers - s.right))
    for kind in ("plain", "natural"):
        gaps = []
        for seed in range(s.seeds):
            logits = torch.from_numpy(rng.stream("entropy", seed).normal(0.0, 1.0, (1, s.answers)))
            pi = logits[0].softmax(0)
            advantage = world.rewards_PM[0] - (pi * world.rewards_PM[0]).sum()
            dz = pi * advantage if kind == "plain" else advantage
            change = float(entropy(world, logits + rate * dz) - entropy(world, logits))
            gaps.append(abs(change / (-rate * covariance(pi, pi.log(), dz)) - 1))
        numbers[f"median_relative_error_{kind}"] = float(np.median(gaps))
        worst = max(worst, float(np.median(gaps)))
    return Statement(
        name="plain-and-natural-gradient",
        claim="dH = -rate Cov(log pi, pi A) for the policy gradient and -rate Cov(log pi, A) for the natural one",
        source=f"{MECHANISM}, entropy dynamics",
        held=worst < 1e-3,
        numbers=numbers,
    )


def entropy_can_rise() -> Statement:
    """The theorem H[pi] <= H[q] fails: a policy that is confidently wrong gains entropy when it learns."""
    q, r = torch.tensor(CONFIDENTLY_WRONG, dtype=torch.float64), torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    values = {"base": plain_entropy(q), **{f"beta_{b}": plain_entropy(tilted(q, r, b)) for b in (1, 5)}}
    values["beta_infinite"] = plain_entropy(torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64))
    golden = (0.112, 0.242, 1.08, 0.693)
    near = all(abs(v - g) < 0.005 for v, g in zip(values.values(), golden, strict=True))
    return Statement(
        name="entropy-can-rise",
        claim="the theorem that a reward-tilted policy never has more entropy than its base is false",
        source=f"{LEASH}; counterexample computed beforehand: 0.112, 0.242, 1.08, 0.693 nats",
        held=near and values["beta_5"] > values["base"],
        numbers=values,
        fails="as an empirical finding it often holds: next statement says when",
    )


def when_entropy_rises(policies: int = 2000) -> Statement:
    """dH/dbeta = -beta Var-free form: -Cov(log pi, r); at the base it rises iff right answers are the more surprising ones."""
    draw = rng.stream("when entropy rises")
    agree = rises = 0
    for _ in range(policies):
        answers = int(draw.integers(3, 9))
        logits = torch.from_numpy(draw.normal(0.0, 2.0, (1, answers)))
        world = bandit([1.0] + [float(draw.random() < 0.4) for _ in range(answers - 2)] + [0.0])
        q, r = logits[0].softmax(0), world.rewards_PM[0]
        step = 1e-5
        change = plain_entropy(tilted(q, r, step)) - plain_entropy(q)
        right, wrong = conditional_entropies(world, logits)
        agree += (change > 0) == bool(right > wrong)
        rises += change > 0
    return Statement(
        name="when-entropy-rises",
        claim="a first tilt towards the reward raises entropy if and only if right answers are less likely than wrong ones, in the mean of log pi",
        source="derived here: dH = -beta Cov_q(log q, r) = beta p (1 - p) (E[-log q | right] - E[-log q | wrong])",
        held=agree == policies,
        numbers={"agree": agree, "policies": policies, "share_that_rise": rises / policies},
        fails="it speaks of the tilt; a finite rate or a group's deviation adds its own part",
    )


UNITS = 4


def study(s: Settings, progress: Progress | None = None) -> Study:
    """All statements and the figure."""
    statement, medians = first_order(s)
    statements = [statement]
    for i, tried in enumerate((lambda: policy_gradient_form(s), entropy_can_rise, when_entropy_rises)):
        if progress:
            progress(i + 1)
        statements.append(tried())
    return Study("entropy", tuple(statements), figure(s, medians), asdict(s))


def figure(s: Settings, medians: Sequence[float]) -> Figure:
    """Error of the first-order formula over the rate; entropy along the tilt for three bases; a trained path."""
    betas = np.linspace(0.0, 12.0, 121)
    bases = {
        "0.98 wrong, 0.01 + 0.01 right": (CONFIDENTLY_WRONG, (0.0, 1.0, 1.0)),
        "0.60 wrong, 0.30 + 0.10 right": ((0.6, 0.3, 0.1), (0.0, 1.0, 1.0)),
        "0.40 right, 0.35 + 0.25 wrong": ((0.4, 0.35, 0.25), (1.0, 0.0, 0.0)),
    }
    tilt = []
    for i, (label, (q, r)) in enumerate(bases.items()):
        q_V, r_V = torch.tensor(q, dtype=torch.float64), torch.tensor(r, dtype=torch.float64)
        tilt.append(Line(label, betas.tolist(), [plain_entropy(tilted(q_V, r_V, float(b))) for b in betas], i + 1))
    return Figure(
        title="Entropy: what the covariance formula bears, and when entropy rises",
        caption="Left: median over random policies and objectives. Middle: q exp(beta r). Right: mean path of rloo, rate 1.",
        panels=(
            Panel(
                "error of dH = -Cov(log pi, dz)",
                "learning rate",
                "relative error",
                (Line("", s.rates, medians, 1), Line("", s.rates, medians, 1, dots=True)),
                x_log=True,
                y_log=True,
            ),
            Panel("the base tilted by the reward", "beta", "entropy (nats)", tuple(tilt)),
            Panel("entropy while training", "step", "entropy (nats)", tuple(_trained(bases))),
        ),
        columns=3,
    )


def _trained(bases: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]], steps: int = 400) -> list[Line]:
    lines = []
    for i, (q, r) in enumerate(bases.values()):
        world, logits = bandit(r), logits_of([q])
        values = []
        for _ in range(steps + 1):
            values.append(float(entropy(world, logits)))
            pi = probabilities(world, logits)[0]
            logits = logits + pi * (world.rewards_PM[0] - (pi * world.rewards_PM[0]).sum())
        lines.append(Line("", list(range(steps + 1)), values, i + 1))
    return lines
