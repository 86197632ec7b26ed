"""Every advantage a second time, in plain Python: lists of numbers in, one number a completion (or a step) out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from itertools import combinations
from typing import Any

from offleash.objectives.checks import Example

Settings = dict[str, Any]
Group = list[float]
Groups = list[Group]
Steps = list[list[list[float]]]
"""One number for each step of each completion of each prompt."""


# ------------------------------------------------------------------------------------------------------------ one group


def divisor(values: Group, s: Settings) -> float:
    if s["std"] == "none":
        return 1.0
    spread = {"sample": statistics.stdev, "population": statistics.pstdev}[s["std"]](values)
    return float(spread + s["std_epsilon"])


def normalised(values: Group, s: Settings, among: Group | None = None) -> Group:
    """Compared with the mean and the deviation of `among`, or of the values themselves."""
    members = values if among is None else among
    mean = statistics.fmean(members)
    if max(members) == min(members):
        return [v - mean for v in values]
    return [(v - mean) / divisor(members, s) for v in values]


def in_group(rewards: Group, external: list[bool], s: Settings) -> Group:
    inside = s.get("external_in_baseline", True)
    return normalised(rewards, s, [r for r, demo in zip(rewards, external, strict=True) if inside or not demo])


def rewards_of(e: Example) -> Groups:
    return [[float(r) for r in group] for group in e.group.rewards_PG.tolist()]


def annotation(e: Example, name: str) -> list[list[Any]]:
    value: list[list[Any]] = getattr(e.group, name).tolist()
    return value


def group_relative(e: Example, s: Settings) -> Groups:
    return [in_group(r, x, s) for r, x in zip(rewards_of(e), e.external_PG.tolist(), strict=True)]


def leave_one_out(e: Example, s: Settings) -> Groups:
    return [[r - (sum(group) - r) / (len(group) - 1) for r in group] for group in rewards_of(e)]


def mean_normalised(e: Example, s: Settings) -> Groups:
    means = [statistics.fmean(group) for group in rewards_of(e)]
    return [[(r - m) / m if m else 0.0 for r in group] for group, m in zip(rewards_of(e), means, strict=True)]


def signed_binary(e: Example, s: Settings) -> Groups:
    return [[s["positive_weight"] if r == 1.0 else -s["negative_weight"] for r in group] for group in rewards_of(e)]


# ------------------------------------------------------------------------------------------------------- the whole batch


def batch_normalised(e: Example, s: Settings) -> Groups:
    """Every completion written down once a token (or once), then mean and variance of that long list."""
    base = [statistics.fmean(group) if s["baseline"] == "group" else 0.0 for group in rewards_of(e)]
    raw = [[r - b for r in group] for group, b in zip(rewards_of(e), base, strict=True)]
    lengths = annotation(e, "lengths_PG")
    listed = [
        a
        for group, counts in zip(raw, lengths, strict=True)
        for a, n in zip(group, counts, strict=True)
        for _ in range(n if s["weight"] == "tokens" else 1)
    ]
    mean, variance = statistics.fmean(listed), statistics.pvariance(listed)
    return [[(a - mean) / math.sqrt(max(variance, s["variance_floor"])) for a in group] for group in raw]


def batch_std(e: Example, s: Settings) -> Groups:
    centred = [[r - statistics.fmean(group) for r in group] for group in rewards_of(e)]
    varied = [a for group in centred for a in group if any(group)]
    spread = statistics.pstdev(varied) if varied else 0.0
    return [[a / (spread + s["std_epsilon"]) if any(group) else 0.0 for a in group] for group in centred]


def beta_normalised(e: Example, s: Settings) -> Groups:
    rates = [statistics.fmean(group) for group in rewards_of(e)]
    mean, variance = statistics.fmean(rates), statistics.pvariance(rates)

    def density(p: float) -> float:
        if not 0.0 < variance < mean * (1.0 - mean):
            return 1.0
        total = mean * (1.0 - mean) / variance - 1.0
        a, b = 1.0 + mean * total / 3.0, 1.0 + (1.0 - mean) * total / 3.0
        constant = math.gamma(a + b) / math.gamma(a) / math.gamma(b)
        return constant * math.pow(p, a - 1.0) * math.pow(1.0 - p, b - 1.0)

    return [
        [(r - p) / density(p) if 0.0 < p < 1.0 else 0.0 for r in group]
        for group, p in zip(rewards_of(e), rates, strict=True)
    ]


# ------------------------------------------------------------------------------------------------------- pass@k, quantile


def subset_mean(group: Group, k: int, holding: int | None = None, without: int | None = None) -> float:
    """Mean of the best reward over all subsets of k, by listing them."""
    indices = [i for i in range(len(group)) if i != without]
    chosen = [c for c in combinations(indices, k) if holding is None or holding in c]
    return statistics.fmean(max(group[i] for i in c) for c in chosen)


def pass_at_k(e: Example, s: Settings) -> Groups:
    k, found = int(s["pass_k"]), []
    for group in rewards_of(e):
        passes = subset_mean(group, k)
        spread = 1.0 if s["std"] == "none" else math.sqrt(passes * (1.0 - passes)) + s["std_epsilon"]
        found.append([(subset_mean(group, k, holding=i) - passes) / spread for i in range(len(group))])
    return found


def pass_at_k_of_others(e: Example, s: Settings) -> Groups:
    k = int(s["pass_k"])
    return [[subset_mean(g, k, holding=i) - subset_mean(g, k, without=i) for i in range(len(g))] for g in rewards_of(e)]


def linear_quantile(values: Group, level: float) -> float:
    ordered, place = sorted(values), level * (len(values) - 1)
    below = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def least_reached(values: Group, level: float) -> float:
    return min(v for v in values if sum(w <= v for w in values) / len(values) >= level)


def quantile_baseline(e: Example, s: Settings) -> Groups:
    found = []
    for group in rewards_of(e):
        rule = linear_quantile if s["interpolation"] == "linear" else least_reached
        base, flat = rule(group, s["quantile"]), max(group) == min(group)
        found.append([0.0 if flat else (r - base) / divisor(group, s) for r in group])
    return found


# ----------------------------------------------------------------------------------------------- likelihood and diversity


def unlikeliness(e: Example, s: Settings) -> Groups:
    found = []
    for rewards, likely in zip(rewards_of(e), annotation(e, "mean_logprobs_PG"), strict=True):
        if s["skip_equal"] and max(rewards) == min(rewards):
            found.append([0.0] * len(rewards))
            continue
        ranks = [sum(other < one for other in likely) for one in likely]
        discount = [1.0 - s["unlikeliness_beta"] * rank / len(rewards) for rank in ranks]
        found.append(normalised([r * d for r, d in zip(rewards, discount, strict=True)], s))
    return found


def diversity_weighted(e: Example, s: Settings) -> Groups:
    found = []
    for rewards, clusters in zip(rewards_of(e), annotation(e, "clusters_PG"), strict=True):
        n = len(rewards)
        unlike = [max((n - clusters.count(c)) / (n - 1), s["least_diversity"]) for c in clusters]
        found.append(normalised([r * d for r, d in zip(rewards, unlike, strict=True)], s))
    return found


def with_bonus(e: Example, s: Settings, bonus: Callable[[list[int]], Group]) -> Groups:
    """GRPO plus a bonus from the answers of the group, unless it is right throughout."""
    found = []
    for rewards, answers in zip(rewards_of(e), annotation(e, "answers_PG"), strict=True):
        extra = [0.0] * len(rewards) if all(r == 1.0 for r in rewards) else bonus(answers)
        found.append([a + s["bonus"] * b for a, b in zip(normalised(rewards, s), extra, strict=True)])
    return found


def outcome_batch(e: Example, s: Settings) -> Groups:
    return with_bonus(e, s, lambda answers: [-(answers.count(a) - 1) / len(answers) for a in answers])


def outcome_ucb(e: Example, s: Settings) -> Groups:
    """After one `prepare` from nothing an answer was visited as often as this group gives it."""

    def bonus(answers: list[int]) -> Group:
        b = [min(1.0, 1.0 / math.sqrt(answers.count(a))) for a in answers]
        if s["ucb_baseline"] == "leave-one-out":
            return [one - (sum(b) - one) / (len(b) - 1) for one in b]
        return [one - (s["ucb_constant"] if s["ucb_baseline"] == "constant" else 0.0) for one in b]

    return with_bonus(e, s, bonus)


# ------------------------------------------------------------------------------------------------------------------ risk


def plus(x: float) -> float:
    return max(x, 0.0)


def quantile_of_batch(scores: Group, level: float, s: Settings) -> float:
    """Of the batch, or tracked by one step from there, or the mean of the two."""
    batch = linear_quantile(scores, level)
    tracked = batch + s["quantile_rate"] * (level - sum(x < batch for x in scores) / len(scores))
    return float({"batch": batch, "tracked": tracked, "mix": (batch + tracked) / 2.0}[s["tracking"]])


def risk(e: Example, s: Settings) -> Groups:
    rewards, size = rewards_of(e), int(s["bundle_size"])
    bundles = [rewards[i : i + size] for i in range(0, len(rewards), size)]
    scores = [[sum(column) for column in zip(*bundle, strict=True)] for bundle in bundles]
    listed = [x for bundle in scores for x in bundle]
    low, high = (quantile_of_batch(listed, s[level], s) for level in ("risk_low", "risk_high"))

    def measure(x: float) -> float:
        middle = plus(x - low) - plus(x - high) + (low - high if s["natural_baseline"] else 0.0)
        middle /= s["risk_high"] - s["risk_low"]
        tail = -plus(low - x) / s["risk_low"]
        mixed = (s["risk_weight"] * tail + middle) / (s["risk_weight"] + 1.0)
        return float({"range": middle, "tail": tail, "mixed": mixed}[s["risk_measure"]])

    found = []
    for bundle in scores:
        values = [measure(x) for x in bundle]
        mean = statistics.fmean(values) if s["centre"] else 0.0
        spread = 1.0 if max(bundle) == min(bundle) else divisor(bundle, s)  # scores all equal: nothing to divide by
        found += [[(v - mean) / spread for v in values]] * size
    return found


# ----------------------------------------------------------------------------------------------------------------- steps


def by_kind(
    values: list[list[float]], kinds: list[list[int]], mask: list[list[bool]], s: Settings
) -> list[list[float]]:
    """One prompt: each step against the steps of its kind; steps of no kind (-1) and missing ones get 0."""
    places = [(g, t) for g, row in enumerate(mask) for t, there in enumerate(row) if there and kinds[g][t] >= 0]
    found = [[0.0] * len(row) for row in mask]
    for g, t in places:
        alike = [values[h][u] for h, u in places if kinds[h][u] == kinds[g][t]]
        alone = values[g][t] if s["singleton"] == "reward" else 0.0
        found[g][t] = alone if len(alike) == 1 else normalised([values[g][t]], s, alike)[0]
    return found


def combined(e: Example, s: Settings, values: Steps, kinds: str) -> Steps:
    found = []
    for p, rewards in enumerate(rewards_of(e)):
        whole = normalised(rewards, s)
        part = by_kind(values[p], annotation(e, kinds)[p], annotation(e, "step_mask_PGS")[p], s)
        found.append(
            [
                [s["trajectory_weight"] * a + s["step_weight"] * b for b in row]
                for a, row in zip(whole, part, strict=True)
            ]
        )
    return found


def tagged_steps(e: Example, s: Settings) -> Steps:
    return combined(e, s, annotation(e, "step_rewards_PGS"), "step_tags_PGS")


def state_steps(e: Example, s: Settings) -> Steps:
    rewards, mask = annotation(e, "step_rewards_PGS"), annotation(e, "step_mask_PGS")

    def back(p: int, g: int, t: int) -> float:
        later = range(t, len(rewards[p][g]))
        return float(sum(s["discount"] ** (k - t) * rewards[p][g][k] for k in later if mask[p][g][k]))

    returns = [[[back(p, g, t) for t in range(len(row))] for g, row in enumerate(x)] for p, x in enumerate(rewards)]
    return combined(e, s, returns, "step_states_PGS")


# ------------------------------------------------------------------------------------------------------------- reference


def reasoning_reflection(e: Example, s: Settings) -> Groups:
    found = []
    for p, rewards in enumerate(rewards_of(e)):
        after, before = annotation(e, "reference_logprobs_PGR")[p], annotation(e, "masked_logprobs_PR")[p]
        there = [j for j, counts in enumerate(annotation(e, "reference_mask_PR")[p]) if counts]
        weight = {
            j: statistics.pstdev(row[j] for row in after) if s["token_weight"] == "deviation" else 1.0 for j in there
        }
        r3 = [sum(weight[j] * (row[j] - before[j]) for j in there) for row in after]
        found.append(normalised([a + s["reward_weight"] * r for a, r in zip(r3, rewards, strict=True)], s))
    return found


ADVANTAGES: dict[str, Callable[[Example, Settings], Groups | Steps]] = {
    "group-relative": group_relative,
    "negative-only": lambda e, s: [[min(a, 0.0) for a in group] for group in group_relative(e, s)],
    "leave-one-out": leave_one_out,
    "mean-normalised": mean_normalised,
    "reward": lambda e, s: rewards_of(e),
    "signed-binary": signed_binary,
    "demonstration-only": lambda e, s: [[float(demo) for demo in group] for group in e.external_PG.tolist()],
    "batch-normalised": batch_normalised,
    "batch-std": batch_std,
    "beta-normalised": beta_normalised,
    "pass-at-k": pass_at_k,
    "pass-at-k-leave-one-out": pass_at_k_of_others,
    "quantile-baseline": quantile_baseline,
    "unlikeliness": unlikeliness,
    "diversity-weighted": diversity_weighted,
    "outcome-batch": outcome_batch,
    "outcome-ucb": outcome_ucb,
    "risk": risk,
    "tagged-steps": tagged_steps,
    "state-steps": state_steps,
    "reasoning-reflection": reasoning_reflection,
}
