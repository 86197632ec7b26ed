"""The loss of every row a second time, in plain Python, with its gradient by the cross-method table of gradient weights:
the loss's derivative at a token is -weight x A x the reduction's factor."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from advantages_by_hand import ADVANTAGES, Groups, Settings, Steps

from offleash.objectives.checks import Example
from offleash.objectives.checks.example import LIMIT, VOCAB

Token = dict[str, float]
Point = tuple[float, float]
"""(value, weight): the surrogate's per-token objective to maximise, and its derivative with respect to log pi."""


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
    if c is None:
        return pi * token["adv"], pi * token["adv"]
    return pi / (pi + c) * token["adv"], c * pi / (pi + c) ** 2 * token["adv"]


def clip_cov(token: Token, s: Settings) -> Point:
    return (0.0, 0.0) if token["selected"] else with_epsilons(token, s)


def high_entropy(token: Token, s: Settings) -> Point:
    return with_epsilons(token, s) if token["selected"] else (0.0, 0.0)


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
    "high-entropy": high_entropy,
}

CREDITS: dict[str, Callable[[Token, Settings], float]] = {
    "none": lambda t, s: t["adv"],
    "planning": lambda t, s: t["adv"] + (s["planning_alpha"] * abs(t["adv"]) if t["planning"] else 0.0),
}

KL: dict[str, Callable[[float], Point]] = {
    "k1": lambda d: (d, 1.0),
    "k2": lambda d: (d * d / 2.0, d),
    "k3": lambda d: (math.exp(-d) - 1.0 + d, 1.0 - math.exp(-d)),
}
"""A penalty and its derivative with respect to log pi, from d = log pi - log pi_ref."""


def engine_weights(row: list[Token], s: Settings) -> list[float]:
    """What each token's surrogate is multiplied with, from the trainer's probability over the engine's."""
    if s["mismatch"] == "none" or (row and row[0]["external"]):
        return [1.0] * len(row)
    level, _, action = s["mismatch"].partition("-")
    ratios = [math.exp(t["old"] - t["engine"]) for t in row]
    if level != "token":
        power = 1.0 / len(row) if level == "geometric" and row else 1.0
        ratios = [math.prod(ratios) ** power] * len(row)
    low = 0.0 if s["mismatch_low"] is None else s["mismatch_low"]
    high = math.inf if s["mismatch_high"] is None else s["mismatch_high"]
    if action == "truncate":
        return [min(w, high) for w in ratios]
    return [(1.0 if level == "geometric" else w) if low <= w <= high else 0.0 for w in ratios]


def adaptive_coefficient(rows: list[list[Token]], s: Settings) -> float:
    """After the first step from 0: up by delta and on where the sampled entropy is below the target, else off."""
    if s["entropy_target"] is None:
        return 0.0
    entropy = statistics.fmean(-t["old"] for row in rows for t in row)
    if entropy >= s["entropy_target"]:
        return 0.0
    return float(min(s["entropy_delta"], s["entropy_coef_max"]))


# ----------------------------------------------------------------------------------------------------------- reductions


BELONGS: dict[str, Callable[[Token], bool]] = {
    "all": lambda t: True,
    "policy": lambda t: not t["external"],
    "external": lambda t: bool(t["external"]),
    "negative": lambda t: t["adv"] < 0,
    "positive": lambda t: t["adv"] > 0,
    "correct": lambda t: bool(t["correct"]),
    "selected": lambda t: bool(t["selected"]),
}


def factor(mode: str, tokens: list[int], n: int, prompts: list[int], s: Settings) -> float:
    """What a token of row n is multiplied with. `tokens` counts those of each row that belong."""
    rows = sum(1 for length in tokens if length)
    of_prompt: dict[int, int] = {}
    for prompt, length in zip(prompts, tokens, strict=True):
        of_prompt[prompt] = of_prompt.get(prompt, 0) + length
    limit = float(s["constant_length"] or LIMIT)
    divisors: dict[str, float] = {
        "token-mean": sum(tokens),
        "sequence-mean": rows * tokens[n],
        "prompt-mean": sum(1 for length in of_prompt.values() if length) * of_prompt[prompts[n]],
        "sequence-sum": rows,
        "constant-length": rows * limit,
        "constant-sum": limit,
    }
    return 1.0 / divisors[mode]


def places(rows: list[list[Token]], kind: str, mode: str, e: Example, s: Settings) -> Iterator[tuple[int, int, float]]:
    """Row, position and factor of every token that belongs."""
    tokens = [sum(1 for t in row if BELONGS[kind](t)) for row in rows]
    prompts: list[int] = e.batch.require("group_ids").tolist()
    for n, row in enumerate(rows):
        for t, token in enumerate(row):
            if BELONGS[kind](token):
                yield n, t, factor(mode, tokens, n, prompts, s)


def table(e: Example, advantages: Groups | Steps) -> list[list[Token]]:
    """The example's unmasked tokens, each with all that formulas read."""
    b = e.batch
    flat: list[Any] = [a for group in advantages for a in group]
    names = {"logp": "logprobs", "old": "old_logprobs", "ref": "ref_logprobs", "engine": "engine_logprobs"}
    names |= {"entropy": "entropy", "planning": "planning"}
    numbers = {key: b.require(name).tolist() for key, name in names.items()}
    if b.selected is not None:
        numbers["selected"] = b.selected.tolist()
    rows = []
    for n in range(len(b.mask)):
        row = []
        for t in range(int(b.mask[n].sum())):
            token: Token = {"selected": 0.0, **{key: float(value[n][t]) for key, value in numbers.items()}}
            token |= {"external": float(b.require("external")[n]), "correct": float(b.require("correct")[n])}
            step = int(e.step_NT[n, t])
            adv = flat[n] if isinstance(flat[n], float) else flat[n][step] if step >= 0 else 0.0
            row.append({**token, "adv": adv, "rho": math.exp(token["logp"] - token["old"])})
        mean = statistics.fmean(math.log(t["rho"]) for t in row) if row else 0.0
        rows.append([{**token, "s": math.exp(mean)} for token in row])
    return rows


def by_hand(e: Example) -> tuple[float, list[list[float]], list[list[float]]]:
    """Loss, and its gradient with respect to log-probs and to entropies."""
    s = dict(e.objective.settings)
    rows = table(e, ADVANTAGES[str(s["advantage"])](e, s))
    width = e.batch.mask.shape[1]
    loss, grad = 0.0, [[0.0] * width for _ in rows]
    grad_entropy = [[0.0] * width for _ in rows]
    kind, mode = str(s["rows"]), str(s["reduction"])
    engine = [engine_weights(row, s) for row in rows]
    for n, t, c in places(rows, kind, mode, e, s):
        token = rows[n][t]
        credited = {**token, "adv": CREDITS[str(s["credit"])](token, s)}
        value, weight = SURROGATES[str(s["surrogate"])](credited, s)
        loss -= c * engine[n][t] * value
        grad[n][t] -= c * engine[n][t] * weight
    beta, bonus = float(str(s["kl_beta"])), float(str(s["entropy_coef"])) + adaptive_coefficient(rows, s)
    for n, t, c in places(rows, "all" if kind in ("negative", "positive", "selected") else kind, mode, e, s):
        token = rows[n][t]
        value, slope = KL[str(s["kl_estimator"])](token["logp"] - token["ref"])
        loss += c * (beta * value - bonus * token["entropy"])
        grad[n][t] += c * beta * slope
        grad_entropy[n][t] -= c * bonus
    for coefficient, kind in (("sft_coef", "external"), ("nll_coef", "correct")):
        for n, t, c in places(rows, kind, "token-mean", e, s):
            weight = float(str(s[coefficient])) * c
            loss -= weight * rows[n][t]["logp"]
            grad[n][t] -= weight
    return loss, grad, grad_entropy
