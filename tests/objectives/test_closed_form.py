"""Every row against its formula, written down a second time in plain Python: value to 1e-9, and the gradient by the
cross-method table of gradient weights (the loss's derivative at a token is -weight x A x the reduction's factor)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch

from offleash.objectives import PRESETS
from offleash.objectives.checks import Example, example, gradient
from offleash.objectives.checks.example import LIMIT, VOCAB

Settings = dict[str, Any]
Token = dict[str, float]
Point = tuple[float, float]
"""(value, weight): the surrogate's per-token objective to maximise, and its derivative with respect to log pi."""


# ----------------------------------------------------------------------------------------------------------- advantages


def by_group(rewards: list[float], external: list[bool], s: Settings) -> list[float]:
    members = [r for r, demo in zip(rewards, external, strict=True) if s["external_in_baseline"] or not demo]
    mean = statistics.fmean(members)
    if max(members) == min(members):
        return [r - mean for r in rewards]
    spread = {"sample": statistics.stdev, "population": statistics.pstdev, "none": lambda x: None}[s["std"]](members)
    return [r - mean if spread is None else (r - mean) / (spread + s["std_epsilon"]) for r in rewards]


def by_others(rewards: list[float], external: list[bool], s: Settings) -> list[float]:
    return [r - (sum(rewards) - r) / (len(rewards) - 1) for r in rewards]


ADVANTAGES: dict[str, Callable[[list[float], list[bool], Settings], list[float]]] = {
    "group-relative": by_group,
    "negative-only": lambda r, x, s: [min(a, 0.0) for a in by_group(r, x, s)],
    "leave-one-out": by_others,
    "reward": lambda r, x, s: r,
    "signed-binary": lambda r, x, s: [s["positive_weight"] if v == 1.0 else -s["negative_weight"] for v in r],
    "demonstration-only": lambda r, x, s: [float(demo) for demo in x],
}


# ----------------------------------------------------------------------------------------------------------- surrogates


def ppo(rho: float, adv: float, low: float | None, high: float | None) -> Point:
    floor, cap = 1.0 - low if low is not None else 0.0, 1.0 + high if high is not None else math.inf
    plain, clipped = rho * adv, min(max(rho, floor), cap) * adv
    return (plain, rho * adv) if plain <= clipped else (clipped, 0.0)


def with_epsilons(token: Token, s: Settings) -> Point:
    dual = s.get("dual_clip")
    if dual is not None and token["adv"] < 0 and token["rho"] > dual:
        return dual * token["adv"], 0.0
    return ppo(token["rho"], token["adv"], s["epsilon_low"], s["epsilon_high"])


def of_sequence(token: Token, s: Settings) -> Point:
    return ppo(token["s"], token["adv"], s["epsilon_low"], s["epsilon_high"])


def cispo(token: Token, s: Settings) -> Point:
    low = 1.0 - s["epsilon_low"] if s["epsilon_low"] is not None else 0.0
    weight = min(max(token["rho"], low), 1.0 + s["epsilon_high"])
    return weight * token["adv"] * token["logp"], weight * token["adv"]


def gppo(token: Token, s: Settings) -> Point:
    value, weight = with_epsilons(token, s)
    if token["adv"] > 0 and token["rho"] > 1.0 + s["epsilon_high"]:
        weight = s["boundary_high"] * (1.0 + s["epsilon_high"]) * token["adv"]
    if token["adv"] < 0 and token["rho"] < 1.0 - s["epsilon_low"]:
        weight = s["boundary_low"] * (1.0 - s["epsilon_low"]) * token["adv"]
    return value, weight


def rl_plus(token: Token, s: Settings) -> Point:
    if not token["external"]:
        return with_epsilons(token, s)
    pi, old = math.exp(token["logp"]), math.exp(token["old"])
    uniform = {"paper": 1.0 / VOCAB, "released": 1.0, "old": old}[s["uniform"]]
    mixture = 0.5 * old + 0.5 * uniform
    value = 2.0 * pi / (mixture + old) * (1.0 - pi) ** s["gamma"] * token["adv"]
    return value, value


def luffy(token: Token, s: Settings) -> Point:
    if not token["external"]:
        return with_epsilons(token, s)
    pi, c = math.exp(token["logp"]), s["shaping"]
    return pi / (pi + c) * token["adv"], c * pi / (pi + c) ** 2 * token["adv"]


def clip_cov(token: Token, s: Settings) -> Point:
    return (0.0, 0.0) if token["selected"] else with_epsilons(token, s)


def kl_cov(token: Token, s: Settings) -> Point:
    value = token["rho"] * token["adv"]
    if not token["selected"]:
        return value, value
    beta, log_rho = s["kl_cov_beta"], math.log(token["rho"])
    return value - beta * abs(log_rho), value - beta * math.copysign(1.0, log_rho)


SURROGATES: dict[str, Callable[[Token, Settings], Point]] = {
    "score-function": lambda t, s: (t["adv"] * t["logp"], t["adv"]),
    "importance": lambda t, s: (t["adv"] * t["rho"], t["adv"] * t["rho"]),
    "ppo-clip": with_epsilons,
    "gspo": of_sequence,
    "gspo-token": of_sequence,
    "cispo": cispo,
    "gppo": gppo,
    "rl-plus": rl_plus,
    "luffy": luffy,
    "nll": lambda t, s: (t["logp"], 1.0),
    "clip-cov": clip_cov,
    "kl-cov": kl_cov,
}


# ----------------------------------------------------------------------------------------------------------- reductions


def factor(mode: str, tokens: list[int], row: int, s: Settings) -> float:
    """What the sum of a row's tokens is multiplied with. `tokens` are the lengths of the rows that count."""
    n = sum(1 for length in tokens if length)
    return {
        "token-mean": lambda: 1.0 / sum(tokens),
        "sequence-mean": lambda: 1.0 / (n * tokens[row]),
        "sequence-sum": lambda: 1.0 / n,
        "constant-length": lambda: 1.0 / (n * (s["constant_length"] or LIMIT)),
        "constant-sum": lambda: 1.0 / (s["constant_length"] or LIMIT),
    }[mode]()


def lengths(rows: list[list[Token]], kind: str) -> list[int]:
    belongs = {
        "all": lambda t: True,
        "policy": lambda t: not t["external"],
        "external": lambda t: t["external"],
        "negative": lambda t: t["adv"] < 0,
        "correct": lambda t: t["correct"],
    }[kind]
    return [sum(1 for t in row if belongs(t)) for row in rows]


def table(e: Example, advantages: list[list[float]]) -> list[list[Token]]:
    b, flat = e.batch, [a for group in advantages for a in group]
    rows = []
    for n in range(len(b.mask)):
        row = []
        for t in range(int(b.mask[n].sum())):
            logp, old, ref = (float(x[n, t]) for x in (b.logprobs, b.old_logprobs, b.ref_logprobs))
            row.append(
                {
                    "logp": logp,
                    "old": old,
                    "ref": ref,
                    "rho": math.exp(logp - old),
                    "adv": flat[n],
                    "external": float(b.external[n]),
                    "correct": float(b.correct[n]),
                    "entropy": float(b.entropy[n, t]),
                    "selected": float(b.selected[n, t]) if b.selected is not None else 0.0,
                }
            )
        mean = statistics.fmean(math.log(t["rho"]) for t in row) if row else 0.0
        rows.append([{**token, "s": math.exp(mean)} for token in row])
    return rows


def by_hand(e: Example) -> tuple[float, list[list[float]], list[list[float]]]:
    s = dict(e.objective.settings)
    rewards, external = e.rewards_PG.tolist(), e.external_PG.tolist()
    advantages = [ADVANTAGES[s["advantage"]](r, x, s) for r, x in zip(rewards, external, strict=True)]
    rows = table(e, advantages)
    width = e.batch.mask.shape[1]
    loss, grad = 0.0, [[0.0] * width for _ in rows]
    grad_entropy = [[0.0] * width for _ in rows]
    counted = {kind: lengths(rows, kind) for kind in ("all", "policy", "external", "negative", "correct")}
    everywhere = "all" if s["rows"] == "negative" else s["rows"]
    for n, row in enumerate(rows):
        for t, token in enumerate(row):
            value, weight = SURROGATES[s["surrogate"]](token, s)
            if counted[s["rows"]][n]:
                c = factor(s["reduction"], counted[s["rows"]], n, s)
                loss -= c * value
                grad[n][t] -= c * weight
            if counted[everywhere][n]:
                c = factor(s["reduction"], counted[everywhere], n, s)
                d = token["logp"] - token["ref"]
                loss += s["kl_beta"] * c * (math.exp(-d) - 1.0 + d)
                grad[n][t] += s["kl_beta"] * c * (1.0 - math.exp(-d))
                loss -= s["entropy_coef"] * c * token["entropy"]
                grad_entropy[n][t] -= s["entropy_coef"] * c
            for coefficient, kind in (("sft_coef", "external"), ("nll_coef", "correct")):
                if counted[kind][n]:
                    loss -= s[coefficient] * token["logp"] / sum(counted[kind])
                    grad[n][t] -= s[coefficient] / sum(counted[kind])
    return loss, grad, grad_entropy


VARIANTS: list[tuple[str, Settings]] = [
    *((name, {}) for name in PRESETS),
    *((name, dict(p.released)) for name, p in PRESETS.items() if p.released),
    *((name, {"kl_beta": 0.3, "entropy_coef": 0.05, "sft_coef": 0.7, "nll_coef": 0.2}) for name in PRESETS),
    ("grpo", {"std": "population"}),
    ("grpo", {"reduction": "token-mean", "rows": "policy"}),
    ("grpo-n", {"rows": "negative"}),
    ("gspo-n", {"rows": "negative"}),
    ("gspo", {"epsilon_low": 0.1, "epsilon_high": 0.1}),
    ("gspo-token", {"epsilon_low": 0.1, "epsilon_high": 0.1}),
    ("grpo", {"dual_clip": 1.3}),
    ("cispo", {"epsilon_low": 0.1, "epsilon_high": 0.1}),
    ("gppo", {"boundary_low": 0.3, "boundary_high": 0.7, "dual_clip": 2.0}),
    ("rl-plus", {"external_in_baseline": False, "epsilon_low": 0.2, "epsilon_high": 0.2}),
    ("rl-plus", {"gamma": 2.0}),
    ("luffy", {"shaping": 0.3, "epsilon_low": 0.2, "epsilon_high": 0.2}),
    ("clip-cov", {"clip_cov_ratio": 0.2, "clip_cov_low": 0.0}),
    ("kl-cov", {"kl_cov_ratio": 0.2}),
    ("reinforce", {"surrogate": "importance", "reduction": "constant-length"}),
]


@pytest.mark.parametrize(
    ("name", "overrides"), VARIANTS, ids=lambda v: v if isinstance(v, str) else ",".join(v) or "row"
)
def test_value_and_gradient(name: str, overrides: Settings) -> None:
    for seed in (0, 1):
        e = example(PRESETS[name], seed=seed, spread=0.8, **overrides)
        loss, grad, grad_entropy, _ = gradient(e.objective, e.batch, e.denominator)
        expected_loss, expected_grad, expected_entropy = by_hand(e)
        assert loss.item() == pytest.approx(expected_loss, rel=1e-9, abs=1e-9)
        expected = torch.tensor(expected_grad, dtype=torch.float64)
        assert torch.allclose(grad, expected, rtol=1e-9, atol=1e-9)
        assert torch.allclose(grad_entropy, torch.tensor(expected_entropy, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_every_surrogate_and_advantage_of_a_row_is_written_by_hand() -> None:
    assert {p.surrogate for p in PRESETS.values()} <= set(SURROGATES)
    assert {p.advantage for p in PRESETS.values()} <= set(ADVANTAGES)


def test_the_selection_is_what_the_paper_says() -> None:
    for name in ("clip-cov", "kl-cov"):
        e = example(PRESETS[name], **{"clip_cov_ratio": 0.1, "clip_cov_low": 0.2} if name == "clip-cov" else {})
        rewards = e.rewards_PG.tolist()
        settings = dict(e.objective.settings)
        rows = table(e, [by_group(r, [False] * len(r), settings) for r in rewards])
        tokens = [(n, t, token) for n, row in enumerate(rows) for t, token in enumerate(row)]
        mean_logp = statistics.fmean(token["logp"] for *_, token in tokens)
        mean_adv = statistics.fmean(token["adv"] for *_, token in tokens)
        covariance = {(n, t): (k["logp"] - mean_logp) * (k["adv"] - mean_adv) for n, t, k in tokens}
        chosen = {(n, t) for n, t, token in tokens if token["selected"]}
        if name == "kl-cov":
            assert chosen == {max(covariance, key=covariance.__getitem__)}
            continue
        eligible = {
            (n, t) for n, t, k in tokens if 0.2 < covariance[n, t] < 5.0 and not (k["adv"] > 0 and k["rho"] > 2.0)
        }
        assert len(chosen) == int(0.1 * len(tokens)) < len(eligible)
        assert chosen < eligible
