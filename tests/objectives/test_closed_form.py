"""Every row against its formula, written down a second time in plain Python: value and gradient to 1e-9."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
import torch
from advantages_by_hand import ADVANTAGES, Settings
from by_hand import CREDITS, SURROGATES, Token, by_hand, table

from offleash.objectives import PRESETS
from offleash.objectives.checks import Example, example, gradient

EXTRAS: Settings = {"kl_beta": 0.3, "entropy_coef": 0.05, "sft_coef": 0.7, "nll_coef": 0.2}
NARROW: Settings = {"epsilon_low": 0.2, "epsilon_high": 0.2}

TOKENS: list[tuple[str, Settings]] = [
    ("grpo", {"reduction": "token-mean", "rows": "policy"}),
    ("grpo", {"reduction": "prompt-mean", "kl_beta": 0.3}),
    ("grpo", {"rows": "positive", "kl_beta": 0.3}),
    ("grpo", {"kl_beta": 0.3, "kl_estimator": "k1"}),
    ("grpo-n", {"rows": "negative"}),
    ("grpo-n", {"rows": "negative", "reduction": "prompt-mean"}),
    ("gspo-n", {"rows": "negative"}),
    ("gspo", NARROW),
    ("gspo-token", NARROW),
    ("grpo", {"dual_clip": 1.3}),
    ("cispo", NARROW),
    ("gppo", {"boundary_low": 0.3, "boundary_high": 0.7, "dual_clip": 2.0}),
    ("rl-plus", {"external_in_baseline": False, "epsilon_low": 0.2, "epsilon_high": 0.2}),
    ("rl-plus", {"gamma": 2.0}),
    ("luffy", {"shaping": 0.3, "epsilon_low": 0.2, "epsilon_high": 0.2}),
    ("luffy", {"shaping": None}),
    ("mixed-policy", {"shaping": 0.3}),
    ("clip-cov", {"clip_cov_ratio": 0.2, "clip_cov_low": 0.0}),
    ("kl-cov", {"kl_cov_ratio": 0.2}),
    ("reinforce", {"surrogate": "importance", "reduction": "constant-length"}),
    ("hicra", {"planning_alpha": 0.9, "surrogate": "cispo", "epsilon_high": 0.1}),
    ("hicra", {"rows": "negative", "reduction": "token-mean"}),
    ("rlvmr", {"credit": "planning"}),
    ("80-20", {"rows": "selected"}),
    ("80-20", {"rows": "selected", "reduction": "sequence-mean", "entropy_fraction": 0.4}),
    ("80-20", {"rows": "selected", "reduction": "prompt-mean", **EXTRAS}),
    ("80-20", {"entropy_fraction": 1.0}),
    ("80-20", {"entropy_fraction": 0.0}),
    ("80-20", {"entropy_fraction": 0.0, "rows": "selected"}),
    ("skywork-or1", {"entropy_target": 5.0}),
    ("skywork-or1", {"entropy_target": 5.0, "entropy_delta": 0.3, "entropy_coef_max": 0.3}),
    ("skywork-or1", {"entropy_target": 5.0, "entropy_delta": 0.2, "entropy_coef_max": 1.0, **EXTRAS}),
    ("grpo-n", {"entropy_target": 5.0, "entropy_delta": 0.2, "entropy_coef_max": 1.0, "rows": "negative"}),
    ("scale-rl", {"reduction": "token-mean"}),
]
"""How tokens are weighed and counted."""

GROUPS: list[tuple[str, Settings]] = [
    ("grpo", {"std": "population"}),
    ("reinforce++", {"weight": "samples"}),
    ("reinforce++-baseline", {"weight": "samples"}),
    ("reinforce++-baseline", {"variance_floor": 4.0}),
    ("scale-rl", {"std_epsilon": 0.5}),
    ("qae", {"interpolation": "linear"}),
    ("qae", {"quantile": 0.6}),
    ("qae", {"quantile": 0.5}),
    ("qae", {"quantile": 0.6, "interpolation": "linear"}),
    ("qae", {"std": "none"}),
    ("pass-at-k", {"std": "none"}),
    ("pass-at-k", {"pass_k": 1}),
    ("pass-at-k", {"pass_k": 3}),
    ("pkpo", {"pass_k": 1}),
    ("pkpo", {"pass_k": 3}),
    ("outcome-batch", {"bonus": 0.3}),
    ("outcome-ucb", {"ucb_baseline": "leave-one-out"}),
    ("outcome-ucb", {"ucb_baseline": "none"}),
    ("outcome-ucb", {"ucb_constant": 0.7, "bonus": 0.3}),
    ("darling", {"std": "sample"}),
    ("darling", {"least_diversity": 0.5}),
    ("unlikeliness", {"unlikeliness_beta": 0.9, "std": "population"}),
    *(("riskpo", {"risk_measure": measure, "natural_baseline": False}) for measure in ("range", "tail", "mixed")),
    *(("riskpo", {"risk_measure": measure}) for measure in ("range", "tail")),
    *(("riskpo", {"tracking": tracking, "quantile_rate": 0.5}) for tracking in ("batch", "tracked", "mix")),
    ("riskpo", {"centre": True}),
    ("riskpo", {"bundle_size": 3}),
    ("riskpo", {"bundle_size": 3, "centre": True, "natural_baseline": False, "std": "population"}),
    ("riskpo", {"std": "none", "risk_weight": 0.5, "risk_low": 0.3}),
    ("rlvmr", {"std": "sample"}),
    ("rlvmr", {"std": "none", "trajectory_weight": 0.2, "step_weight": 0.7}),
    ("gigpo", {"discount": 0.5}),
    ("gigpo", {"std": "sample"}),
    ("gigpo", {"std": "population", "singleton": "reward"}),
    ("dro", {"token_weight": "uniform"}),
    ("dro", {"reward_weight": 1.0}),
    ("dro", {"std": "none"}),
]
"""How completions are compared."""

MODES = ("token-truncate", "token-mask", "sequence-truncate", "sequence-mask", "geometric-mask")
MISMATCHES: list[tuple[str, Settings]] = [
    *(("grpo", {"mismatch": mode}) for mode in MODES),
    *(("grpo", {"mismatch": mode, "mismatch_low": 0.9, "mismatch_high": 1.1, **EXTRAS}) for mode in MODES),
    *(("grpo", {"mismatch": mode, "mismatch_high": None}) for mode in MODES),
    ("gspo", {"mismatch": "geometric-mask", "mismatch_low": 0.95, "mismatch_high": 1.05}),
    ("cispo", {"mismatch": "token-mask", "mismatch_low": 0.9, "mismatch_high": 1.1}),
    ("rl-plus", {"mismatch": "sequence-truncate", "mismatch_high": 0.8}),
    ("80-20", {"mismatch": "token-truncate", "mismatch_high": 1.0, "rows": "selected"}),
]
"""Corrections for the sampling engine."""

VARIANTS: list[tuple[str, Settings]] = [
    *((name, {}) for name in PRESETS),
    *((name, dict(p.released)) for name, p in PRESETS.items() if p.released),
    *((name, EXTRAS) for name in PRESETS),
    *TOKENS,
    *GROUPS,
    *MISMATCHES,
]


@pytest.mark.parametrize(
    ("name", "overrides"), VARIANTS, ids=lambda v: v if isinstance(v, str) else ",".join(v) or "row"
)
def test_value_and_gradient(name: str, overrides: Settings) -> None:
    agree(example(PRESETS[name], seed=0, spread=0.8, **overrides))
    agree(example(PRESETS[name], seed=1, group=6, spread=0.8, **overrides))  # 1/6 is no binary fraction


def agree(e: Example) -> None:
    loss, grad, grad_entropy, _ = gradient(e.objective, e.batch, e.denominator)
    expected_loss, expected_grad, expected_entropy = by_hand(e)
    assert loss.item() == pytest.approx(expected_loss, rel=1e-9, abs=1e-9)
    for actual, expected in ((grad, expected_grad), (grad_entropy, expected_entropy)):
        assert torch.allclose(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        *((name, {}) for name, p in PRESETS.items() if p.advantage not in ("reward", "signed-binary")),
        ("unlikeliness", {"skip_equal": False}),
        ("riskpo", {"natural_baseline": False, "centre": True}),
        ("rlvmr", {"singleton": "reward"}),
        ("gigpo", {"singleton": "reward"}),
    ],
    ids=lambda v: v if isinstance(v, str) else ",".join(v) or "row",
)
def test_groups_that_are_right_or_wrong_throughout_and_steps_that_are_alone(name: str, overrides: Settings) -> None:
    e = example(PRESETS[name], seed=2, prompts=8, group=3, spread=0.8, **overrides)
    rewards = e.rewards_PG.clone()
    rewards[1], rewards[2] = 1.0, 0.0
    group, _ = e.objective.prepare(replace(e.group, rewards_PG=rewards))
    agree(replace(e, group=group).with_advantages(e.objective.advantages(group)))


def test_every_part_of_a_row_is_written_by_hand() -> None:
    assert {p.surrogate for p in PRESETS.values()} <= set(SURROGATES)
    assert {p.advantage for p in PRESETS.values()} <= set(ADVANTAGES)
    assert {p.credit for p in PRESETS.values()} <= set(CREDITS)


# ------------------------------------------------------------------------------------------------------------- selection


def tokens_of(e: Example) -> list[tuple[int, int, Token]]:
    rows = table(e, ADVANTAGES["group-relative"](e, dict(e.objective.settings)))
    return [(n, t, token) for n, row in enumerate(rows) for t, token in enumerate(row)]


@pytest.mark.parametrize("name", ["clip-cov", "kl-cov"])
def test_the_selection_by_covariance_is_what_the_paper_says(name: str) -> None:
    settings: Settings = {"clip_cov_ratio": 0.1, "clip_cov_low": 0.2} if name == "clip-cov" else {}
    tokens = tokens_of(example(PRESETS[name], **settings))
    mean_logp = statistics.fmean(token["logp"] for *_, token in tokens)
    mean_adv = statistics.fmean(token["adv"] for *_, token in tokens)
    covariance = {(n, t): (k["logp"] - mean_logp) * (k["adv"] - mean_adv) for n, t, k in tokens}
    chosen = {(n, t) for n, t, token in tokens if token["selected"]}
    if name == "kl-cov":
        assert chosen == {max(covariance, key=covariance.__getitem__)}
        return
    eligible = {(n, t) for n, t, k in tokens if 0.2 < covariance[n, t] < 5.0 and not (k["adv"] > 0 and k["rho"] > 2.0)}
    assert len(chosen) == int(0.1 * len(tokens)) < len(eligible)
    assert chosen < eligible


@pytest.mark.parametrize("percent", [0, 1, 20, 37, 50, 100])
def test_the_selection_by_entropy_is_the_given_share_of_the_step_rounded_up(percent: int) -> None:
    for seed in range(5):
        e = example(PRESETS["80-20"], seed=seed, entropy_fraction=percent / 100)
        tokens = sorted(tokens_of(e), key=lambda token: -token[2]["entropy"])
        count = math.ceil(percent * len(tokens) / 100)  # of whole numbers: 0.2 x 35 is above 7 in binary fractions
        chosen = {(n, t) for n, t, token in tokens if token["selected"]}
        assert chosen == {(n, t) for n, t, _ in tokens[:count]}
        assert e.batch.selected is not None
        assert int(e.batch.selected.sum()) == count  # none of them masked
