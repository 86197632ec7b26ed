"""The Invisible Leash (F. Wu et al., arXiv 2507.14843): where on-policy training cannot go, and what lets it go there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offleash.core import rng
from offleash.objectives import get
from offleash.theory.dynamics import Path, Progress, train
from offleash.theory.expectation import multisets
from offleash.theory.race import race, table_of
from offleash.theory.statement import Figure, Line, Number, Panel, Statement, Study
from offleash.theory.updates import update
from offleash.theory.worlds import bandit, bandits, logits_of

LEASH = "F. Wu et al., arXiv 2507.14843"
RIGHT = 1
TEACHERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "SFT": ("sft", {}),
    "RL-PLUS, U = 1/V": ("rl-plus", {}),
    "RL-PLUS as released": ("rl-plus", {"uniform": "released"}),
    "LUFFY": ("luffy", {}),
    "mixed policy": ("mixed-policy", {}),
    "ratio pi / pi_old": ("external-ratio", {}),
}


@dataclass(frozen=True)
class Settings:
    """What `offleash theory leash` can change.

    Attributes:
        rarest: probability of the right answer where it is out of reach.
        group: rollouts a prompt.
        rate: learning rate.
        steps: training steps.
        seeds: streams of luck.
        vocab: answers in the world of demonstrations; RL-PLUS's uniform policy is 1 / vocab.
        patience: steps that a demonstration is given.
    """

    rarest: float = 1e-6
    group: int = 8
    rate: float = 0.1
    steps: int = 1000
    seeds: int = 20
    vocab: int = 1000
    patience: int = 2000


def out_of_reach(s: Settings) -> Statement:
    """A right answer that is never drawn is never learned: no on-policy method finds it."""
    world = bandit((0.0, 1.0, 0.0))
    start = logits_of([(1 - s.rarest) * 0.4, s.rarest, (1 - s.rarest) * 0.6]).numpy()[None]
    numbers: dict[str, Number] = {}
    found = 0
    for name in ("grpo", "grpo-n", "nsr", "pass-at-k"):
        table = table_of(get(name), world, s.group)
        raced = race(
            [table], np.zeros(1, dtype=np.int64), start, rate=s.rate, steps=s.steps, seeds=s.seeds, target=RIGHT
        )
        found += int(np.isfinite(raced.found_SC).sum())
        numbers[f"gain_{name}"] = float(raced.end_SCV[:, 0, RIGHT].max()) / s.rarest
    sampled = 1 - (1 - s.rarest) ** (s.group * s.steps)
    return Statement(
        "out-of-reach",
        "a right answer that is not drawn is not found: on-policy training of its own prompt cannot reach it",
        f"{LEASH}, C.1",
        found == 0,
        {"found": found, "chance_that_a_seed_draws_it": sampled, **numbers},
        "it is a matter of budget: about rollouts x steps x probability; and NSR raises it without a sample, in proportion to itself",
    )


def step_bound(s: Settings, policies: int = 4000) -> Statement:
    """C.3 bounds what one wrong sample under NSR can add to another answer: true of the paper's loss, not of its code."""
    draw, eta = rng.stream("step bound"), 0.5
    world = bandit([0.0] * 5)
    logits = torch.from_numpy(draw.normal(0.0, 2.0, (policies, 1, 5)))
    wrong = torch.from_numpy(draw.integers(0, 5, (policies, 1, 1)))
    pi = logits[:, 0].softmax(1)
    code = eta * update(get("nsr"), world, logits, wrong)[:, 0]
    y = wrong[:, 0]
    paper = code * pi.gather(1, y)  # the paper's loss is in pi, not in rho
    bound = 2 * eta * pi.gather(1, y)
    excess = {}
    for name, dz in (("paper", paper), ("code", code)):
        log_ratio = (logits[:, 0] + dz).log_softmax(1) - pi.log()
        excess[name] = float((log_ratio > bound + 1e-12).any(1).double().mean())
        if name == "code":
            own = eta * (pi + pi.gather(1, y))
            excess["mended"] = float((log_ratio > own + 1e-12).any(1).double().mean())
    return Statement(
        "nsr-step-bound",
        "one NSR step multiplies an answer a by at most exp(2 rate pi(y)), y the wrong sample: in the loss as the paper writes it",
        f"{LEASH}, C.3; the two forms are arXiv 2506.01347's paper and code",
        excess["paper"] == 0.0 and excess["code"] > 0.0 and excess["mended"] == 0.0,
        {
            "violated_by_the_papers_loss": excess["paper"],
            "violated_by_the_released_code": excess["code"],
            "violated_exp_rate_times_pi_a_plus_pi_y": excess["mended"],
        },
        "the code's loss, a ratio, breaks it where y is rare and a common; exp(rate (pi(a) + pi(y))) holds instead",
    )


def one_answer_never_shrinks(s: Settings, policies: int = 20) -> Statement:
    """One prompt, one right answer, 0/1 rewards: no GRPO step lowers it; NSR and GRPO-N steps do."""
    world, draw = bandit((1.0, 0.0, 0.0, 0.0)), rng.stream("one answer")
    groups_KG = multisets(4, 4)
    fell = {}
    for name in ("grpo", "dr-grpo", "rloo", "grpo-n", "nsr"):
        objective, worst = get(name), 0
        for _ in range(policies):
            logits = torch.from_numpy(draw.normal(0.0, 2.0, (1, 4))).expand(len(groups_KG), 1, 4)
            after = logits + s.rate * update(objective, world, logits, groups_KG[:, None])
            change = after[:, 0].log_softmax(1)[:, 0] - logits[:, 0].log_softmax(1)[:, 0]
            worst += int((change < -1e-12).sum())
        fell[name] = worst
    held = max(fell["grpo"], fell["dr-grpo"], fell["rloo"]) == 0 and min(fell["grpo-n"], fell["nsr"]) > 0
    return Statement(
        "one-answer-never-shrinks",
        "with logits of its own and one right answer a prompt loses nothing under GRPO in any group; under NSR and GRPO-N it may",
        "found here",
        held,
        {f"groups_that_lower_it_{name}": n for name, n in fell.items()},
        "several right answers (the rarer shrink), and shared features: next statements. GRPO's shrinkage is interference",
    )


def skill(weight: float, contexts: int, vocab: int, right: int) -> Tensor:
    """Features (D, S, V): every logit for itself, and one skill that raises the right answer at every prompt."""
    own = torch.eye(contexts * vocab, dtype=torch.float64).view(-1, contexts, vocab)
    shared = torch.zeros(1, contexts, vocab, dtype=torch.float64)
    shared[0, :, right] = weight
    return torch.cat([own, shared])


def shared_skill(s: Settings, weight: float = 1.0) -> tuple[Statement, Path, Path]:
    """Training on an easy prompt alone, a hard one that shares a skill comes within reach without one sample."""
    world = bandits([(0.0, 1.0, 0.0), (0.0, 1.0, 0.0)])
    rare = s.rarest
    start = torch.tensor([[(1 - rare) / 2, rare, (1 - rare) / 2], [0.45, 0.1, 0.45]], dtype=torch.float64).log()
    more: dict[str, Any] = {
        "group": s.group,
        "rate": s.rate,
        "steps": s.steps,
        "prompts": [1],
        "every": max(1, s.steps // 100),
    }
    start_RSV = start.expand(s.seeds, -1, -1)
    own = train(get("grpo"), world, start_RSV, **more)
    shared = train(get("grpo"), world, start_RSV, features_DSV=skill(weight, 2, 3, RIGHT), **more)
    gain = {
        n: float(p.probabilities_ERPM[-1, :, 0, RIGHT].median()) / rare for n, p in (("own", own), ("shared", shared))
    }
    statement = Statement(
        "shared-skills-break-it",
        "an answer out of reach rises without one sample of its prompt, if a trained prompt shares features with it",
        f"{LEASH}, C.1 argues in function space, without generalisation between prompts",
        abs(gain["own"] - 1) < 1e-9 and gain["shared"] > 10,
        {
            "gain_with_logits_of_its_own": gain["own"],
            "gain_with_a_shared_skill": gain["shared"],
            "weight_of_the_skill": weight,
        },
        "the gain ends when the trained prompt is solved: its gradient is then 0, and nothing carries the other further",
    )
    return statement, own, shared


def shared_style(s: Settings) -> tuple[Statement, Path]:
    """Two prompts trained together whose right answers share a feature with the other's wrong ones: the harder shrinks."""
    world = bandits([(1.0, 0.0), (0.0, 1.0)])
    start = torch.tensor([[0.1, 0.9], [0.4, 0.6]], dtype=torch.float64).log()
    style = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]], dtype=torch.float64)  # the second answer's style, at both prompts
    own = torch.eye(4, dtype=torch.float64).view(4, 2, 2)
    path = train(
        get("grpo"),
        world,
        start.expand(s.seeds, -1, -1),
        group=s.group,
        rate=s.rate,
        steps=s.steps,
        features_DSV=torch.cat([0.3 * own, style]),
        every=max(1, s.steps // 100),
    )
    lowest = float(path.probabilities_ERPM[:, :, 0, 0].median(1).values.min())
    other = float(path.probabilities_ERPM[-1, :, 1, 1].median())
    statement = Statement(
        "shared-styles-shrink",
        "a shared feature that helps the easier prompt takes the harder one's right answer down on the way",
        "found here; the reported shrinkage of arXiv 2504.13837 and 2507.14843 is of this kind or of several right answers",
        lowest < 0.1 * 0.75 and other > 0.5,
        {"hard_start": 0.1, "hard_lowest": lowest, "easy_end": other},
        "with enough weight of its own the harder prompt recovers, as long as its right answer is still drawn",
    )
    return statement, path


def demonstrations(s: Settings, points: int = 9) -> tuple[Statement, dict[str, list[float]], list[float]]:
    """Steps until a demonstrated answer is likelier than 1/2, by method and by how rare it was."""
    rates = np.geomspace(1e-8, 0.3, points)
    world = bandit([0.0, 1.0, *[0.0] * (s.vocab - 2)])
    start = np.empty((points, s.vocab))
    start[:] = (0.5 * (1 - rates) / (s.vocab - 2))[:, None]
    start[:, 0], start[:, RIGHT] = 0.5 * (1 - rates), rates
    steps: dict[str, list[float]] = {}
    for name, (preset, settings) in TEACHERS.items():
        path = train(
            get(preset, **settings),
            world,
            torch.from_numpy(np.log(start))[:, None],
            group=s.group,
            rate=10 * s.rate,
            steps=s.patience,
            demonstrations=(RIGHT,),
            every=10,
        )
        steps[name] = path.first(0, RIGHT).tolist()
    rarest = {
        name: next((float(r) for r, n in zip(rates, row, strict=True) if n < math.inf), math.nan)
        for name, row in steps.items()
    }
    held = rarest["SFT"] < 1e-7 and rarest["RL-PLUS, U = 1/V"] < rarest["RL-PLUS as released"]
    statement = Statement(
        "demonstrations-reach-further",
        "a demonstration makes an answer of any probability learnable under SFT, and under RL-PLUS down to far below 1/V",
        "Y. Dong et al., arXiv 2508.00222; J. Yan et al., arXiv 2504.14945",
        held,
        {f"rarest_found_{name}": rate for name, rate in rarest.items()},
        "ratios are leashes too: below 1/V RL-PLUS's weight is proportional to pi, as released 4 pi, LUFFY's pi / 0.1",
    )
    return statement, steps, rates.tolist()


def more_mean_less_spread(sets: int = 3000) -> Statement:
    """E[pass@k] <= 1 - ((1 - E p)^2 + Var p)^(k/2): at one mean, a spread between prompts costs pass@k."""
    draw = rng.stream("pass at k bound")
    worst = -math.inf
    for _ in range(sets):
        p = draw.beta(draw.uniform(0.1, 2), draw.uniform(0.1, 2), int(draw.integers(2, 50)))
        k = int(draw.integers(2, 257))
        worst = max(worst, float((1 - (1 - p) ** k).mean() - (1 - ((1 - p.mean()) ** 2 + p.var()) ** (k / 2))))
    return Statement(
        "spread-costs-pass-at-k",
        "over prompts, E[pass@k] <= 1 - ((1 - E p)^2 + Var p)^(k/2): a mean that rises with the spread can lower pass@k",
        "X. Dang et al., as cited by ProRL, arXiv 2505.24864",
        worst <= 1e-12,
        {"sets_of_prompts": sets, "largest_excess": worst},
        "it is an upper bound only, and loose for two-valued p",
    )


UNITS = 7


def study(s: Settings, progress: Progress | None = None) -> Study:
    """All statements and the figure."""
    statements: list[Statement] = []

    def add(statement: Statement) -> None:
        statements.append(statement)
        if progress:
            progress(len(statements))

    for tried in (out_of_reach, step_bound, one_answer_never_shrinks):
        add(tried(s))
    skilled, own, shared = shared_skill(s)
    add(skilled)
    styled, styles = shared_style(s)
    add(styled)
    taught, steps, rates = demonstrations(s)
    add(taught)
    add(more_mean_less_spread())
    return Study("leash", tuple(statements), figure(s, own, shared, styles, steps, rates), asdict(s))


def figure(
    s: Settings, own: Path, shared: Path, styles: Path, steps: dict[str, list[float]], rates: list[float]
) -> Figure:
    """Reach by budget, by a shared skill, shrinkage by a shared style, reach by demonstrations."""
    grid = np.geomspace(1e-8, 1e-1, 60)
    budget = [
        Line(f"{n:,} rollouts", grid.tolist(), (-np.expm1(n * np.log1p(-grid))).tolist(), i + 1)
        for i, n in enumerate((1_000, 10_000, 100_000, 1_000_000))
    ]

    taught = [
        Line(
            name,
            [r for r, n in zip(rates, row, strict=True) if n < math.inf],
            [max(n, 10.0) for n in row if n < math.inf],
            i + 1,
        )
        for i, (name, row) in enumerate(steps.items())
    ]
    return Figure(
        title="The leash, and what breaks it",
        caption=(
            f"Top left: the budget is the leash. Top right: prompt A is never sampled. Bottom left: both prompts are trained. "
            f"Bottom right: one demonstration a group, {s.vocab:,} answers, rate {10 * s.rate:g}; a line ends where {s.patience:,} steps "
            "do not suffice."
        ),
        panels=(
            Panel("chance that a right answer is ever drawn", "its probability", "chance", tuple(budget), x_log=True),
            *_sharing(own, shared, styles),
            Panel(
                "steps until a demonstrated answer passes 1/2",
                "its probability",
                "steps",
                tuple(taught),
                x_log=True,
                y_log=True,
            ),
        ),
        columns=2,
    )


def _sharing(own: Path, shared: Path, styles: Path) -> tuple[Panel, Panel]:
    """What a shared skill gives, and what a shared style takes."""

    def line(label: str, path: Path, prompt: int, outcome: int, colour: int, dashed: bool = False) -> Line:
        median_E = path.probabilities_ERPM[:, :, prompt, outcome].median(1).values
        return Line(label, path.steps_E, median_E.tolist(), colour, dashed)

    skilled = (
        line("A, shared skill", shared, 0, RIGHT, 1),
        line("A, logits of its own", own, 0, RIGHT, 2, dashed=True),
        line("B", shared, 1, RIGHT, 3),
    )
    styled = (line("harder prompt", styles, 0, 0, 1), line("easier prompt", styles, 1, 1, 3))
    return (
        Panel("prompt A's right answer while only B is trained", "step", "probability", skilled, y_log=True),
        Panel("two prompts that share a style", "step", "probability of the right answer", styled, y_range=(0.0, 1.0)),
    )
