"""Group-relative normalisation on near-impossible problems: what one lucky success does, and what holds it back.

A problem has three ways to be answered: solve (always right), guess (right by luck) and other (never right). The ways are
shared with an easier problem, which is where the harm shows. The account is a model of what is reported of arXiv 2605.28388, whose text was not at hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offleash.objectives import Objective, get
from offleash.theory.dynamics import Path, Progress, train
from offleash.theory.expectation import multiset_probabilities, multisets
from offleash.theory.measures import probabilities
from offleash.theory.statement import Figure, Line, Number, Panel, Statement, Study
from offleash.theory.worlds import World, logits_of, lottery

SHEET = "arithmetic; golden values of 8, 16 and 32 rollouts in tests/theory"
SOLVE, GUESS = 0, 1
REMEDIES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "deviation (GRPO)": ("grpo", {"std": "population"}),
    "mean only (Dr.GRPO)": ("dr-grpo", {}),
    "capped at 1": ("grpo", {"advantage": "offleash.theory.remedies:capped"}),
    "two successes at least": ("grpo", {"advantage": "offleash.theory.remedies:confirmed"}),
    "pass@4": ("pass-at-k", {}),
    "MaxRL": ("max-rl", {}),
}


@dataclass(frozen=True)
class Settings:
    """What `offleash theory normalisation` can change.

    Attributes:
        hard: probabilities of solve, guess and other at the hard problem.
        easy: the same at the easier one, which is not trained.
        luck: success rate of a guess.
        group: rollouts a prompt.
        rate: learning rate.
        steps: training steps.
        seeds: streams of luck.
    """

    hard: tuple[float, ...] = (0.0005, 0.20, 0.7995)
    easy: tuple[float, ...] = (0.70, 0.25, 0.05)
    luck: float = 0.05
    group: int = 8
    rate: float = 0.1
    steps: int = 1000
    seeds: int = 20


def lucky_weight() -> Statement:
    """One success among G: its advantage under three conventions."""
    golden = {
        8: {"none": 0.875, "population": 2.646, "sample": 2.475},
        16: {"none": 0.938, "population": 3.873, "sample": 3.750},
        32: {"none": 0.969, "population": 5.568, "sample": 5.480},
    }
    numbers: dict[str, Number] = {}
    gap = exact = 0.0
    for group, row in golden.items():
        rewards = torch.zeros(1, group, dtype=torch.float64)
        rewards[0, 0] = 1.0
        for std, value in row.items():
            got = float(get("grpo", std=std).advantages(rewards)[0, 0])
            numbers[f"{std}_{group}"] = got
            gap = max(gap, abs(got - value))
        exact = max(exact, abs(float(numbers[f"population_{group}"] or 0) / math.sqrt(group - 1) - 1))
    return Statement(
        "one-lucky-success",
        "one success among G has advantage sqrt(G - 1) under the deviation, 1 - 1/G under the mean alone",
        SHEET,
        gap < 6e-4 and exact < 1e-5,
        numbers,
    )


def prompt_weight(objective: Objective, group: int, p: float) -> float:
    """How strongly a prompt of success rate p counts: the factor before the gradient of p in the mean update.

    With 0/1 rewards every answer is either right or wrong, and the factor is E[A | right] - E[A | wrong].
    """
    others_KG = multisets(2, group - 1)
    weight_K = multiset_probabilities(others_KG, torch.tensor([1 - p, p], dtype=torch.float64))
    means = []
    for mine in (1, 0):
        groups_KG = torch.cat([torch.full((len(others_KG), 1), mine), others_KG], 1).to(torch.float64)
        means.append(float((weight_K * objective.advantages(groups_KG)[:, 0]).sum()))
    return means[0] - means[1]


def hard_prompts_weigh_more(s: Settings) -> Statement:
    """How much more a near-impossible prompt weighs than one of even odds, by remedy."""
    hard, even = s.hard[SOLVE] + s.hard[GUESS] * s.luck, 0.5
    numbers: dict[str, Number] = {"success_rate_hard": hard}
    ratios = {}
    for name, (preset, settings) in REMEDIES.items():
        objective = get(preset, **settings)
        ratios[name] = prompt_weight(objective, s.group, hard) / prompt_weight(objective, s.group, even)
        numbers[f"weight_{name}"] = ratios[name]
    return Statement(
        "hard-prompts-weigh-more",
        "divided by the deviation, a hard prompt's gradient counts more than an even one's; by the mean alone the same",
        SHEET,
        ratios["deviation (GRPO)"] > 1.2 and abs(ratios["mean only (Dr.GRPO)"] - 1) < 1e-9,
        numbers,
        "MaxRL and pass@4 mean to weigh hard prompts more still; only asking for a second success weighs them less",
    )


def shortcut_share(s: Settings) -> Statement:
    """Of what reinforces, the share that goes to guesses is s / (s + p), whatever the advantage."""
    world = _world(s, s.luck, prompts=1)
    p_M = probabilities(world, logits_of([s.hard]))[0]
    groups_KG = multisets(world.outcomes, s.group)
    weight_K = multiset_probabilities(groups_KG, p_M)
    possible = weight_K > 0
    groups_KG, weight_K = groups_KG[possible], weight_K[possible]
    rewards_KG = world.rewards_PM[0][groups_KG]
    guessed, solved = s.hard[GUESS] * s.luck, s.hard[SOLVE]
    expected, worst = guessed / (guessed + solved), 0.0
    for preset, settings in REMEDIES.values():
        adv_KG = get(preset, **settings).advantages(rewards_KG)
        gains = [float((weight_K[:, None] * adv_KG * (groups_KG == way)).sum()) for way in (SOLVE, GUESS)]
        worst = max(worst, abs(gains[1] / sum(gains) - expected))
    return Statement(
        "remedies-do-not-tell-luck-from-skill",
        "of what is reinforced, the share of guesses is s / (s + p) under every advantage of the reward alone",
        SHEET,
        worst < 1e-9,
        {"share_of_guesses": expected, "largest_gap": worst, "remedies": len(REMEDIES)},
        "a check of the derivation, which lowers s itself, is the only remedy of the direction; the others are of the speed",
    )


def _world(s: Settings, luck: float, prompts: int = 2) -> World:
    return lottery([(1.0, luck, 0.0)] * prompts, honest=(True, False, False))


def shared_ways() -> Tensor:
    """Features (D, S, V) of two prompts: a logit of its own for each way at each prompt, and one a way shared by both."""
    own = torch.eye(6, dtype=torch.float64).view(6, 2, 3)
    ways = torch.eye(3, dtype=torch.float64)[:, None].expand(3, 2, 3)
    return torch.cat([own, ways])


def run(s: Settings, remedy: str, luck: float | None = None, prompts: tuple[int, ...] = (0,)) -> Path:
    """Train on the hard problem (prompt 0) and watch both."""
    preset, settings = REMEDIES[remedy]
    start = torch.stack([logits_of(s.hard), logits_of(s.easy)]).expand(s.seeds, -1, -1)
    return train(
        get(preset, **settings),
        _world(s, s.luck if luck is None else luck),
        start,
        group=s.group,
        rate=s.rate,
        steps=s.steps,
        prompts=prompts,
        features_DSV=shared_ways(),
        every=max(1, s.steps // 100),
    )


def way(path: Path, prompt: int, index: int) -> Tensor:
    """Mean over seeds (E) of the probability of a way: its successes and failures together."""
    mean_EM = path.probabilities_ERPM[:, :, prompt].mean(1)
    return mean_EM[:, index] + mean_EM[:, index + 3]


def harm(s: Settings, paths: Mapping[str, Path], checked: Path, mixed: Path) -> tuple[Statement, ...]:
    """What training on the hard problem does to the easier one, and which remedy helps."""
    start = s.easy[SOLVE]
    end = {name: float(way(path, 1, SOLVE)[-1]) for name, path in paths.items()}
    guess = {name: float(way(path, 0, GUESS)[-1]) for name, path in paths.items()}
    numbers: dict[str, Number] = {"easy_at_the_start": start}
    numbers |= {f"easy_{name}": x for name, x in end.items()} | {f"guess_{name}": x for name, x in guess.items()}
    full, mean = "deviation (GRPO)", "mean only (Dr.GRPO)"
    return (
        Statement(
            "hard-samples-harm",
            "trained on a near-impossible problem, GRPO learns to guess there and unlearns to solve an easier one",
            "a model of what is reported of arXiv 2605.28388",
            guess[full] > 2 * s.hard[GUESS] and end[full] < 0.8 * start,
            {**numbers, "solve_at_the_hard_problem": float(way(paths[full], 0, SOLVE)[-1])},
            "where ways are not shared, or the easier problem fails as the hard one mostly does (easy=0.6,0.1,0.3), nothing is lost",
        ),
        Statement(
            "remedies-slow-it",
            "the mean alone and a second success harm less in the same number of steps",
            SHEET,
            min(end[mean], end["two successes at least"]) > end[full],
            {f"easy_{name}": x for name, x in end.items()},
            "they are slower, and no better in direction: a second success comes too in time, and of the same kind",
        ),
        Statement(
            "a-check-turns-it",
            "if nine lucky guesses in ten are caught, or the easier problem is trained beside it, the easier one is kept better",
            "derived here from s / (s + p)",
            float(way(checked, 1, SOLVE)[-1]) > end[full] and float(way(mixed, 1, SOLVE)[-1]) > end[full],
            {
                "easy_checked": float(way(checked, 1, SOLVE)[-1]),
                "easy_mixed": float(way(mixed, 1, SOLVE)[-1]),
                "hard_solved_mixed": float(way(mixed, 0, SOLVE)[-1]),
            },
        ),
    )


UNITS = len(REMEDIES) + 3


def study(s: Settings, progress: Progress | None = None) -> Study:
    """All statements and the figure."""
    count = 0

    def step(path: Path) -> Path:
        nonlocal count
        count += 1
        if progress:
            progress(count)
        return path

    paths = {name: step(run(s, name)) for name in REMEDIES}
    full = "deviation (GRPO)"
    checked, mixed = step(run(s, full, luck=s.luck / 10)), step(run(s, full, prompts=(0, 1)))
    statements = (
        lucky_weight(),
        hard_prompts_weigh_more(s),
        shortcut_share(s),
        *harm(s, paths, checked, mixed),
    )
    if progress:
        progress(UNITS)
    return Study("normalisation", statements, figure(s, paths, checked, mixed), asdict(s))


def figure(s: Settings, paths: Mapping[str, Path], checked: Path, mixed: Path) -> Figure:
    """Weight of a prompt over its success rate; guessing at the hard problem; solving at the easier one."""
    rates = np.geomspace(1e-3, 0.9, 60)
    weights = [
        Line(name, rates.tolist(), [prompt_weight(get(preset, **more), s.group, float(p)) for p in rates], i + 1)
        for i, (name, (preset, more)) in enumerate(REMEDIES.items())
    ]
    every = {**paths, "GRPO, guesses checked": checked, "GRPO, both trained": mixed}
    named = [(label if i >= len(REMEDIES) else "", path, i) for i, (label, path) in enumerate(every.items())]

    def panel(title: str, prompt: int, index: int) -> Panel:
        lines = [
            Line(
                label, path.steps_E, way(path, prompt, index).tolist(), i % len(REMEDIES) + 1, dashed=i >= len(REMEDIES)
            )
            for label, path, i in named
        ]
        return Panel(title, "step", "probability", tuple(lines), y_range=(0.0, 1.0))

    return Figure(
        title="One lucky success: guessing at a hard problem, unlearning an easier one",
        caption=(
            f"G = {s.group}; a guess is right in {s.luck:.0%}. Hard problem: solve {s.hard[0]:g}, guess {s.hard[1]:g}. Only it is "
            "trained (dashed orange: both). Means over seeds; colours as in the first panel."
        ),
        panels=(
            Panel(
                "how much a prompt counts",
                "its success rate",
                "E[A | right] - E[A | wrong]",
                tuple(weights),
                x_log=True,
                y_log=True,
            ),
            panel("guessing at the hard problem", 0, GUESS),
            panel("solving the hard problem", 0, SOLVE),
            panel("solving the easier problem", 1, SOLVE),
        ),
        columns=2,
    )
