"""Collapse of the output, seen in samples: format, answers, duplicates, length, early answers, missing computation.

Every input is a plain sequence with one entry a sample, so any store will do; `problems` says which problem each sample answers.
Means are over problems of the mean over samples, and whole problems are resampled for the interval; without `problems` each
sample stands for itself. Repetition inside one completion is in `repetition`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.repetition import GRAM, find_loop, repeated_share, words
from offleash.core import Estimate, InputError, rng

Floats = NDArray[np.float64]
Numbers = Sequence[int] | Sequence[float] | NDArray[np.int64] | Floats

# The first that matches names the format. A definition is `def name(` at the beginning of a line: "def" alone marks "define".
# Indentation is `[^\S\n]*`: with `^\s*`, every line of a run of empty ones would be tried through to the end of the run.
FORMATS: Mapping[str, re.Pattern[str]] = {
    "empty": re.compile(r"\A\s*\Z"),
    "code": re.compile(r"^[^\S\n]*def\s+\w+\(|^```\s*(?:python|py|c|cpp|java|javascript)\b", re.MULTILINE),
    "tagged": re.compile(r"<(think|answer|reasoning)>", re.IGNORECASE),
    "boxed": re.compile(r"\\boxed\s*\{"),
    "steps": re.compile(r"^[^\S\n]*(?:step\s+\d+\b|\d+[.)]\s+\S)", re.IGNORECASE | re.MULTILINE),
    "bullets": re.compile(r"^[^\S\n]*[-*•]\s+\S", re.MULTILINE),
    "formula": re.compile(r"\A[\d\s+\-*/×÷−()=.,^]+\Z"),
    "prose": re.compile(r""),
}
ANSWER = re.compile(r"\\boxed\s*\{|<answer>|^####|\banswer\s*(?:is\b|:|=)", re.IGNORECASE | re.MULTILINE)
_OPERATOR = re.compile(
    r"(?<=[\d)\]}])\s*(?:\*\*|[-+*/^×÷·−]|\\times|\\cdot|\\div)\s*(?=[-+−]?[\d($\\{])|\\[dt]?frac\s*\{", re.ASCII
)
QUANTILES = (0.1, 0.5, 0.9)
_NODES, _BLOCK = 64, 1_000_000  # quantiles of which a smooth one is the mean; weights held at a time


# ------------------------------------------------------------------------------------------------------- format


def classify_format(text: str, formats: Mapping[str, re.Pattern[str]] = FORMATS) -> str:
    """The name of the first pattern found in the text; "other" if none is.

    >>> classify_format("We define f by f(x) = 2x."), classify_format("def solve(x):")
    ('prose', 'code')
    """
    return next((name for name, pattern in formats.items() if pattern.search(text)), "other")


@dataclass(frozen=True, eq=False)
class Drift:
    """How far the shares of formats moved.

    Attributes:
        before, after: format -> share of the samples.
        distance: total variation, half the sum of the shares' absolute differences; 0 alike, 1 nothing in common.
        by_chance: its mean where nothing changed; a finite sample is never at 0.
        p: permutation p-value of "nothing changed".
        samples: before and after.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    distance: float
    by_chance: float
    p: float
    samples: tuple[int, int]


def format_shares(formats: Sequence[str]) -> dict[str, float]:
    """Share of each format among the samples, the most frequent first."""
    _filled(formats, "formats")
    return {name: count / len(formats) for name, count in Counter(formats).most_common()}


def format_drift(
    before: Sequence[str],
    after: Sequence[str],
    problems_before: Sequence[str] | None = None,
    problems_after: Sequence[str] | None = None,
    *,
    seed: int = 0,
    replicates: int = 2_000,
) -> Drift:
    """Total variation between the formats of two sets of samples, with an exact-in-law permutation test.

    Samples change sides at random, within their problem where problems are given: formats that hang on the problem, or other
    numbers of samples per problem, then do not count as drift.

    Args:
        before, after: (N,) and (M,) format of each sample, e.g. `classify_format` or a verifier's.
        problems_before, problems_after: problem of each sample; both or neither.
        seed: of the permutations.
        replicates: permutations.

    Raises:
        InputError: nothing in one of them, lengths that differ, or problems of one side only.
    """
    for formats, name in ((before, "before"), (after, "after")):
        _filled(formats, name)
    if (problems_before is None) != (problems_after is None):
        raise InputError(
            "problems_before, problems_after: one is missing; give the problems of both sides or of neither"
        )
    names = sorted({*before, *after})
    place = {name: i for i, name in enumerate(names)}
    blocks = ["" for _ in before], ["" for _ in after]
    if problems_before is not None and problems_after is not None:
        _matching(before, problems_before, "before", "problems_before")
        _matching(after, problems_after, "after", "problems_after")
        blocks = list(problems_before), list(problems_after)
    block = {name: i for i, name in enumerate(sorted({*blocks[0], *blocks[1]}))}
    counts = np.zeros((2, len(block), len(names)), dtype=np.int64)
    for side, formats in enumerate((before, after)):
        np.add.at(counts[side], ([block[b] for b in blocks[side]], [place[f] for f in formats]), 1)
    sizes, total = (len(before), len(after)), counts.sum(axis=0)
    generator = rng.stream("boundary", "formats", seed)
    drawn = np.zeros((replicates, len(names)))
    for at in range(len(block)):
        drawn += generator.multivariate_hypergeometric(total[at], int(counts[0, at].sum()), size=replicates)
    observed = float(_distance(counts[0].sum(axis=0).astype(np.float64), total.sum(axis=0), sizes))
    chance = _distance(drawn, total.sum(axis=0), sizes)
    p = (1 + int((chance >= observed - 1e-12).sum())) / (1 + replicates)
    return Drift(format_shares(before), format_shares(after), observed, float(chance.mean()), p, sizes)


def _distance(first: Floats, total: NDArray[np.int64], sizes: tuple[int, int]) -> Floats:
    return np.asarray(np.abs(first / sizes[0] - (total - first) / sizes[1]).sum(axis=-1) / 2)


# ------------------------------------------------------------------------------------------- answers, duplicates


def answer_repetition(
    answers: Sequence[Hashable], problems: Sequence[str], *, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Chance that two samples of one problem give the same answer, averaged over problems (Simpson's index, unbiased).

    1 means that all samples of a problem say the same. Problems with one sample are left out.

    Args:
        answers: (N,) canonical answer of each sample; None (no answer) is an answer of its own.
        problems: (N,) problem of each sample.
        level, seed: of the interval.
    """
    _matching(answers, problems, "answers", "problems")
    values = []
    for group in _groups(answers, problems).values():
        n = len(group)
        if n > 1:
            values.append(sum(m * (m - 1) for m in Counter(group).values()) / (n * (n - 1)))
    return _mean(
        values, "answers", "chance that two samples of a problem agree", "no problem has two samples", level, seed
    )


def constant_answer(answers: Sequence[Hashable]) -> tuple[Hashable, float]:
    """The most frequent answer over all problems and its share; None (no answer) does not count as one.

    A policy that always says the same reaches this share at every problem; it is a baseline of accuracy, too.
    """
    _filled(answers, "answers")
    given = Counter(answer for answer in answers if answer is not None)
    if not given:
        return None, math.nan
    answer, count = given.most_common(1)[0]
    return answer, count / len(answers)


def duplicate_share(
    texts: Sequence[str],
    problems: Sequence[str] | None = None,
    *,
    normalise: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Share of completions that repeat another one of the same problem: 1 - distinct / all, averaged over problems.

    It grows with the samples per problem; compare models at the same number. `normalise` takes any white space for one space.

    Args:
        texts: (N,) completions.
        problems: (N,) problem of each; without, all belong to one, and there is no interval.
        normalise: whether texts that differ in white space only are the same.
        level, seed: of the interval.
    """
    groups = _groups(texts, problems, "texts")
    values = [
        1 - len({" ".join(t.split()) if normalise else t for t in group}) / len(group) for group in groups.values()
    ]
    what = f"share of repeated completions{', white space normalised' if normalise else ''}"
    return _mean(values, "texts", what, "", level, seed)


# ------------------------------------------------------------------------------------------------------- length


def length_ratio(
    before: Numbers,
    after: Numbers,
    problems_before: Sequence[str] | None = None,
    problems_after: Sequence[str] | None = None,
    *,
    quantiles: Sequence[float] = QUANTILES,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = 2_000,
) -> dict[float, Estimate]:
    """Quantiles of the lengths after over those before: {0.5: ratio of medians, ...}; below 1 the completions got shorter.

    Lengths are whole numbers, and where plain quantiles of the data lie on the step from one to the next and those of the
    replicates beside it, a ratio leaves its own interval. Each quantile here is Harrell & Davis's (Biometrika 69, 1982), the mean
    of those around it, weighted by where the q-th of n independent samples may lie, Beta((n + 1) q, (n + 1)(1 - q)); with it the
    percentile bootstrap holds under ties (Wilcox et al., Behav. Res. Methods 46, 2014). n is what the side with less of them is
    worth (`_effective`); value and replicates share it. The bootstrap has Dirichlet weights over problems (one weight for a
    problem on both sides) or, without problems, over samples.

    Args:
        before, after: (N,) and (M,) completion lengths, in tokens.
        problems_before, problems_after: problem of each sample; both or neither.
        quantiles: between 0 and 1.
        level, seed, replicates: of the bootstrap.

    Returns:
        {quantile: Estimate}; NaN with the reason where the quantile before is 0, NaN ends with one problem (or sample) on a side.

    Raises:
        InputError: a negative or undefined length, nothing on one side, or lengths and problems that do not match.
    """
    resample.check_level(level)
    if (problems_before is None) != (problems_after is None):
        raise InputError(
            "problems_before, problems_after: one is missing; give the problems of both sides or of neither"
        )
    x, y = _lengths(before, "before"), _lengths(after, "after")
    if any(not 0 < q < 1 for q in quantiles):
        raise InputError(f"quantiles: {list(quantiles)}; give numbers between 0 and 1")
    over, owner = "samples", np.arange(len(x) + len(y))
    if problems_before is not None and problems_after is not None:
        _matching(x, problems_before, "before", "problems_before")
        _matching(y, problems_after, "after", "problems_after")
        over, owner = "problems", np.unique([*problems_before, *problems_after], return_inverse=True)[1]
    sides = (x, owner[: len(x)]), (y, owner[len(x) :])
    shares = np.stack([_around(q, min(_effective(*side, q) for side in sides)) for q in quantiles])
    found, drawn = _replicate(sides, shares, replicates, rng.stream("boundary", "lengths", seed))
    alone = min(len(np.unique(own)) for _, own in sides) < 2
    told = f"one of the {over} alone has no interval" if alone else f"{level:.0%} Dirichlet bootstrap over {over}"
    method, n, nan, out = f"ratio of Harrell-Davis quantiles; {told}", int(owner.max()) + 1, math.nan, {}
    for j, q in enumerate(quantiles):
        if found[0, j] <= 0 or (drawn[0, :, j] <= 0).any():
            out[q] = Estimate(nan, nan, nan, n, method, f"the {q:g} quantile of the lengths before is 0")
            continue
        low, high = np.quantile(drawn[1, :, j] / drawn[0, :, j], [(1 - level) / 2, (1 + level) / 2])
        ends = (nan, nan) if alone else (float(low), float(high))
        out[q] = Estimate(float(found[1, j] / found[0, j]), *ends, n, method)
    return out


def _effective(values: Floats, own: NDArray[np.int64], q: float) -> float:
    """How many independent samples would place the q quantile as well: N, or less where samples of one owner are alike."""
    at = np.quantile(values, q, method="inverted_cdf")
    below = (values < at) + 0.5 * (values == at)
    below -= below.mean()
    together = float((np.bincount(own, below) ** 2).sum())
    return len(values) * min(1.0, float((below**2).sum()) / together) if together > 1e-9 else float(len(values))


def _around(q: float, n: float) -> Floats:
    """(_NODES,) shares around q, equally spaced in where the q-th of n samples may lie."""
    from scipy.special import betaincinv

    return np.asarray(betaincinv((n + 1) * q, (n + 1) * (1 - q), (np.arange(_NODES) + 0.5) / _NODES))


def _replicate(
    sides: Sequence[tuple[Floats, NDArray[np.int64]]], shares: Floats, replicates: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Means of the quantiles at shares (Q, nodes): of both sides (2, Q), and of R replicates (2, R, Q); in flat memory."""
    from scipy.sparse import csr_array

    units = 1 + max(int(own.max()) for _, own in sides)
    shape = np.ones(units)
    distinct = [np.unique(values, return_inverse=True, return_counts=True) for values, _ in sides]
    owners = [own for _, own in sides]
    if units == sum(len(own) for own in owners):
        # Each sample has its own weight: those of m samples of one length add up to one gamma variate of shape m.
        shape = np.concatenate([count for _, _, count in distinct]).astype(np.float64)
        owners = [distinct[0][1], len(distinct[0][0]) + distinct[1][1]]
    sizes = len(distinct[0][0]), len(distinct[1][0])
    tables = [  # (lengths, units): samples of that length and unit, or 1 where the unit is the samples of that length
        csr_array((np.ones(len(own)) / shape[own], (at, own)), shape=(size, len(shape)))
        for (_, at, _), own, size in zip(distinct, owners, sizes, strict=True)
    ]

    def of(weights: Floats) -> Floats:
        out = []
        for (lengths, _, _), table in zip(distinct, tables, strict=True):
            sums = np.cumsum(table @ np.ascontiguousarray(weights.T), axis=0).T.copy()
            at = np.stack([np.searchsorted(row, row[-1] * shares) for row in sums])
            out.append(lengths[at].mean(axis=-1))
        return np.stack(out)

    block = max(1, _BLOCK // max(len(shape), *sizes))
    blocks = [min(block, replicates - start) for start in range(0, replicates, block)]
    drawn = [of(generator.standard_gamma(shape, (size, len(shape)))) for size in blocks]
    return of(shape[None])[:, 0], np.concatenate(drawn, axis=1)


def _lengths(values: Numbers, name: str) -> Floats:
    out = np.asarray(values, dtype=np.float64)
    if out.ndim != 1 or out.size == 0:
        raise InputError(f"{name}: shape {out.shape}; give the length of each sample, at least one")
    if not (np.isfinite(out) & (out >= 0)).all():
        at = int(np.argmin(np.isfinite(out) & (out >= 0)))
        raise InputError(f"{name}: {out[at]} at position {at}; lengths are numbers of tokens, not negative")
    return out


# ---------------------------------------------------------------------------------- what happens inside the text


def repeated_grams(
    texts: Sequence[str], problems: Sequence[str] | None = None, *, n: int = GRAM, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Mean share of n-grams of words that a completion has said before (`repetition.repeated_share`); short ones are left out."""
    return _each(texts, problems, lambda t: repeated_share(words(t), n), f"share of repeated {n}-grams", level, seed)


def loop_share(
    texts: Sequence[str], problems: Sequence[str] | None = None, *, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Share of completions with a loop (`repetition.find_loop`)."""
    return _each(texts, problems, lambda t: float(find_loop(words(t)) is not None), "share with a loop", level, seed)


def first_answer(
    texts: Sequence[str],
    problems: Sequence[str] | None = None,
    *,
    pattern: re.Pattern[str] = ANSWER,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Where the answer is first announced, as a share of the completion's characters: 0 at once, near 1 after all reasoning.

    Completions without the pattern are left out (the method says how many).
    """
    return _each(texts, problems, lambda t: _position(t, pattern), "position of the first answer", level, seed)


def _position(text: str, pattern: re.Pattern[str]) -> float:
    match = pattern.search(text)
    return match.start() / len(text) if match and text else math.nan


def operations_written(text: str) -> int:
    r"""How many arithmetic operations stand in the text: + - * / ^ between operands, \times, \cdot, \div, \frac.

    Restated operations count again; hyphens between words and signs of single numbers do not count.

    >>> operations_written("(3 + 4) * 5 = 35, a well-known -1"), operations_written(r"\frac{6}{2} \times 4")
    (2, 2)
    """
    return len(_OPERATOR.findall(text))


def missing_computation(
    texts: Sequence[str],
    needed: Sequence[int],
    problems: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Mean share of the needed operations that a completion did not write: max(0, 1 - written / needed).

    Near 1 the answers come without computation. Restated operations hide missing ones, so this is a lower bound.

    Args:
        texts: (N,) completions.
        needed: (N,) operations that the sample's problem needs, at least 1; from its generator.
        problems: (N,) problem of each sample.
        level, seed: of the interval.
    """
    _matching(texts, needed, "texts", "needed")
    for at, count in enumerate(needed):
        if not isinstance(count, (int, np.integer)) or isinstance(count, bool) or count < 1:
            raise InputError(f"needed: {count!r} at position {at}; give a whole number of operations, at least 1")
    shares = iter(needed)
    return _each(
        texts, problems, lambda t: max(0.0, 1 - operations_written(t) / next(shares)), "share of needed operations missing", level, seed
    )  # fmt: skip


def diagnose(
    texts: Sequence[str],
    problems: Sequence[str] | None = None,
    *,
    answers: Sequence[Hashable] | None = None,
    needed: Sequence[int] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Every diagnostic of one model's samples that what is given allows.

    Args:
        texts: (N,) completions.
        problems: (N,) problem of each sample.
        answers: (N,) canonical answers; with `problems` they give answer_repetition.
        needed: (N,) operations needed; they give missing_computation.
        level, seed: of the intervals.

    Returns:
        name -> Estimate: duplicates, duplicates_normalised, repeated_grams, loops, first_answer, and those of answers and needed.
    """
    out = {
        "duplicates": duplicate_share(texts, problems, level=level, seed=seed),
        "duplicates_normalised": duplicate_share(texts, problems, normalise=True, level=level, seed=seed),
        "repeated_grams": repeated_grams(texts, problems, level=level, seed=seed),
        "loops": loop_share(texts, problems, level=level, seed=seed),
        "first_answer": first_answer(texts, problems, level=level, seed=seed),
    }
    if answers is not None and problems is not None:
        out["answer_repetition"] = answer_repetition(answers, problems, level=level, seed=seed)
    if needed is not None:
        out["missing_computation"] = missing_computation(texts, needed, problems, level=level, seed=seed)
    return out


# ------------------------------------------------------------------------------------------------------ details


def _each(
    texts: Sequence[str],
    problems: Sequence[str] | None,
    measure: Callable[[str], float],
    what: str,
    level: float,
    seed: int,
) -> Estimate:
    """Mean over problems of the mean over their samples of a measure in [0, 1]; samples where it is NaN are left out."""
    _filled(texts, "texts")
    values = [measure(text) for text in texts]
    owners = [str(i) for i in range(len(texts))] if problems is None else problems
    groups = {name: [v for v in g if not math.isnan(v)] for name, g in _groups(values, owners, "texts").items()}
    absent = sum(math.isnan(v) for v in values)
    note = f"{what}{f' ({absent} of {len(texts)} samples left out)' if absent else ''}"
    means = [float(np.mean(group)) for group in groups.values() if group]
    return _mean(means, "texts", note, "it is undefined in every sample", level, seed)


def _mean(values: Sequence[float], field: str, what: str, empty: str, level: float, seed: int) -> Estimate:
    resample.check_level(level)
    nan = math.nan
    if not values:
        return Estimate(nan, nan, nan, 0, what, empty or f"{field}: nothing to measure")
    if len(values) == 1:
        return Estimate(values[0], nan, nan, 1, f"{what}; one problem alone has no interval over problems")
    low, high = resample.interval(np.array(values)[:, None], level=level, seed=seed)
    return Estimate(
        float(np.mean(values)), float(low[0]), float(high[0]), len(values), f"{what}; {level:.0%} {resample.METHOD}"
    )


def _groups(values: Sequence[Any], problems: Sequence[str] | None, field: str = "answers") -> dict[str, list[Any]]:
    """Values by problem, problems in order of their names; all in one group without problems."""
    _filled(values, field)
    if problems is None:
        return {"": list(values)}
    _matching(values, problems, field, "problems")
    out: dict[str, list[Any]] = {name: [] for name in sorted(set(problems))}
    for value, name in zip(values, problems, strict=True):
        out[name].append(value)
    return out


def _filled(values: Sequence[Any], field: str) -> None:
    if len(values) == 0:
        raise InputError(f"{field}: no sample; give one entry for each sample")


def _matching(values: Any, others: Any, field: str, other: str) -> None:
    if len(values) != len(others):
        raise InputError(f"{other}: {len(others)} for {len(values)} of {field}; give one for each sample")
