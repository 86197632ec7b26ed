"""Entropy of tokens and of answers, and how many distinct answers k samples show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.passk import log_miss
from offleash.core import Estimate, InputError, unknown_name

Floats = NDArray[np.float64]
Answers = Mapping[str, Sequence[Hashable]]
CORRECTIONS = ("plugin", "miller_madow", "chao_shen")


def token_entropy(
    means: Mapping[str, Sequence[float]],
    *,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> Estimate:
    """Mean token entropy: over problems, of the mean over samples, of each sample's mean over its tokens (nats).

    Every problem counts once, however long its completions (arXiv 2507.14843, sec. 4: mean over sequences of the mean
    over steps). The interval is for the population of problems: `resample.mean_interval`.

    Args:
        means: problem id -> per-sample mean entropies; NaN (an empty completion) is left out.
        level: nominal coverage.
        seed: of the bootstrap; the same input and seed give the same numbers.
        replicates: of the bootstrap.

    Returns:
        Estimate with n = problems. NaN with reason if no problem has a sample, no interval with fewer than 2 problems.
    """
    rows = []
    for name in sorted(means):
        values = np.asarray(means[name], dtype=np.float64)
        if (values < 0).any() or np.isinf(values).any():
            raise InputError(f"entropy: problem {name!r} has a negative or infinite entropy; entropies are >= 0 nats")
        values = values[~np.isnan(values)]
        if len(values):
            rows.append(values.mean())
    left_out = len(means) - len(rows)
    note = f" ({left_out} problems without tokens left out)" if left_out else ""
    return _over_problems(np.array(rows), "mean token entropy in nats" + note, level, seed, replicates)


def entropy_of_counts(counts: Sequence[int] | NDArray[np.int64], correction: str = "miller_madow") -> float:
    """Entropy in nats of a distribution seen through counts of its outcomes.

    plugin: -sum f log f, biased low by about (K - 1) / 2n. miller_madow: plugin + (K - 1) / (2n), K outcomes seen
    (Miller 1955). chao_shen: frequencies times the coverage 1 - f1/n, each term divided by its chance of being seen
    (Chao & Shen 2003); best when many outcomes are unseen.

    Args:
        counts: how often each outcome was seen; zeros are ignored.
        correction: plugin, miller_madow or chao_shen.
    """
    x = np.asarray(counts, dtype=np.float64)
    x = x[x > 0]
    n = x.sum()
    if n == 0:
        return float("nan")
    f = x / n
    plugin = float(-(f * np.log(f)).sum())
    if correction == "plugin":
        return plugin
    if correction == "miller_madow":
        return plugin + float((len(x) - 1) / (2 * n))
    if correction != "chao_shen":
        raise unknown_name("correction", correction, CORRECTIONS)
    single = min(float((x == 1).sum()), n - 1)  # all singletons would give coverage 0
    f = (1 - single / n) * f
    with np.errstate(divide="ignore"):
        seen = -np.expm1(n * np.log1p(-f))
    terms = np.where(f > 0, f * np.log(np.where(f > 0, f, 1.0)) / np.where(seen > 0, seen, 1.0), 0.0)
    return float(-terms.sum())


def answer_entropy(
    answers: Answers,
    *,
    correction: str = "miller_madow",
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> Estimate:
    """Entropy of the answers to one problem, averaged over problems (nats).

    Unfinished or unparsed samples count as one answer of their own (arXiv 2507.14843, sec. 4), so pass them as one label
    such as None. Compare models at the same n per problem: every estimator keeps some bias that falls with n.

    Args:
        answers: problem id -> one label for each sample.
        correction: see `entropy_of_counts`.
        level: nominal coverage.
        seed: of the bootstrap; the same input and seed give the same numbers.
        replicates: of the bootstrap.
    """
    values = _each(answers, lambda counts: entropy_of_counts(counts, correction))
    return _over_problems(values, f"answer entropy in nats, {correction}", level, seed, replicates)


def distinct_answers(
    answers: Answers,
    k: int,
    *,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> Estimate:
    """D_k: expected number of distinct answers among k samples, averaged over problems.

    Unbiased rarefaction (Hurlbert 1971): sum over answers of 1 - C(n - n_i, k) / C(n, k), without replacement.

    Args:
        answers: problem id -> one label for each sample.
        k: samples.
        level: nominal coverage.
        seed: of the bootstrap; the same input and seed give the same numbers.
        replicates: of the bootstrap.

    Returns:
        Estimate; NaN with reason if any problem has fewer than k samples.
    """
    if k < 1:
        raise InputError(f"k: {k} is below 1")
    method = f"distinct answers in {k} samples, rarefied"
    short = sum(len(labels) < k for labels in answers.values())
    if short:
        nan = float("nan")
        reason = f"D_{k} needs {k} samples of every problem; {short} of {len(answers)} have fewer"
        return Estimate(nan, nan, nan, len(answers), method, reason)
    values = _each(answers, lambda counts: float(-np.expm1(log_miss(counts, counts.sum(), k)).sum()))
    return _over_problems(values, method, level, seed, replicates)


def _each(answers: Answers, measure: Callable[[NDArray[np.int64]], float]) -> Floats:
    values = []
    for name in sorted(answers):
        if not len(answers[name]):
            raise InputError(f"answers: problem {name!r} has no sample; leave it out or sample it")
        values.append(measure(np.array(sorted(Counter(answers[name]).values()), dtype=np.int64)))
    return np.array(values)


def _over_problems(values: Floats, method: str, level: float, seed: int, replicates: int) -> Estimate:
    nan = float("nan")
    if len(values) == 0:
        return Estimate(nan, nan, nan, 0, method, "no problem has a sample")
    if len(values) == 1:
        return Estimate(float(values[0]), nan, nan, 1, method, "one problem alone has no interval over problems")
    low, high = resample.mean_interval(values, level=level, seed=seed, replicates=replicates)
    method = f"{method}; {level:.0%} bootstrap-t over problems"
    return Estimate(float(values.mean()), max(0.0, low), high, len(values), method)
