"""Where a KL penalty to the reference comes to rest: three estimators, three fixed points.

With reference q, coefficient beta and the exact policy gradient of one softmax:

- k2 as a loss term, or k1 inside the reward: the gradient of J - beta KL(pi || q), so pi is proportional to q exp(r / beta);
- k3 as a loss term: its gradient averages to that of KL(q || pi), so pi_v (r_v - J) + beta (q_v - pi_v) = 0, that is
  pi_v = beta q_v / (lambda - r_v), where lambda > max r makes the sum 1 (and is beta + J);
- k1 as a loss term: its gradient averages to 0, and nothing holds the policy.

The rational form is that of regularised policy optimisation with the other KL (J.-B. Grill et al., arXiv 2007.12509, Eq. 8).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from offleash.core import InputError
from offleash.objectives import get
from offleash.theory.dynamics import Progress, fixed_point, train
from offleash.theory.entropy import tilted
from offleash.theory.expectation import expected_update
from offleash.theory.measures import probabilities
from offleash.theory.statement import Figure, Line, Number, Panel, Statement, Study
from offleash.theory.worlds import bandit, logits_of

ALGEBRA = "derived in docs/theory.md; the gradients are those of objectives/regularizers/kl.py"


@dataclass(frozen=True)
class Settings:
    """What `offleash theory kl` can change.

    Attributes:
        base: probabilities of the answers under the reference.
        rewards: their rewards.
        betas: coefficients of the penalty.
        rate: learning rate towards a fixed point, along the exact mean update.
        group: G.
        steps: of the sampled runs (k1 in the reward).
        seeds: of the sampled runs.
    """

    base: tuple[float, ...] = (0.5, 0.3, 0.15, 0.05)
    rewards: tuple[float, ...] = (0.0, 0.5, 0.0, 1.0)
    betas: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0)
    rate: float = 1.0
    group: int = 3
    steps: int = 3000
    seeds: int = 20


def reverse_optimum(q_V: Tensor, rewards_V: Tensor, beta: float) -> Tensor:
    """argmax J - beta KL(pi || q): q exp(r / beta), normalised."""
    return tilted(q_V, rewards_V, 1 / beta)


def forward_optimum(q_V: Tensor, rewards_V: Tensor, beta: float) -> Tensor:
    """argmax J - beta KL(q || pi): beta q / (lambda - r), with lambda such that it sums to 1."""
    q, r = q_V.numpy(), rewards_V.numpy()
    top = r.max()
    # At lambda = max r + beta q(best) the best answers alone have mass 1; at max r + beta the sum is at most 1.
    low = top + beta * q[r == top].sum() * (1 - 1e-12)
    lam = brentq(lambda x: (beta * q / (x - r)).sum() - 1, low, top + beta * (1 + 1e-9), xtol=1e-15, rtol=1e-14)
    return torch.from_numpy(beta * q / (lam - r))


def rest(s: Settings, beta: float, estimator: str, name: str = "rloo") -> Tensor:
    """Where the exact mean update of a preset with this penalty comes to rest, (V)."""
    world = bandit(s.rewards)
    objective = get(name, kl_beta=beta, kl_estimator=estimator)
    # The steeper the penalty the smaller the step that still converges.
    logits = fixed_point(objective, world, logits_of([s.base]), group=s.group, rate=s.rate / (1 + beta))
    return probabilities(world, logits)[0]


def _q_r(s: Settings) -> tuple[Tensor, Tensor]:
    if len(s.base) != len(s.rewards):
        raise InputError(f"rewards: {len(s.rewards)} for {len(s.base)} answers of the base; give one each")
    return logits_of(s.base).exp(), torch.tensor(s.rewards, dtype=torch.float64)


def closed_forms(s: Settings) -> tuple[Statement, Statement]:
    """k2 rests at the exponential tilt, k3 at the rational one."""
    q, r = _q_r(s)
    gaps: dict[str, dict[float, float]] = {"k2": {}, "k3": {}}
    apart = []
    for beta in s.betas:
        for estimator, optimum in (("k2", reverse_optimum), ("k3", forward_optimum)):
            gaps[estimator][beta] = float((rest(s, beta, estimator) - optimum(q, r, beta)).abs().max())
        apart.append(float((reverse_optimum(q, r, beta) - forward_optimum(q, r, beta)).abs().max()))
    return (
        Statement(
            "k2-rests-at-the-exponential-tilt",
            "with k2 as a loss term and no deviation training rests at pi ~ q exp(r / beta)",
            ALGEBRA,
            max(gaps["k2"].values()) < 1e-6,
            {f"gap_at_{b:g}": g for b, g in gaps["k2"].items()},
            "with the group's deviation in the advantage: see grpo-rests-elsewhere",
        ),
        Statement(
            "k3-rests-at-the-rational-tilt",
            "with k3 it rests at pi = beta q / (lambda - r): the optimum under the other KL",
            f"{ALGEBRA}; J.-B. Grill et al., arXiv 2007.12509, Eq. 8",
            max(gaps["k3"].values()) < 1e-6 and max(apart) > 0.05,
            {**{f"gap_at_{b:g}": g for b, g in gaps["k3"].items()}, "largest_distance_from_k2": max(apart)},
            "off-policy, where k3's samples are not the policy's",
        ),
    )


def k1_holds_nothing(s: Settings) -> Statement:
    """k1 as a loss term has a mean gradient of 0: the mean update is that without a penalty."""
    world = bandit(s.rewards)
    start, away = logits_of([s.base]), logits_of([s.base]) + torch.linspace(-1.0, 1.0, len(s.base), dtype=torch.float64)
    with_k1 = expected_update(get("rloo", kl_beta=1.0, kl_estimator="k1"), world, away, s.group, reference_SV=start)
    without = expected_update(get("rloo"), world, away, s.group)
    gap = float((with_k1 - without).abs().max())
    return Statement(
        "k1-as-a-loss-holds-nothing",
        "k1 as a loss term does not change the mean update at all",
        ALGEBRA,
        gap < 1e-12,
        {"largest_gap": gap},
        "its noise does; inside the reward k1 is the true penalty: next statement",
    )


def k1_in_the_reward(s: Settings, beta: float = 0.5) -> Statement:
    """Sampled training with k1 in the reward comes to rest at the exponential tilt, noise and all.

    There r - beta log(pi / q) is the same for every answer, so every advantage is 0: at the optimum nothing is left to draw.
    """
    q, r = _q_r(s)
    path = train(
        get("rloo"),
        bandit(s.rewards),
        logits_of([s.base]).expand(s.seeds, -1, -1),
        group=max(8, s.group),
        rate=0.2 / (1 + beta),
        steps=s.steps,
        reward_beta=beta,
        every=s.steps,
    )
    gap = float((path.probabilities_ERPM[-1, :, 0] - reverse_optimum(q, r, beta)).abs().max())
    return Statement(
        "k1-in-the-reward-is-the-penalty",
        "with reward - beta log(pi / q) and no deviation, sampled training comes to rest at q exp(r / beta) in every seed",
        ALGEBRA,
        gap < 0.005,
        {"largest_gap": gap, "seeds": s.seeds},
        "with the deviation every group is blown up to the same size, and noise stays at the optimum",
    )


def resets_multiply(s: Settings, resets: int = 3, beta: float = 1.0) -> Statement:
    """Resetting the reference n - 1 times at beta ends where beta / n would."""
    q, r = _q_r(s)
    policy = q
    for _ in range(resets):
        again = Settings(**{**asdict(s), "base": tuple((policy / policy.sum()).tolist())})
        policy = rest(again, beta, "k2")
    gap = float((policy - reverse_optimum(q, r, beta / resets)).abs().max())
    return Statement(
        "resets-divide-beta",
        "n stretches at beta, the reference reset between them, end where one stretch at beta / n does",
        "derived here; the resets are ProRL's, arXiv 2505.24864",
        gap < 1e-6,
        {"stretches": resets, "largest_gap": gap},
        "k3: each stretch multiplies by beta / (lambda - r) with a lambda of its own; and stretches cut short",
    )


def grpo_rests_elsewhere(s: Settings) -> Statement:
    """The deviation in GRPO's advantage changes the objective, and so the fixed point."""
    q, r = _q_r(s)
    numbers: dict[str, Number] = {}
    far = []
    for beta in s.betas:
        gap = float((rest(s, beta, "k2", "grpo") - reverse_optimum(q, r, beta)).abs().max())
        numbers[f"gap_at_{beta:g}"] = gap
        far.append(gap)
    return Statement(
        "grpo-rests-elsewhere",
        "with GRPO's deviation the closed forms do not hold: it rests further from the reference",
        "found here",
        max(far) > 0.05,
        numbers,
        "",
    )


UNITS = 5


def study(s: Settings, progress: Progress | None = None) -> Study:
    """All statements and the figure."""
    statements = list(closed_forms(s))
    tried = (k1_holds_nothing, k1_in_the_reward, resets_multiply, grpo_rests_elsewhere)
    for i, statement in enumerate(tried):
        if progress:
            progress(i + 1)
        statements.append(statement(s))
    return Study("kl", tuple(statements), figure(s), asdict(s))


def figure(s: Settings) -> Figure:
    """Each answer's probability at rest over beta: closed forms as lines, trained fixed points as dots."""
    q, r = _q_r(s)
    betas = np.geomspace(min(s.betas) / 1.5, max(s.betas) * 1.5, 60)
    panels = []
    for title, estimator, optimum in (
        ("k2 as a loss: q exp(r / beta)", "k2", reverse_optimum),
        ("k3 as a loss: beta q / (lambda - r)", "k3", forward_optimum),
    ):
        curve = torch.stack([optimum(q, r, float(b)) for b in betas])
        panels.append(_panel(title, s, betas, curve, {n: _rests(s, estimator, n) for n in ("rloo", "grpo")}))
    return Figure(
        title="Where training with a KL penalty comes to rest",
        caption="Lines: closed form. Dots: fixed point of rloo's exact mean update. Crosses: of GRPO's, whose deviation changes it.",
        panels=tuple(panels),
        columns=2,
    )


def _rests(s: Settings, estimator: str, name: str) -> Tensor:
    return torch.stack([rest(s, beta, estimator, name) for beta in s.betas])


def _panel(title: str, s: Settings, betas: np.ndarray, curve: Tensor, points: dict[str, Tensor]) -> Panel:
    lines: list[Line] = []
    for v in range(len(s.base)):
        label = f"reward {s.rewards[v]:g}, base {s.base[v]:g}"
        lines.append(Line(label, betas.tolist(), curve[:, v].tolist(), v + 1))
        for name, rests in points.items():
            lines.append(Line("", s.betas, rests[:, v].tolist(), v + 1, dashed=name == "grpo", dots=True))
    return Panel(title, "beta", "probability at rest", tuple(lines), x_log=True, y_range=(0.0, 1.0))
