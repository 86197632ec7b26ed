"""The support ledger at a threshold: which problems each model solves with probability above epsilon, and how surely.

"The Invisible Leash" (arXiv 2507.14843, sec. 3, C.4) asks whether p > epsilon, and answers by whether one of k samples was
right. Here the answer is an exact interval for p: above where its lower end exceeds epsilon, below where its upper end does not,
and open in between. With no success in n samples the upper end is 1 - zeta^(1/n) at confidence 1 - zeta (the paper's
-ln(zeta) / n is its upper approximation), so a small epsilon needs many samples before anything is "below".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offleash.boundary.counts import Counts, join
from offleash.core import InputError

Floats = NDArray[np.float64]
Where = Literal["above", "below", "open"]
LEDGER = ("preserved", "expanded", "shrunk", "out_of_support", "open")


@dataclass(frozen=True)
class Entry:
    """One problem: exact one-sided bounds on each model's chance to solve it, and where they lie.

    Attributes:
        id: of the problem.
        low_a, high_a: each bound alone holds with the ledger's confidence.
        low_b, high_b: the same for b.
        a, b: "above", "below" or "open".
        name: one of LEDGER; "open" where either side is.
    """

    id: str
    low_a: float
    high_a: float
    low_b: float
    high_b: float
    a: Where
    b: Where
    name: str


@dataclass(frozen=True, eq=False)
class Ledger:
    """Entries of all problems, and how many are of each kind."""

    epsilon: float
    confidence: float
    entries: tuple[Entry, ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """Problems of each kind."""
        return {name: sum(e.name == name for e in self.entries) for name in LEDGER}


def ledger(a: Counts, b: Counts, *, epsilon: float, confidence: float = 0.95) -> Ledger:
    """Classify every shared problem at a threshold, per problem at `confidence` for each side.

    Of P problems at their threshold up to (1 - confidence) P a side may be misplaced; for claims about single problems
    among many use `support`, which controls the false discovery rate.

    Args:
        a: counts of the reference.
        b: counts of the other model.
        epsilon: probability of one sample, between 0 and 1.
        confidence: of each bound.

    Raises:
        InputError: no shared problem, or a number out of range.
    """
    if not 0 < epsilon < 1:
        raise InputError(f"epsilon: {epsilon} is no probability between 0 and 1")
    if not 0.5 < confidence < 1:
        raise InputError(f"confidence: {confidence}; give a number between 0.5 and 1, such as 0.95")
    pair = join(a, b)
    (low_a, high_a), (low_b, high_b) = (bounds(side, confidence) for side in (pair.a, pair.b))
    entries = []
    for i, name in enumerate(pair.a.ids):
        one, other = _where(low_a[i], high_a[i], epsilon), _where(low_b[i], high_b[i], epsilon)
        kind = {
            ("above", "above"): "preserved",
            ("below", "above"): "expanded",
            ("above", "below"): "shrunk",
            ("below", "below"): "out_of_support",
        }.get((one, other), "open")
        ends = (float(low_a[i]), float(high_a[i]), float(low_b[i]), float(high_b[i]))
        entries.append(Entry(name, *ends, one, other, kind))
    return Ledger(epsilon, confidence, tuple(entries))


def bounds(counts: Counts, confidence: float) -> tuple[Floats, Floats]:
    """(P,) one-sided Clopper-Pearson bounds below and above; 0 and 1 where nothing was sampled."""
    from scipy.special import betaincinv

    c, n = counts.c.astype(np.float64), counts.n.astype(np.float64)
    low = np.where(c > 0, betaincinv(np.maximum(c, 1), n - c + 1, 1 - confidence), 0.0)
    high = np.where(c < n, betaincinv(c + 1, np.maximum(n - c, 1), confidence), 1.0)
    return low, high


def samples_for(epsilon: float, confidence: float = 0.95) -> int:
    """Samples without a success after which p <= epsilon is certain at this confidence: ln(zeta) / ln(1 - epsilon)."""
    if not (0 < epsilon < 1 and 0 < confidence < 1):
        raise InputError(f"epsilon: {epsilon}, confidence: {confidence}; both lie between 0 and 1")
    return int(np.ceil(np.log(1 - confidence) / np.log1p(-epsilon)))


def _where(low: float, high: float, epsilon: float) -> Where:
    return "above" if low > epsilon else "below" if high <= epsilon else "open"
