"""Which problems each model solves at all: preserved, expanded, shrunk, out of support, and how sure we are.

Definitions: "The Invisible Leash" (arXiv 2507.14843, sec. 3 and C.4), with "in the support" = solved at least once in m
samples, the same m for both models. The ratios mean nothing without `null.null_ndr`: two runs of one model also differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts, join
from offleash.boundary.passk import pass_at_k
from offleash.core import Estimate, InputError

Floats = NDArray[np.float64]

CLASSES = ("preserved", "expanded", "shrunk", "out_of_support")
METRICS = ("srr", "ndr", "sds", "nscr")
_UNDEFINED = {
    "srr": "a solved no problem, so nothing could be kept",
    "ndr": "b solved no problem, so none of its solves could be new",
    "sds": "SRR and NDR must both exist",
    "nscr": "neither model solved any problem",
}


@dataclass(frozen=True)
class ProblemClass:
    """One problem's class and the evidence for it.

    Attributes:
        id: of the problem.
        c_a, n_a, c_b, n_b: its counts.
        name: one of CLASSES; at unequal n the most probable one when the larger side is thinned to the smaller n.
        confidence: preserved: 1 (both were seen to solve it). expanded, shrunk: 1 - q, with q the Benjamini-Hochberg
            adjusted one-sided Fisher p over all problems. out_of_support: NaN, see `reason`.
        reason: why the confidence is undefined, else "".
    """

    id: str
    c_a: int
    n_a: int
    c_b: int
    n_b: int
    name: str
    confidence: float
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Support:
    """Support accounting over P problems.

    Attributes:
        counts: class -> number of problems; an expected number (a fraction) where n differs between the sides.
        metrics: "srr", "ndr", "sds", "nscr" -> Estimate over the population of problems.
        problems: P rows, sorted by id.
        budget: (least, most) samples per problem at which the classes were taken.
        sign_p: two-sided p of expanded against shrunk (exact McNemar; normal where n differs). NaN if no such problem.
    """

    counts: Mapping[str, float]
    metrics: Mapping[str, Estimate]
    problems: tuple[ProblemClass, ...]
    budget: tuple[int, int]
    sign_p: float

    def significant(self, name: str, level: float = 0.95) -> tuple[ProblemClass, ...]:
        """Problems of this class (expanded or shrunk) whose false discovery rate is at most 1 - level."""
        return tuple(p for p in self.problems if p.name == name and p.confidence >= level)


def support(
    a: Counts, b: Counts, *, level: float = 0.95, seed: int = 0, replicates: int = resample.REPLICATES
) -> Support:
    """Classify every problem at equal budgets and summarise.

    Where a problem has n_a != n_b, both are thinned in expectation to m = min(n_a, n_b): the chance that m of the n
    samples hold a correct one is pass@m, and the class counts become expected numbers.

    Args:
        a: counts of the reference, every n at least 1.
        b: counts of the other model over exactly the same problems.
        level: nominal coverage.
        seed: of the bootstrap; the same input and seed give the same numbers.
        replicates: of the bootstrap.

    Raises:
        InputError: the problems differ or some n is 0.
    """
    if set(a.ids) != set(b.ids):
        raise InputError("id: the two sides hold different problems; join them first")
    pair = join(a, b)
    a, b = pair.a, pair.b
    budget = np.minimum(a.n, b.n)
    if budget.min() < 1:
        name = a.ids[int(np.argmin(budget))]
        raise InputError(f"n: problem {name!r} has no decided sample (n=0); sample it again or leave it out with --n 1")
    shares = class_shares(a, b)
    totals = shares.sum(axis=0)
    names = shares.argmax(axis=1)
    return Support(
        counts={name: float(total) for name, total in zip(CLASSES, totals, strict=True)},
        metrics=_metrics(shares, level, seed, replicates),
        problems=_problems(a, b, names),
        budget=(int(budget.min()), int(budget.max())),
        sign_p=sign_test(shares),
    )


def class_shares(a: Counts, b: Counts) -> Floats:
    """(P, 4) probability of each class in CLASSES at the budget min(n_a, n_b); 0 or 1 where n_a = n_b."""
    budget = np.minimum(a.n, b.n)
    in_a, in_b = pass_at_k(a.c, a.n, budget), pass_at_k(b.c, b.n, budget)
    return np.stack([in_a * in_b, (1 - in_a) * in_b, in_a * (1 - in_b), (1 - in_a) * (1 - in_b)], axis=1)


def ratios(classes: Floats) -> Floats:
    """SRR, NDR, SDS, NSCR from counts of (preserved, expanded, shrunk, out_of_support).

    SRR = P/(P+S), NDR = E/(P+E), SDS = 2PE/(P^2+2PE+ES) = the harmonic mean of SRR and NDR, NSCR = (E-S)/(P+E+S)
    (arXiv 2507.14843, C.4).

    Args:
        classes: (..., 4).

    Returns:
        (..., 4), NaN where the denominator is 0.
    """
    p, e, s = classes[..., 0], classes[..., 1], classes[..., 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        srr, ndr = p / (p + s), e / (p + e)
        return np.stack([srr, ndr, 2 * srr * ndr / (srr + ndr), (e - s) / (p + e + s)], axis=-1)


def sign_test(shares: Floats) -> float:
    """Two-sided p that expanded and shrunk are equally likely.

    Whole counts: exact McNemar, i.e. Binomial(E + S, 1/2). Expected counts: normal, z = sum(d) / sqrt(sum(d^2)) over
    per-problem d = expanded - shrunk, which for whole counts is McNemar's chi-square. NaN where E + S = 0.
    """
    from scipy.special import bdtr, ndtr

    d = shares[:, 1] - shares[:, 2]
    if not (d != 0).any():
        return float("nan")
    if np.isin(shares, (0.0, 1.0)).all():
        total = int(shares[:, 1:3].sum())
        few = int(min(shares[:, 1].sum(), shares[:, 2].sum()))
        return float(min(1.0, 2 * bdtr(few, total, 0.5)))
    return float(2 * ndtr(-abs(d.sum()) / np.sqrt((d**2).sum())))


def fisher_increase(c_from: int, n_from: int, c_to: int, n_to: int) -> float:
    """One-sided Fisher exact p that the success rate did not increase: P(C_from <= c_from | c_from + c_to)."""
    from scipy.stats import hypergeom

    return float(hypergeom.cdf(c_from, n_from + n_to, c_from + c_to, n_from))


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted p-values (q) that control the false discovery rate (Benjamini & Hochberg 1995)."""
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q


def _problems(a: Counts, b: Counts, names: NDArray[np.intp]) -> tuple[ProblemClass, ...]:
    # A problem outside the class gets p = 1, which only makes its p larger, so BH over all P problems stays valid for
    # "the rate did not change this way" while preserved problems whose rate moved cannot loosen the threshold.
    p_up, p_down = np.ones(len(a)), np.ones(len(a))
    for at in np.flatnonzero(names == CLASSES.index("expanded")):
        p_up[at] = fisher_increase(int(a.c[at]), int(a.n[at]), int(b.c[at]), int(b.n[at]))
    for at in np.flatnonzero(names == CLASSES.index("shrunk")):
        p_down[at] = fisher_increase(int(b.c[at]), int(b.n[at]), int(a.c[at]), int(a.n[at]))
    q_up, q_down = benjamini_hochberg(p_up), benjamini_hochberg(p_down)
    rows = []
    for i, name in enumerate(a.ids):
        c_a, n_a, c_b, n_b = (int(x[i]) for x in (a.c, a.n, b.c, b.n))
        kind = CLASSES[names[i]]
        reason = ""
        if kind == "out_of_support":
            confidence = float("nan")
            bound = 1 - 0.05 ** (1 / min(n_a, n_b))
            reason = f"no solve in n samples does not prove it unsolvable: the rate may be up to {bound:.2g} (95%)"
        else:
            confidence = {"preserved": 1.0, "expanded": 1 - float(q_up[i]), "shrunk": 1 - float(q_down[i])}[kind]
        rows.append(ProblemClass(name, c_a, n_a, c_b, n_b, kind, confidence, reason))
    return tuple(rows)


def _metrics(shares: Floats, level: float, seed: int, replicates: int) -> dict[str, Estimate]:
    """Bootstrap the class shares; each end takes the pseudo-problem in the class that moves it furthest."""
    resample.check_level(level)
    value = ratios(shares.sum(axis=0))
    drawn = resample.draw(shares, seed=seed, replicates=replicates)
    tail = resample.expanded_tail((1 - level) / 2, len(shares)) if len(shares) > 1 else 0.0
    extra = drawn.pseudo(resample.CLASSES)
    # (3 places of the pseudo-problem, R, 4 metrics); out of the support it would change no ratio
    replicates_KR4 = np.stack([ratios(drawn.sums + extra[:, None] * np.eye(4)[kind]) for kind in range(3)])
    method = f"ratio of class counts; {level:.0%} {resample.METHOD}"
    out = {}
    for j, name in enumerate(METRICS):
        reason = "" if np.isfinite(value[j]) else _UNDEFINED[name]
        low, high = (math.nan, math.nan) if reason else _range(replicates_KR4[:, :, j], tail)
        out[name] = Estimate(float(value[j]), low, high, len(shares), method, reason)
    return out


def _range(values: Floats, tail: float) -> tuple[float, float]:
    """Least lower and greatest upper quantile over the rows."""
    low, high = np.quantile(values, [tail, 1 - tail], axis=1)
    return float(low.min()), float(high.max())
