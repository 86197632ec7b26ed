"""Who finds a rare best answer: each method from the same start, under the same luck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from offleash.objectives import get
from offleash.theory.dynamics import Path, Progress, train
from offleash.theory.race import race, table_of
from offleash.theory.statement import Figure, Line, Number, Panel, Statement, Study
from offleash.theory.worlds import bandit, logits_of

GOOD, BEST, BAD = 0, 1, 2
GRADED, ONE_RIGHT = (0.8, 1.0, 0.0), (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Method:
    """A preset with settings, and how it is trained."""

    title: str
    preset: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    rewards: tuple[float, ...] = GRADED


FOUR = {"updates_per_rollout": 4}
DEMO = {"demonstrations": (BEST,)}
METHODS = {
    "grpo": Method("GRPO (= GSPO, DAPO here)", "grpo"),
    "grpo-4": Method("GRPO, 4 updates a rollout", "grpo", {}, FOUR),
    "gspo-4": Method("GSPO, 4 updates a rollout", "gspo", {}, FOUR),
    "dr-grpo": Method("Dr.GRPO (no deviation)", "dr-grpo"),
    "grpo-n": Method("GRPO-N (= GSPO-N here)", "grpo-n"),
    "gspo-n-4": Method("GSPO-N, 4 updates a rollout", "gspo-n", {}, FOUR),
    "nsr": Method("NSR, rewards 0 1 0", "nsr", {}, {}, ONE_RIGHT),
    "pass-at-k": Method("pass@4, rewards 0 1 0", "pass-at-k", {}, {}, ONE_RIGHT),
    "rl-plus": Method("RL-PLUS, one demonstration", "rl-plus", {}, DEMO),
    "rl-plus-released": Method("RL-PLUS as released", "rl-plus", {"uniform": "released"}, DEMO),
    "luffy": Method("LUFFY, one demonstration", "luffy", {}, DEMO),
    "clip-cov": Method("Clip-Cov, one token a step", "clip-cov", {}, {"one_batch": True}),
    "kl-mild": Method("GRPO + KL (k3, 0.3)", "grpo", {"kl_beta": 0.3}),
    "kl": Method("GRPO + KL (k3, 1)", "grpo", {"kl_beta": 1.0}),
    "kl-resets": Method("the same, reset every 125", "grpo", {"kl_beta": 1.0}, {"reset_every": 125}),
    "kl-cov-4": Method("KL-Cov 10 %, 4 updates", "kl-cov", {"kl_cov_ratio": 0.1}, {"one_batch": True, **FOUR}),
}


@dataclass(frozen=True)
class Settings:
    """What `offleash theory methods` can change.

    Attributes:
        start: probabilities of the good, the best and the bad answer.
        group: rollouts a prompt; with RL-PLUS one of them is the demonstration.
        rate: learning rate.
        steps: rollouts.
        seeds: streams of luck.
    """

    start: tuple[float, ...] = (0.30, 0.02, 0.68)
    group: int = 8
    rate: float = 0.2
    steps: int = 500
    seeds: int = 20


def run(method: Method, s: Settings) -> Path:
    """Train every seed, in the fast simulator where nothing but the preset's own table is needed."""
    every = max(1, s.steps // 100)
    start = logits_of([s.start]).expand(s.seeds, 1, 3)
    world = bandit(method.rewards, correct=[False, True, False])
    if not method.training and not method.settings:
        table = table_of(get(method.preset), world, s.group)
        raced = race(
            [table],
            np.zeros(1, dtype=np.int64),
            start[0].numpy(),
            rate=s.rate,
            steps=s.steps,
            seeds=s.seeds,
            every=every,
        )
        final_ESV = torch.from_numpy(raced.final_ESCV[:, :, 0])
        return Path(raced.steps_E, final_ESV[:, :, None], final_ESV[-1, :, None].log())
    return train(
        get(method.preset, **method.settings),
        world,
        start,
        group=s.group,
        rate=s.rate,
        steps=s.steps,
        every=every,
        **method.training,
    )


def same_on_policy(group: int = 4) -> Statement:
    """On one-token answers and on-policy, ratios are 1 and many methods are one."""
    world = bandit(GRADED)
    families = {"grpo": ("gspo", "gspo-token", "dapo", "cispo", "gppo", "kl-cov"), "grpo-n": ("gspo-n",)}
    worst = 0.0
    for leader, others in families.items():
        table = table_of(get(leader), world, group).weights_KV
        worst = max(worst, *(float(np.abs(table_of(get(o), world, group).weights_KV - table).max()) for o in others))
    return Statement(
        name="one-family-on-policy",
        claim="with one update a rollout and one-token answers GRPO, GSPO, DAPO, CISPO, GPPO and KL-Cov are one method",
        source="their formulas at ratio 1",
        held=worst < 1e-12,
        numbers={"largest_gap": worst},
        fails="several updates a rollout, and answers of different lengths",
    )


@dataclass(frozen=True)
class Outcome:
    """Of one method: in what share of seeds it was found, the median step, and the mean share at the end."""

    found: float
    median: float
    end: float


def outcome(path: Path) -> Outcome:
    """Read a path."""
    step_R = path.first(0, BEST)
    return Outcome(
        float(step_R.isfinite().double().mean()),
        float(step_R.nan_to_num(torch.inf).median()),
        float(path.probabilities_ERPM[-1, :, 0, BEST].mean()),
    )


def ranking(paths: Mapping[str, Path]) -> tuple[Statement, ...]:
    """What the runs say: who found the best answer in every seed, who in none, and how soon."""
    o = {name: outcome(path) for name, path in paths.items()}
    steps: dict[str, Number] = {f"median_step_{name}": each.median for name, each in o.items()}
    return (
        Statement(
            "who-finds-it",
            "under graded rewards RL-PLUS finds the rare best answer in every seed, GRPO in most, GRPO-N and GSPO-N in none",
            "X. Yao et al., arXiv 2510.04028; Y. Dong et al., arXiv 2508.00222",
            o["rl-plus"].found == 1.0 and o["grpo"].found > 0.5 and max(o["grpo-n"].found, o["gspo-n-4"].found) == 0.0,
            {**{f"found_{name}": each.found for name, each in o.items()}, **steps},
            "at a smaller rate GRPO finds it in every seed (two-stage); a demonstration that is not the best answer is raised as well",
        ),
        Statement(
            "demonstrations-save-time",
            "one demonstration a group finds it sooner than sampling does, by the paper's ratio sooner than by the released one",
            "Y. Dong et al., arXiv 2508.00222; at pi = 0.001 the two ratios differ 300-fold",
            o["rl-plus"].median < o["rl-plus-released"].median < o["grpo"].median,
            {name: o[name].median for name in ("rl-plus", "rl-plus-released", "luffy", "grpo")},
            "see the leash: the rarer the answer, the longer the released ratio and LUFFY's shaping need",
        ),
        Statement(
            "a-mild-kl-helps",
            "a mild k3 penalty to the start keeps the rare answer from dipping, and it is found sooner",
            "found here",
            o["kl-mild"].found == 1.0 and o["kl-mild"].median < o["grpo"].median,
            {
                "median_step_kl": o["kl-mild"].median,
                "median_step_without": o["grpo"].median,
                "end_kl": o["kl-mild"].end,
            },
            "the share at the end is lower, and a strong penalty forbids it altogether: next statement",
        ),
        Statement(
            "resets-undo-the-kl",
            "a strong KL penalty to the start forbids the best answer; resetting the reference lets it be found",
            "ProRL, arXiv 2505.24864, without ablation there",
            o["kl"].found == 0.0 and o["kl-resets"].found == 1.0,
            {"end_kl": o["kl"].end, "end_kl_resets": o["kl-resets"].end, "median_step_resets": o["kl-resets"].median},
            "resets at a stagnation of validation are not modelled, only at fixed steps",
        ),
        Statement(
            "one-right-answer",
            "where the rare answer is the only right one, 0/1 rewards find it: by NSR and pass@k as well",
            "derived here",
            min(o["nsr"].found, o["pass-at-k"].found) == 1.0,
            {"median_step_nsr": o["nsr"].median, "median_step_pass_at_k": o["pass-at-k"].median},
            "it must be sampled at all: last row of the phase diagram",
        ),
    )


UNITS = len(METHODS) + 1


def study(s: Settings, progress: Progress | None = None) -> Study:
    """Every method from one start, its statements, and the figure of probability mass."""
    paths = {}
    for i, (name, method) in enumerate(METHODS.items()):
        paths[name] = run(method, s)
        if progress:
            progress(i + 1)
    statements = (same_on_policy(), *ranking(paths))
    panels = tuple(_panel(METHODS[name], path, i % 4 == 0) for i, (name, path) in enumerate(paths.items()))
    figure = Figure(
        title="Where each method moves the probability",
        caption=(
            f"Mean over {s.seeds} seeds (thin: single seeds of the best answer), G = {s.group}, rewards 0.8, 1, 0 unless said, "
            f"start {', '.join(f'{p:g}' for p in s.start)}."
        ),
        panels=panels,
        columns=4,
    )
    return Study("methods", statements, figure, asdict(s))


def _panel(method: Method, path: Path, labelled: bool) -> Panel:
    mean_EM = path.probabilities_ERPM[:, :, 0].mean(1)
    labels = ("good", "best", "bad") if method.rewards == GRADED else ("wrong", "right", "wrong too")
    lines = [Line(label, path.steps_E, mean_EM[:, m].tolist(), m + 1) for m, label in enumerate(labels)]
    singles = [
        Line("", path.steps_E, path.probabilities_ERPM[:, r, 0, BEST].tolist(), -1)
        for r in range(min(5, path.probabilities_ERPM.shape[1]))
    ]
    return Panel(method.title, "step", "probability" if labelled else "", (*singles, *lines), y_range=(0.0, 1.0))
