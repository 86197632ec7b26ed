"""Is it only temperature? Training lowers entropy, and so does sampling colder; this compares models beyond that.

Two answers, both paired by problem:

- matched: the trained model at the temperature at which its token entropy is the base's (Y. Yue et al., arXiv 2504.13837,
  compare at matched entropy). Between two measured temperatures both its entropy and its pass@k are interpolated.
- best: each model at the temperature that is best for it at each k. The best of several noisy curves is biased upwards, so
  a problem is judged at the temperatures chosen on the other problems (cross-fitting).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts
from offleash.boundary.difference import Difference, from_replicates, grid
from offleash.boundary.passk import pass_matrix
from offleash.core import InputError, rng

Floats = NDArray[np.float64]
FOLDS = 10


@dataclass(frozen=True, eq=False)
class Heat:
    """One model at one temperature.

    Attributes:
        counts: correct and drawn samples by problem.
        entropy: mean token entropy at this temperature in nats; NaN where it was not recorded.
    """

    counts: Counts
    entropy: float = float("nan")


@dataclass(frozen=True, eq=False)
class Temperatures:
    """What is left of the difference when temperature is taken out of it.

    Attributes:
        plain: b minus a, both at `reference`.
        matched: b minus a at a's entropy; None with `matched_reason` where b was not sampled around it.
        matched_at: the temperature of b that matches; NaN if there is none.
        matched_reason: why there is no match.
        best: b minus a, each at its own best temperature for that k.
        best_a, best_b: (K,) the temperature that is best over all problems.
        entropy_a, entropy_b: token entropy in nats by temperature.
        reference: the temperature of `plain`.
        answer: "only temperature", "not only temperature", "undecided", or "no difference to explain".
        because: the sentence with its numbers.
    """

    plain: Difference
    matched: Difference | None
    matched_at: float
    matched_reason: str
    best: Difference
    best_a: Floats
    best_b: Floats
    entropy_a: Mapping[float, float]
    entropy_b: Mapping[float, float]
    reference: float
    answer: str
    because: str


def temperatures(
    a: Mapping[float, Heat],
    b: Mapping[float, Heat],
    *,
    k: int,
    reference: float = 1.0,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> Temperatures:
    """Compare two models that were sampled at several temperatures, on the problems all of them share.

    Args:
        a: the base, by temperature.
        b: the trained model, by temperature.
        k: where the answer is given.
        reference: the temperature at which both are compared as they are; must be among both.
        level: of the bands.
        seed: of the folds and of the bootstrap.
        replicates: of the bootstrap.

    Raises:
        InputError: a side lacks the reference, the sides share no problem, or k exceeds the samples of a problem.
    """
    for name, side in (("A", a), ("B", b)):
        if reference not in side:
            known = ", ".join(f"{t:g}" for t in sorted(side)) or "none"
            raise InputError(f"temperature: {name} has no samples at {reference:g}; it has {known}")
    shared, n = _shared([*a.values(), *b.values()])
    if k > n:
        raise InputError(f"k: {k} exceeds the samples of some problem at some temperature (least n is {n})")
    ks = tuple(sorted({*grid(n), k}))
    passed_a, passed_b = ({t: pass_matrix(_take(side[t].counts, shared), ks) for t in sorted(side)} for side in (a, b))

    def band(values: Floats) -> Difference:
        return from_replicates(ks, values, resample.draw(values, seed=seed, replicates=replicates), level)

    plain = band(passed_b[reference] - passed_a[reference])
    at, reason = _matching(a[reference].entropy, {t: h.entropy for t, h in b.items()})
    matched = None if reason else band(_between(passed_b, at) - passed_a[reference])
    folds = rng.stream("temperature folds", seed).permutation(len(shared)) % min(FOLDS, len(shared))
    best = band(_cross_fitted(passed_b, folds) - _cross_fitted(passed_a, folds))
    answer, because = _answer(plain, matched, best, k, at, reason)
    return Temperatures(
        plain=plain,
        matched=matched,
        matched_at=at,
        matched_reason=reason,
        best=best,
        best_a=_argbest(passed_a),
        best_b=_argbest(passed_b),
        entropy_a={t: a[t].entropy for t in sorted(a)},
        entropy_b={t: b[t].entropy for t in sorted(b)},
        reference=reference,
        answer=answer,
        because=because,
    )


def _shared(heats: list[Heat]) -> tuple[list[str], int]:
    ids = set(heats[0].counts.ids).intersection(*(h.counts.ids for h in heats[1:]))
    if not ids:
        raise InputError("id: no problem was sampled at all temperatures by both models; sample the same problems")
    shared = sorted(ids)
    return shared, int(min(_take(h.counts, shared).n.min() for h in heats))


def _take(counts: Counts, ids: list[str]) -> Counts:
    place = {name: i for i, name in enumerate(counts.ids)}
    return counts.take(np.array([place[name] for name in ids], dtype=np.int64))


def _matching(target: float, entropies: Mapping[float, float]) -> tuple[float, str]:
    """The temperature at which entropy, linear between measured temperatures, is the target; or why there is none."""
    known = sorted((t, h) for t, h in entropies.items() if not np.isnan(h))
    if np.isnan(target) or not known:
        return float("nan"), "token entropies were not recorded"
    for (t0, h0), (t1, h1) in itertools.pairwise(known):
        if min(h0, h1) <= target <= max(h0, h1) and h0 != h1:
            return t0 + (t1 - t0) * (target - h0) / (h1 - h0), ""
    for t, h in known:
        if h == target:
            return t, ""
    low, high = min(h for _, h in known), max(h for _, h in known)
    which = "warmer" if target > high else "colder"
    return float("nan"), (
        f"A's token entropy of {target:.3g} nats lies outside B's, {low:.3g} to {high:.3g} at temperatures "
        f"{known[0][0]:g} to {known[-1][0]:g}; sample B {which}"
    )


def _between(passed: Mapping[float, Floats], at: float) -> Floats:
    known = sorted(passed)
    if at in passed:
        return passed[at]
    right = next(i for i, t in enumerate(known) if t > at)
    t0, t1 = known[right - 1], known[right]
    share = (at - t0) / (t1 - t0)
    mixed: Floats = (1 - share) * passed[t0] + share * passed[t1]
    return mixed


def _cross_fitted(passed: Mapping[float, Floats], fold_P: NDArray[np.int64]) -> Floats:
    """(P, K) pass@k of each problem at the temperature that is best on the problems of the other folds."""
    stacked_TPK: Floats = np.stack([passed[t] for t in sorted(passed)])
    result: Floats = np.empty_like(stacked_TPK[0])
    for fold in np.unique(fold_P):
        inside = fold_P == fold
        others = ~inside if (~inside).any() else inside
        chosen_K = stacked_TPK[:, others].mean(axis=1).argmax(axis=0)
        result[inside] = stacked_TPK[chosen_K, :, np.arange(stacked_TPK.shape[2])].T[inside]
    return result


def _argbest(passed: Mapping[float, Floats]) -> Floats:
    known = sorted(passed)
    best: Floats = np.array(known)[np.stack([passed[t].mean(axis=0) for t in known]).argmax(axis=0)]
    return best


def _answer(
    plain: Difference, matched: Difference | None, best: Difference, k: int, at: float, reason: str
) -> tuple[str, str]:
    value, low, high = plain.at(k)
    text = f"pass@{k} of B minus A is {value:+.3f} [{low:+.3f}, {high:+.3f}] at the same temperature"
    fair = []
    if matched is not None:
        v, lo, hi = matched.at(k)
        fair.append((lo, hi))
        text += f", {v:+.3f} [{lo:+.3f}, {hi:+.3f}] at A's token entropy (B at temperature {at:.2f})"
    else:
        text += f"; there is no comparison at A's token entropy: {reason}"
    v, lo, hi = best.at(k)
    fair.append((lo, hi))
    text += f", {v:+.3f} [{lo:+.3f}, {hi:+.3f}] with each at its best temperature."
    if low <= 0 <= high:
        return "no difference to explain", text
    sign = 1 if low > 0 else -1
    if all(lo > 0 if sign > 0 else hi < 0 for lo, hi in fair):
        return "not only temperature", text
    # Gone means: what is left is shown to be less than half of it, not merely that it is no longer significant.
    if all(abs(end) < abs(value) / 2 for lo, hi in fair for end in (lo, hi)):
        return "only temperature", text
    return "undecided", text
