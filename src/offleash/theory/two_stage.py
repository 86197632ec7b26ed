"""The two-stage account of RLVR (X. Yao et al., arXiv 2510.04028): exploitation first, exploration later, tried.

One prompt, three answers: a good one, a rare best one and a bad one. The paper's start, rate and steps are not published; the
defaults are those of the reference runs whose numbers are held against ours here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from offleash.core import InputError
from offleash.objectives import get
from offleash.theory import lemmas
from offleash.theory.dynamics import Progress, mean_path
from offleash.theory.expectation import expected_update
from offleash.theory.flow import flow, overtaking, time
from offleash.theory.measures import gradient, success
from offleash.theory.race import Race, race, table_of
from offleash.theory.statement import Figure, Line, Number, Panel, Statement, Study
from offleash.theory.worlds import bandit, logits_of

GOOD, BEST, BAD = 0, 1, 2
REFERENCE = "an earlier simulation of this toy (std-normalised, rate 0.1, 20 seeds)"
REFERENCE_STEPS = {2: 1145, 3: 699, 5: 568, 10: 471}
"""Median step at which the best answer passes 1/2, full GRPO, rewards 0.8, 1, 0 from 0.30, 0.02, 0.68."""


@dataclass(frozen=True)
class Settings:
    """What `offleash theory two-stage` can change.

    Attributes:
        rewards: of the good, the best and the bad answer.
        start: their probabilities.
        groups: numbers of rollouts a prompt.
        rate: learning rate, plain gradient ascent.
        std: deviation that divides the advantage: population (G) or sample (G - 1).
        steps: training steps.
        seeds: streams of luck.
    """

    rewards: tuple[float, ...] = (0.8, 1.0, 0.0)
    start: tuple[float, ...] = (0.30, 0.02, 0.68)
    groups: tuple[int, ...] = (2, 3, 5, 10)
    rate: float = 0.1
    std: str = "population"
    steps: int = 3000
    seeds: int = 20


def graded(s: Settings) -> bool:
    """Whether the best answer is the rarer and earns more than the good one, which earns more than the bad one."""
    return s.rewards[BEST] > s.rewards[GOOD] > s.rewards[BAD] and s.start[BEST] < s.start[GOOD]


def run(
    method: str,
    s: Settings,
    group: int,
    *,
    every: int | Sequence[int] | None = None,
    seeds: int | None = None,
    **overrides: Any,
) -> Race:
    """Train one setting under all seeds with the preset's own update."""
    table = table_of(get(method, **overrides), bandit(s.rewards), group)
    return race(
        [table],
        np.zeros(1, dtype=np.int64),
        logits_of(s.start).numpy()[None],
        rate=s.rate,
        steps=s.steps,
        seeds=seeds or s.seeds,
        target=BEST,
        every=every,
    )


def _median_step(found: Race) -> float:
    """Over seeds; infinite where half of them or more never found it."""
    return float(np.median(np.where(np.isnan(found.found_SC), np.inf, found.found_SC)))


def full_finds_the_rare(s: Settings) -> Statement:
    """Full GRPO under graded rewards: the rare best answer dips, then wins, sooner with more rollouts."""
    numbers: dict[str, Number] = {}
    held, medians = True, []
    for group in s.groups:
        found = run("grpo", s, group, every=10, std=s.std)
        lowest_S = found.final_ESCV[:, :, 0, BEST].min(0)
        reached_S = found.found_SC[:, 0]
        median = _median_step(found)
        medians.append(median)
        numbers |= {
            f"found_{group}": int(np.isfinite(reached_S).sum()),
            f"median_step_{group}": median,
            f"lowest_{group}": float(np.median(lowest_S)),
        }
        held &= bool(np.isfinite(reached_S).all()) and float(np.median(lowest_S)) < s.start[BEST]
    return Statement(
        name="full-finds-the-rare",
        claim="GRPO under graded rewards: the rare best answer dips, then wins in every seed, sooner with more rollouts",
        source=f"{REFERENCE}; medians {', '.join(f'{v} at G={g}' for g, v in REFERENCE_STEPS.items())}",
        held=held and all(a >= b for a, b in pairwise(medians)) if graded(s) else None,
        numbers=numbers,
        fails="without the deviation (rloo, dr-grpo) it takes ten times as long; see the phase diagram for where it is lost",
    )


def negative_only_does_not(s: Settings) -> Statement:
    """Negative-only in the same setting: the good answer wins; only a best answer that is already the likelier is found."""
    lost = [run("grpo-n", s, g, std=s.std) for g in s.groups]
    found = sum(int(np.isfinite(r.found_SC).sum()) for r in lost)
    end = max(float(r.end_SCV[:, 0, BEST].mean()) for r in lost)
    ahead = Settings(**{**asdict(s), "start": (0.10, 0.30, 0.60), "steps": min(s.steps, 500)})
    steps = [_median_step(run("grpo-n", ahead, g, std=s.std)) for g in s.groups]
    return Statement(
        name="negative-only-does-not",
        claim="negative-only GRPO in the same setting never finds the rare best answer; it does where that starts ahead",
        source=f"{REFERENCE}: 0 of 20, best answer at about 0.001; found where it starts ahead (0.3 against 0.1)",
        held=found == 0 and end < s.start[BEST] and all(math.isfinite(x) for x in steps) if graded(s) else None,
        numbers={
            "found": found,
            "runs": s.seeds * len(s.groups),
            "best_at_the_end": end,
            "earliest_median_step_ahead": min(steps),
            "latest_median_step_ahead": max(steps),
        },
        fails="an unsampled answer gains in proportion to itself; from about a quarter of the good answer's probability on it is found (phase)",
    )


def binary_has_no_second_stage(s: Settings) -> Statement:
    """With 0/1 rewards two right answers get the same advantage: the likelier one takes over."""
    binary = Settings(**{**asdict(s), "rewards": (1.0, 1.0, 0.0)})
    numbers: dict[str, Number] = {}
    share = s.start[BEST] / (s.start[GOOD] + s.start[BEST])
    worst = 0.0
    for method in ("grpo", "grpo-n", "dr-grpo", "nsr"):
        overrides: dict[str, Any] = {"std": s.std} if method.startswith("grpo") else {}
        end_SV = run(method, binary, s.groups[-1], **overrides).end_SCV[:, 0]
        shares_S = end_SV[:, BEST] / (end_SV[:, GOOD] + end_SV[:, BEST])
        numbers[f"share_{method}"] = float(np.median(shares_S))
        worst = max(worst, float(np.median(shares_S)))
    return Statement(
        name="binary-has-no-second-stage",
        claim="with rewards 1, 1, 0 no method moves mass from the likelier right answer to the rarer: its share falls",
        source=f"{REFERENCE}: 0.02 to about 0.001 for full and negative-only",
        held=worst < share if s.start[BEST] < s.start[GOOD] else None,
        numbers={"share_at_the_start": share, **numbers},
        fails="where one right answer is all there is to find (rewards 0, 1, 0), 0/1 rewards do find it, once it is sampled",
    )


def closed_form(s: Settings) -> Statement:
    """The mean path of rloo is the flow of `flow.py`: when the best answer overtakes is known beforehand."""
    start, rewards = np.array(s.start), np.array(s.rewards)
    at = overtaking(start, rewards, BEST, GOOD)
    horizon = min(at, 300.0)
    reached = flow(start, rewards, horizon)
    rate, early = 0.1, min(horizon, 5.0)
    steps = round(time(start, rewards, early) / rate)
    followed = mean_path(
        get("rloo"), bandit(s.rewards), logits_of(s.start)[None], group=2, rate=rate, steps=steps, every=steps
    )
    expected = flow(start, rewards, early)
    gap = float(np.abs(followed.probabilities_ERPM[-1, 0, 0].numpy() - expected).max())
    even = abs(float(reached[BEST] / reached[GOOD]) - 1) if math.isfinite(at) and at == horizon else 0.0
    step = time(start, rewards, at) / s.rate if math.isfinite(at) and at < 1e6 else math.inf
    return Statement(
        name="closed-form",
        claim="under the exact gradient a better answer overtakes at s = (1/pi_best - 1/pi_good) / (r_best - r_good)",
        source="derived here (docs/theory.md)",
        held=gap < 0.005 and even < 1e-6,
        numbers={"overtakes_at_s": at, "overtakes_at_step": step, "largest_gap_to_the_mean_path": gap},
        fails="equal rewards: s is infinite, and the rarer right answer's share falls like 1 / sqrt(t)",
    )


def negatives_are_the_same_mean(names: Sequence[str] = ("nsr", "psr", "w-reinforce", "reinforce")) -> Statement:
    """With 0/1 rewards, PSR, NSR and REINFORCE have one and the same mean update: the gradient of J."""
    world, logits = bandit([1.0, 1.0, 0.0, 0.0]), logits_of([[0.3, 0.02, 0.5, 0.18]])
    exact = gradient(success, world, logits)
    numbers: dict[str, Number] = {}
    worst = 0.0
    for name in names:
        got = expected_update(get(name), world, logits, 4)
        factor = float((got * exact).sum() / exact.square().sum())
        numbers[f"factor_{name}"] = factor
        worst = max(worst, float((got - factor * exact).abs().max()))
    return Statement(
        name="negatives-have-the-same-mean",
        claim="on one-token answers with 0/1 rewards NSR, PSR, W-REINFORCE and REINFORCE have the same mean update, to a factor",
        source="derived here; the decomposition is arXiv 2506.01347, Eq. 2-4",
        held=worst < lemmas.TINY,
        numbers={**numbers, "largest_gap": worst},
        fails="it is the mean: the noise differs, see positives-lose-by-luck; and GRPO-N is another mean",
    )


def positives_lose_by_luck(s: Settings) -> Statement:
    """What differs between PSR and NSR in such a world is noise: PSR's sampled right answer jumps, NSR's does not."""
    even = Settings(**{**asdict(s), "rewards": (1.0, 1.0, 0.0), "start": (0.2, 0.2, 0.6), "steps": min(s.steps, 1000)})
    spread = {}
    for name in ("psr", "nsr"):
        end_SV = run(name, even, s.groups[-1], seeds=max(40, s.seeds)).end_SCV[:, 0]
        share_S = end_SV[:, BEST] / (end_SV[:, GOOD] + end_SV[:, BEST])
        spread[name] = float(share_S.std())
    return Statement(
        name="positives-lose-by-luck",
        claim="of two equally likely right answers PSR loses one by luck, NSR keeps both",
        source="derived here",
        held=spread["psr"] > 5 * spread["nsr"],
        numbers={"spread_of_the_share_psr": spread["psr"], "spread_of_the_share_nsr": spread["nsr"]},
        fails="at small rates both follow the mean",
    )


def study(s: Settings, progress: Progress | None = None) -> Study:
    """All statements, and the figure of probability mass over rollouts, starts and rewards."""
    if len(s.rewards) != 3 or len(s.start) != 3:
        raise InputError("rewards, start: three answers each, the good, the best and the bad one")
    tried = (
        lemmas.logit_update,
        lemmas.expected_rule,
        lemmas.unsampled,
        lemmas.first_move,
        lambda: full_finds_the_rare(s),
        lambda: negative_only_does_not(s),
        lambda: binary_has_no_second_stage(s),
        lambda: closed_form(s),
        negatives_are_the_same_mean,
        lambda: positives_lose_by_luck(s),
    )
    done = []
    for i, statement in enumerate(tried):
        done.append(statement())
        if progress:
            progress(i + 1)
    return Study("two-stage", tuple(done), figure(s), asdict(s))


UNITS = 10
"""Statements, as `progress` counts them."""


def figure(s: Settings) -> Figure:
    """Mean probability of the three answers over training: rollouts, initial probabilities, rewards."""
    varied = [(f"G = {g}", s, g) for g in s.groups]
    middle = s.groups[len(s.groups) // 2]
    for best in (0.02, 0.05, 0.1, 0.3):
        scale = (1 - best) / (s.start[GOOD] + s.start[BAD])
        start = (s.start[GOOD] * scale, best, s.start[BAD] * scale)
        varied.append((f"start {best:g}", Settings(**{**asdict(s), "start": start}), middle))
    for good in (0.2, 0.8, 0.95, 1.0):
        varied.append((f"reward of good {good:g}", Settings(**{**asdict(s), "rewards": (good, 1.0, 0.0)}), middle))
    panels = tuple(_mass(title, one, group, i % 4 == 0) for i, (title, one, group) in enumerate(varied))
    return Figure(
        title="Where the probability goes: a good, a rare best and a bad answer",
        caption=(
            f"Mean over {s.seeds} seeds. Solid: GRPO; dashed: GRPO-N (negative-only). Rows: number of rollouts; initial "
            f"probability of the best answer (G = {middle}); reward of the good answer, the best earning 1 (G = {middle})."
        ),
        panels=panels,
        columns=4,
    )


def _mass(title: str, s: Settings, group: int, labelled: bool) -> Panel:
    lines = []
    # Equal ratios of steps: what happens first happens fast.
    every = sorted({round(x) for x in np.geomspace(1, s.steps, 90)})
    for method, dashed in (("grpo", False), ("grpo-n", True)):
        raced = run(method, s, group, every=every, std=s.std)
        mean_EV = raced.final_ESCV[:, :, 0].mean(1)
        for answer, label in enumerate(("good", "best", "bad")):
            lines.append(
                Line("" if dashed else label, raced.steps_E, mean_EV[:, answer].tolist(), answer + 1, dashed=dashed)
            )
    return Panel(title, "step", "probability" if labelled else "", tuple(lines), x_log=True, y_range=(0.0, 1.0))
