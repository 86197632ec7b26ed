"""The mixture law of formats: which way of writing wins when several are rewarded (R. Zhao et al., arXiv 2504.07912).

A completion is a format, then an answer in it. The idealised law quoted by the paper: the optimum under a KL penalty is the base,
each completion reweighted by exp(r / beta), so a format's share becomes alpha_i E_i[exp(r / beta)].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offleash.core import InputError
from offleash.objectives import get
from offleash.theory.dynamics import Path, Progress, fixed_point, train
from offleash.theory.measures import expected_reward, gradient, kl, probabilities
from offleash.theory.statement import Figure, Line, Number, Panel, Statement, Study
from offleash.theory.worlds import World, logits_of, lottery, sequences

LAW = "R. Zhao et al., Echo Chamber, arXiv 2504.07912"


@dataclass(frozen=True)
class Settings:
    """What `offleash theory formats` can change.

    Attributes:
        prior: shares of the formats at the start.
        accuracy: how often an answer in each format is right at the start.
        betas: coefficients of the penalty in sampled training.
        group: rollouts a prompt.
        rate: learning rate.
        steps: training steps.
        seeds: streams of luck.
    """

    prior: tuple[float, ...] = (0.62, 0.28, 0.10)
    accuracy: tuple[float, ...] = (0.20, 0.35, 0.60)
    betas: tuple[float, ...] = (0.3, 1.0, 3.0)
    group: int = 8
    rate: float = 0.1
    steps: int = 1000
    seeds: int = 20


def world_of(s: Settings) -> World:
    """Two tokens: a format, then an answer, of which the first is right."""
    if len(s.prior) != len(s.accuracy) or len(s.prior) < 2:
        raise InputError("prior, accuracy: give one number for each of two or more formats")
    return sequences(len(s.prior), 2, lambda y: y[1] == 0)


def start_of(s: Settings) -> Tensor:
    """Logits (1 + F, F): the shares, then each format's answers."""
    formats = len(s.prior)
    answers = [[p] + [(1 - p) / (formats - 1)] * (formats - 1) for p in s.accuracy]
    return torch.cat([logits_of([s.prior]), logits_of(answers)])


def shares(world: World, logits: Tensor) -> Tensor:
    """Share (..., F) of each format."""
    formats = world.vocab
    return torch.stack(
        [probabilities(world, logits)[..., 0, world.token_MT[:, 0] == f].sum(-1) for f in range(formats)], -1
    )


def law(s: Settings, beta: float) -> np.ndarray:
    """alpha_i (1 + p_i (exp(1 / beta) - 1)), normalised: answers are trained along with the format."""
    weight = np.array(s.prior) * (np.exp(-1 / beta) * (1 - np.array(s.accuracy)) + np.array(s.accuracy))
    result: np.ndarray = weight / weight.sum()
    return result


def frozen_law(s: Settings, beta: float) -> np.ndarray:
    """alpha_i exp(p_i / beta), normalised: only the choice of the format is trained, its accuracy stays."""
    exponent = np.array(s.accuracy) / beta
    weight = np.array(s.prior) * np.exp(exponent - exponent.max())
    result: np.ndarray = weight / weight.sum()
    return result


def token_law(s: Settings, beta: float) -> np.ndarray:
    """alpha_i exp(J_i / beta) with J_i the accuracy after training: what a penalty token by token comes to rest at.

    k2 at the format's token sees that token's ratio alone, not what the format costs in KL later on.
    """
    odds = np.array(s.accuracy) * np.exp(1 / beta)
    trained = odds / (odds + 1 - np.array(s.accuracy))
    weight = np.array(s.prior) * np.exp((trained - trained.max()) / beta)
    result: np.ndarray = weight / weight.sum()
    return result


def law_is_the_optimum(s: Settings, ends: Mapping[float, Tensor] | None = None) -> Statement:
    """The law's policy has no gradient of J - beta KL, and sampled training with k1 in the reward ends there."""
    world, start = world_of(s), start_of(s)
    flat, far = 0.0, 0.0
    numbers: dict[str, Number] = {}
    for beta in s.betas:
        answers = start[1:] + torch.eye(world.vocab, dtype=torch.float64)[0] / beta
        optimum = torch.cat([torch.from_numpy(law(s, beta)).log()[None], answers])
        slope = gradient(lambda w, z, b=beta: expected_reward(w, z) - b * kl(w, z, start), world, optimum)  # type: ignore[misc]
        flat = max(flat, float(slope.abs().max()))
        end = ends[beta] if ends else sampled(s, beta)
        gap = float((end - torch.from_numpy(law(s, beta))).abs().max())
        numbers[f"gap_of_training_at_{beta:g}"] = gap
        far = max(far, gap)
    return Statement(
        "mixture-law",
        "under a KL penalty formats share as alpha_i E_i[exp(r / beta)]; training with k1 in the reward ends there",
        LAW,
        flat < 1e-12 and far < 0.03,
        {"gradient_at_the_law": flat, **numbers},
        "a penalty in the loss, token by token, and frozen answers: next statements",
    )


def sampled(s: Settings, beta: float) -> Tensor:
    """Mean shares (F) at the end of sampled training with reward - beta log(pi / q)."""
    # The reward's spread grows with beta, and the step that still converges shrinks with it.
    path = train(
        get("rloo"),
        world_of(s),
        start_of(s).expand(s.seeds, -1, -1),
        group=s.group,
        rate=4 * s.rate / (1 + beta),
        steps=s.steps,
        reward_beta=beta,
        every=s.steps,
    )
    return shares(world_of(s), path.logits_RSV).mean(0)


def tokens_rest_elsewhere(s: Settings, group: int = 2) -> Statement:
    """k2 as a loss, token by token, rests at another mixture, in closed form as well."""
    world = world_of(s)
    numbers: dict[str, Number] = {}
    worst, apart = 0.0, 0.0
    for beta in (0.3, 1.0, 3.0):
        objective = get("rloo", kl_beta=beta, kl_estimator="k2")
        rest = fixed_point(objective, world, start_of(s), group=group, rate=1 / (1 + beta), follow=60)
        found = shares(world, rest[None])[0].numpy()
        gap = float(np.abs(found - token_law(s, beta)).max())
        distance = float(np.abs(found - law(s, beta)).max())
        numbers |= {f"gap_at_{beta:g}": gap, f"distance_from_the_law_at_{beta:g}": distance}
        worst, apart = max(worst, gap), max(apart, distance)
    return Statement(
        "token-penalty-rests-elsewhere",
        "k2 as a loss, token by token, rests at alpha_i exp(J_i / beta): it does not charge a format for its later KL",
        "derived here",
        worst < 1e-6 and apart > 0.02,
        numbers,
        "one-token answers, where both are one; as beta goes to 0 every J_i is 1 and the shares go back to the prior",
    )


def frozen_formats(s: Settings) -> Statement:
    """Where answers cannot be trained, formats share as alpha_i exp(p_i / beta)."""
    ways = lottery([s.accuracy], honest=[True] * len(s.accuracy))
    worst = 0.0
    for beta in s.betas:
        objective = get("rloo", kl_beta=beta, kl_estimator="k2")
        rest = fixed_point(objective, ways, logits_of([s.prior]), group=2, rate=1 / (1 + beta))
        worst = max(worst, float(np.abs(rest[0].softmax(0).numpy() - frozen_law(s, beta)).max()))
    return Statement(
        "frozen-answers-share-by-mean-reward",
        "where answers are not trained the law is alpha_i exp(p_i / beta): the mean reward, not the mean of exp(r / beta)",
        "derived here",
        worst < 1e-6,
        {"largest_gap": worst},
    )


def limits(s: Settings) -> Statement:
    """beta large keeps the shares; beta to 0 gives alpha_i p_i, not the best format."""
    prior, accuracy = np.array(s.prior), np.array(s.accuracy)
    kept = float(np.abs(law(s, 1e6) - prior).max())
    product = prior * accuracy / (prior * accuracy).sum()
    at_zero = float(np.abs(law(s, 0.01) - product).max())
    frozen = float(frozen_law(s, 0.001)[int(accuracy.argmax())])
    best = float(law(s, 0.01)[int(accuracy.argmax())])
    return Statement(
        "limits-of-the-law",
        "beta large keeps the shares; beta to 0 gives shares of alpha_i p_i, not all to the most accurate format",
        "that the most accurate format takes all as beta goes to 0 is refuted for 0/1 rewards, unless answers are frozen",
        kept < 1e-6 and at_zero < 1e-6 and frozen > 0.999 and best < 0.9,
        {"largest_change_at_large_beta": kept, "best_format_at_beta_0": best, "the_same_frozen": frozen},
        "graded rewards: then the format that can earn the largest reward takes all",
    )


def collapse(s: Settings) -> tuple[Statement, Path]:
    """Without a penalty one format takes over: the one with most right completions, not the most accurate."""
    world = world_of(s)
    path = train(
        get("grpo"),
        world,
        start_of(s).expand(s.seeds, -1, -1),
        group=s.group,
        rate=s.rate,
        steps=s.steps,
        every=max(1, s.steps // 100),
    )
    end_RF = shares(world, path.logits_RSV)
    product = np.array(s.prior) * np.array(s.accuracy)
    likely, best = int(product.argmax()), int(np.argmax(s.accuracy))
    wins = (end_RF.argmax(1) == likely).double().mean()
    numbers: dict[str, Number] = {
        "share_of_seeds_won_by_the_most_right": float(wins),
        "share_of_seeds_won_by_the_most_accurate": float((end_RF.argmax(1) == best).double().mean()),
        "median_largest_share": float(end_RF.max(1).values.median()),
    }
    statement = Statement(
        "one-format-takes-over",
        "without a penalty one format pulls away, in most seeds the one with most right completions at the start (alpha_i p_i)",
        f"{LAW}: one format exceeds 80 % within the first epoch, usually of best accuracy, with exceptions",
        float(wins) > 0.5 and float(end_RF.max(1).values.median()) > 1.2 * max(s.prior),
        numbers,
        "luck: a format that starts close behind takes over in the other seeds; and it takes long, like 1 / sqrt(t) at the end",
    )
    return statement, path


UNITS = 7
"""With three coefficients; `progress` may go beyond."""


def study(s: Settings, progress: Progress | None = None) -> Study:
    """All statements and the figure."""
    done = 0

    def count(result: Any) -> Any:
        nonlocal done
        done += 1
        if progress:
            progress(done)
        return result

    world_of(s)
    taken, path = count(collapse(s))
    ends = {beta: count(sampled(s, beta)) for beta in s.betas}
    statements = [law_is_the_optimum(s, ends)]
    statements += [count(tried(s)) for tried in (tokens_rest_elsewhere, frozen_formats, limits)]
    return Study("formats", (*statements, taken), figure(s, path, ends), asdict(s))


def figure(s: Settings, path: Path, ends: Mapping[float, Tensor]) -> Figure:
    """Shares over beta by the three laws, and while training without a penalty."""
    betas = np.geomspace(0.02, 20, 80)
    panels = []
    for title, shape in (
        ("answers trained: alpha E[exp(r / beta)]", law),
        ("k2 token by token: alpha exp(J / beta)", token_law),
        ("answers frozen: alpha exp(p / beta)", frozen_law),
    ):
        curve = np.stack([shape(s, float(b)) for b in betas])
        lines = [
            Line(f"prior {s.prior[f]:g}, accuracy {s.accuracy[f]:g}", betas.tolist(), curve[:, f].tolist(), f + 1)
            for f in range(len(s.prior))
        ]
        if shape is law:
            lines += [
                Line("", s.betas, [float(ends[b][f]) for b in s.betas], f + 1, dots=True) for f in range(len(s.prior))
            ]
        panels.append(Panel(title, "beta", "share", tuple(lines), x_log=True, y_range=(0.0, 1.0)))
    first = world_of(s).token_MT[:, 0]
    mean_EM = path.probabilities_ERPM[:, :, 0].mean(1)
    lines = [Line("", path.steps_E, mean_EM[:, first == f].sum(1).tolist(), f + 1) for f in range(len(s.prior))]
    panels.append(Panel("GRPO without a penalty (mean over seeds)", "step", "share", tuple(lines), y_range=(0.0, 1.0)))
    return Figure(
        title="Which format wins",
        caption="Lines: closed forms. Dots: sampled training with k1 in the reward. Last panel: no penalty, formats compete.",
        panels=tuple(panels),
        columns=2,
    )
