"""Successes that blind guessing explains: pass@k beyond chance, and the problems whose only successes look like guesses.

`chance.chance_curve` is the baseline itself: what a model that knows nothing would score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.audit import LEAST_ROOM
from offleash.boundary.counts import Counts, Numbers
from offleash.boundary.passk import check_ks, log_miss, powers
from offleash.boundary.support import benjamini_hochberg
from offleash.core import Estimate, InputError

Floats = NDArray[np.float64]


def chance_corrected(
    counts: Counts,
    guess: Numbers,
    ks: Iterable[int] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> dict[int, Estimate]:
    """pass@k beyond blind guessing: (pass@k - chance@k) / (1 - chance@k), with chance@k as in `chance.chance_curve`.

    If a sample is right by ability with chance p and else by a guess with chance g, the value at k is the mean of 1 - (1 - p)^k
    over problems, each weighted with the room (1 - g)^k that guessing leaves it. 0 is blind guessing; below 0 the model does
    worse. A problem is resampled with both its numbers.

    Args:
        counts: P problems.
        guess: (P,) chance that one blind guess is right, in the order of counts.ids; NaN where unknown. For guesses that meet a
            verifier with false-positive rate f, give 1 - (1 - g) (1 - f).
        ks: draws; default powers of two up to the smallest n.
        level, seed, replicates: of the interval.

    Returns:
        {k: Estimate}; NaN with the reason where n < k, a chance is unknown, or guessing solves more than 95%.

    Raises:
        InputError: a chance outside [0, 1], or not one for each problem.
    """
    resample.check_level(level)
    g = _checked_guess(counts, guess)
    chosen = check_ks(ks if ks is not None else powers(int(counts.n.min())) or (1,))
    miss = np.exp(log_miss(counts.c[:, None], counts.n[:, None], np.array(chosen)[None, :]))
    with np.errstate(divide="ignore"):
        room = np.exp(np.log1p(-g)[:, None] * np.array(chosen)[None, :])
    method = f"pass@k beyond chance; {level:.0%} {resample.METHOD}"
    out = {}
    for j, k in enumerate(chosen):
        left, reason = float(room[:, j].mean()), ""
        if np.isnan(g).any():
            reason = f"the chance of a blind guess is unknown for {int(np.isnan(g).sum())} of {len(g)} problems"
        elif (counts.n < k).any():
            reason = (
                f"pass@{k} needs n >= {k} samples of every problem; {int((counts.n < k).sum())} of {len(g)} have fewer"
            )
        elif left < LEAST_ROOM:
            reason = f"blind guessing alone reaches pass@{k} of {1 - left:.3f}: nothing beyond it can be measured"
        if reason:
            out[k] = Estimate(math.nan, math.nan, math.nan, len(g), method, reason)
            continue
        both = np.stack([miss[:, j], room[:, j]], axis=1)
        low, high = _ratio_ends(both, level, seed, replicates)
        out[k] = Estimate(1 - float(miss[:, j].mean()) / left, 1 - high, 1 - low, len(g), method)
    return out


def _ratio_ends(both: Floats, level: float, seed: int, replicates: int) -> tuple[float, float]:
    """Interval of mean(first) / mean(second); the pseudo-problem has the mean room and a miss of 0 or 1."""
    drawn = resample.draw(both, seed=seed, replicates=replicates)
    tail = resample.expanded_tail((1 - level) / 2, len(both)) if len(both) > 1 else 0.0
    extra = drawn.pseudo(resample.UNIT)
    under = drawn.sums[:, 1] + extra * both[:, 1].mean()
    return (
        float(np.quantile(drawn.sums[:, 0] / under, tail)),
        float(np.quantile((drawn.sums[:, 0] + extra) / under, 1 - tail)),
    )


@dataclass(frozen=True)
class Guessable:
    """A problem with successes and how far chance explains them.

    Attributes:
        id, c, n: its counts.
        expected: successes that n blind guesses give on average.
        p: chance of c or more of them.
        q: p adjusted over all problems (Benjamini & Hochberg 1995).
        suspect: chance explains the successes at this false discovery rate.
    """

    id: str
    c: int
    n: int
    expected: float
    p: float
    q: float
    suspect: bool


@dataclass(frozen=True, eq=False)
class GuessReport:
    """Which solved problems may owe their successes to guesses.

    Attributes:
        problems: those with at least one success and a known chance, the least certain first.
        solved: how many have a success.
        beyond: how many of them are solved beyond chance at the false discovery rate.
        expected: how many problems blind guessing would solve at least once.
        unknown: problems without a known chance; left out.
        fdr: the false discovery rate.
    """

    problems: tuple[Guessable, ...]
    solved: int
    beyond: int
    expected: float
    unknown: int
    fdr: float

    @property
    def suspects(self) -> tuple[Guessable, ...]:
        """Problems whose only successes look like guesses."""
        return tuple(p for p in self.problems if p.suspect)

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        plain = {name: getattr(self, name) for name in ("solved", "beyond", "expected", "unknown", "fdr")}
        return plain | {"suspects": [{k: v for k, v in vars(p).items() if k != "suspect"} for p in self.suspects]}


def guess_report(counts: Counts, guess: Numbers, *, fdr: float = 0.05, most: int | None = None) -> GuessReport:
    """Problems whose successes blind guessing explains.

    One-sided exact binomial test of every problem (those without a success have p = 1), Benjamini-Hochberg over all of them.
    A problem with successes that the test does not certify is suspect: not shown to be guessed, only not shown to be more.

    Args:
        counts: P problems.
        guess: (P,) as in `chance_corrected`.
        fdr: false discovery rate of "solved beyond chance".
        most: only problems with at most so many successes are called suspect; None: any number.

    Raises:
        InputError: a chance outside [0, 1], not one for each problem, or fdr outside (0, 1).
    """
    from scipy.special import bdtrc

    if not 0 < fdr < 1:
        raise InputError(f"fdr: {fdr} is no rate; give a number between 0 and 1, such as 0.05")
    g = _checked_guess(counts, guess)
    known = np.flatnonzero(~np.isnan(g))
    c, n, g = counts.c[known], counts.n[known], g[known]
    p = np.where(c > 0, bdtrc(np.maximum(c - 1, 0), np.maximum(n, 1), g), 1.0)
    q = benjamini_hochberg(p)
    rows = [
        Guessable(
            counts.ids[known[i]], int(c[i]), int(n[i]), float(n[i] * g[i]), float(p[i]), float(q[i]),
            bool(q[i] > fdr and (most is None or c[i] <= most)),
        )
        for i in np.flatnonzero(c > 0)
    ]  # fmt: skip
    rows.sort(key=lambda row: (-row.q, -row.p, row.id))
    with np.errstate(divide="ignore", invalid="ignore"):
        lucky = float(-np.expm1(np.where(n > 0, n * np.log1p(-g), 0.0)).sum())
    return GuessReport(tuple(rows), len(rows), sum(row.q <= fdr for row in rows), lucky, len(counts) - len(known), fdr)


def _checked_guess(counts: Counts, guess: Numbers) -> Floats:
    g = np.asarray(guess, dtype=np.float64)
    if g.shape != (len(counts),):
        raise InputError(f"guess: shape {g.shape} for {len(counts)} problems; give one chance for each, in their order")
    if ((g < 0) | (g > 1)).any():
        at = int(np.argmax((g < 0) | (g > 1)))
        raise InputError(f"guess: problem {counts.ids[at]!r} has a chance of {g[at]:g}; give a number from 0 to 1")
    return g
