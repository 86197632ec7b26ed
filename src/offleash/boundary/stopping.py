"""When one problem has been drawn enough, and what can still be said without bias once it was stopped.

A problem is drawn in rounds (16, 32, 64, ... draws in all) until it is solved so often that its rate is above epsilon, or
has gone unsolved for `Design.k` draws, which puts the rate at or below epsilon. The plain c / n of such a problem is biased:
stopped because it was solved, it looks easier than it is. Three remedies, all exact at every sample size:
`stopped_pass_at_k` counts paths, `confidence_sequence` holds at all n at once, `log_e_values` are evidence at any time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts, Numbers
from offleash.boundary.passk import check_ks
from offleash.core import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

FIRST = 16  # draws of the first round
BEYOND = 2  # most draws of a problem, in multiples of k
# The mixture behind lower ends: "always", rates nearly flat in log p (1e-3 is as ordinary as 1e-1), the same in log(1 - p).
_ALWAYS, _RARE, _OFTEN, _SHAPE = 3 / 8, 1 / 2, 1 / 8, (0.25, 1.0)
STATES = ("in", "out", "open")


@dataclass(frozen=True)
class Design:
    """When one problem of one model has been drawn enough.

    Attributes:
        epsilon: rate at which a problem counts as in the support.
        confidence: of each decision: at most 1 - confidence of being wrong, however often one looks.
        k: draws without a solve after which a problem is out of the support; pass@k is estimated up to this k.
        rounds: (R,) draws in all at the end of each round, increasing: doubling to k, then from k on.
        enough: (R,) at the end of round r a problem is decided once it has been solved so often.
    """

    epsilon: float
    confidence: float
    k: int
    rounds: tuple[int, ...]
    enough: tuple[int, ...]

    @property
    def cap(self) -> int:
        """Most draws of a problem, beyond k only where the other model solved it (see `finished`)."""
        return self.rounds[-1]


def unseen_bound(draws: int, confidence: float = 0.95) -> float:
    """Upper bound of the rate of a problem not solved in so many draws: 1 - (1 - confidence)^(1 / draws), exact.

    About -ln(1 - confidence) / draws: 0.00292 for 1,024 draws at 95%. Looking early costs nothing here: only a problem
    that was never solved can reach the bound, and only at its last draw.

    Raises:
        InputError: draws below 1, or a confidence outside (0, 1).
    """
    if draws < 1:
        raise InputError(f"draws: {draws}; give at least one draw")
    resample.check_level(confidence)
    return float(-np.expm1(np.log1p(-confidence) / draws))


@functools.lru_cache(maxsize=64)
def design(epsilon: float, confidence: float = 0.95, first: int = FIRST, beyond: int = BEYOND) -> Design:
    """The rule for one epsilon: k = ln(1 - confidence) / ln(1 - epsilon) rounded up, so `unseen_bound(k)` gives back k.

    Args:
        epsilon: rate at which a problem counts as in the support.
        confidence: of each decision.
        first: draws of the first round, at least 1.
        beyond: most draws of a problem in multiples of k, a power of two: 1 makes pass@k the share of problems solved
            within k draws; 2 or 4 make it less of a coin toss where the models may differ.

    Raises:
        InputError: an argument out of range.
    """
    if not 0 < epsilon < 0.5:
        raise InputError(
            f"epsilon: {epsilon} is no rate to look for; give a number above 0 and below 0.5, such as 0.01"
        )
    resample.check_level(confidence)
    if first < 1:
        raise InputError(f"first: {first}; the first round needs at least one draw")
    if beyond < 1 or beyond & (beyond - 1):
        raise InputError(f"beyond: {beyond}; give a power of two: 1, 2 or 4")
    k = int(np.ceil(np.log1p(-confidence) / np.log1p(-epsilon) - 1e-6))
    rounds = [first]
    while rounds[-1] * 2 < k:
        rounds.append(rounds[-1] * 2)
    rounds = [n for n in rounds if n < k] + [k * 2**i for i in range(beyond.bit_length())]
    enough = []
    for n in rounds:
        c = np.arange(n + 1)
        proven = _log_evidence(c, np.full(n + 1, n), epsilon) >= -np.log1p(-confidence)
        enough.append(int(np.argmax(proven)) if proven.any() else n + 1)
    return Design(float(epsilon), float(confidence), k, tuple(rounds), tuple(enough))


def confidence_sequence(c: Numbers, n: Numbers, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Interval for a success rate that holds at every n at once: look as often as you like, stop when you like.

    Robbins' mixture (1970; Howard, Ramdas, McAuliffe & Sekhon, Annals of Statistics 49, 2021): the likelihood averaged
    over rates, divided by the likelihood at the true p, exceeds 1 / alpha at some n with probability at most alpha
    (Ville). The mixture for the lower end: 1/2 Beta(1/4, 1), 1/8 Beta(1, 1/4), 3/8 "always"; its mirror image serves the
    upper end; alpha / 2 a side. Up to 1,024 draws it is 1.2 to 2.1 times as wide as Clopper-Pearson at the same n.

    Args:
        c: successes. Broadcasts with n.
        n: draws.
        confidence: that the true rate lies inside at all n together.

    Returns:
        low, high: float64 of the broadcast shape, within [0, 1].

    Raises:
        InputError: c < 0, c > n, or a confidence outside (0, 1).
    """
    resample.check_level(confidence)
    c_, n_ = (np.asarray(x, dtype=np.float64) for x in np.broadcast_arrays(c, n))
    if (c_ < 0).any() or (c_ > n_).any():
        raise InputError("c: must lie between 0 and n; count the successes among the n draws")
    tail = (1 - confidence) / 2
    return _lower(c_, n_, tail), np.asarray(1 - _lower(np.asarray(n_ - c_), n_, tail))


def states(counts: Counts, plan: Design) -> NDArray[Any]:
    """(P,) "in" (rate above epsilon), "out" (unsolved in `plan.k` draws: at most epsilon) or "open".

    Each problem's call is wrong with probability at most 1 - confidence, at whatever n it was stopped. A problem solved
    once is never called out.
    """
    out = np.full(len(counts), "open", dtype="<U4")
    out[_log_evidence(counts.c, counts.n, plan.epsilon) >= -np.log1p(-plan.confidence)] = "in"
    out[(counts.c == 0) & (counts.n >= plan.k)] = "out"
    return np.asarray(out)


def finished(c_2: Ints, n_2: Ints, plan: Design) -> Bools:
    """Which problems of which model are not drawn any further.

    A model stops a problem at the end of the first round in which it is solved often enough, and at the latest at k.
    Past k, to the cap, it goes on only where the *other* model has solved the problem within k draws: there the two may
    differ, and more draws make pass@k less of a coin toss. Given the other model's draws this is a rule on the problem's
    own counts, so `stopped_pass_at_k` stays unbiased.

    Args:
        c_2, n_2: (2, ...) counts of both models.
        plan: the rule.

    Returns:
        (2, ...) bool.
    """
    enough = np.full(n_2.shape, np.iinfo(np.int64).max)
    for at, least in zip(plan.rounds, plan.enough, strict=True):
        enough[n_2 == at] = least
    own = (c_2 >= enough) | (n_2 >= plan.cap)
    c_other, n_other, own_other = c_2[::-1], n_2[::-1], own[::-1]
    # Both decide at the same moment, when the other is at k (or stopped before): later its c says nothing about k.
    onward = (c_other > 0) & (((n_other <= plan.k) & own_other) | (n_other == plan.k))
    return np.asarray(own | ((n_2 == plan.k) & ~onward))


def reachable(c: Ints, n: Ints, plan: Design) -> Bools:
    """Whether a problem can have c successes at n draws without having been stopped in an earlier round; any shape."""
    before = np.searchsorted(plan.rounds, n, side="left") - 1  # the last round that ended before n
    ends, enough = np.array((*plan.rounds, 0)), np.array((*plan.enough, 1))  # -1: none did
    return np.asarray(c - (n - ends[before]) < enough[before])


def stopped_pass_at_k(c: Ints, n: Ints, ks: Iterable[int], plan: Design) -> Floats:
    """Unbiased pass@k of problems that stopped by `finished`, for every k up to `plan.k`.

    Among all orders of draws that reach (c, n) without stopping before, the share that does not begin with k failures
    (Girshick, Mosteller & Savage, Annals of Mathematical Statistics 17, 1946). Without early stops this is `pass_at_k`;
    for rounds of one draw and m successes wanted, pass@1 is (m - 1) / (n - 1) (Haldane, Biometrika 33, 1945).

    Args:
        c: (P,) successes.
        n: (P,) draws.
        ks: K draws, at most `plan.k`.
        plan: the rule that was followed.

    Returns:
        (P, K); NaN in rows that the rule does not stop there, or cannot have reached.

    Raises:
        InputError: some k beyond `plan.k`.
    """
    chosen = check_ks(ks)
    if chosen[-1] > plan.k:
        raise InputError(f"k: {chosen[-1]} exceeds the {plan.k} draws of the rule; lower k, or lower epsilon")
    out = np.full((len(c), len(chosen)), np.nan)
    for j, k in enumerate(chosen):
        for at, table in zip(plan.rounds, _tables(plan, k), strict=True):
            rows = n == at
            out[rows, j] = table[c[rows]]
    return out


def log_e_values(c_a: Numbers, n_a: Numbers, c_b: Numbers, n_b: Numbers) -> Floats:
    """Log evidence that a solves a problem more often than b, valid at any stopping time (an e-value; shapes broadcast).

    The product of the two mixture martingales is a test martingale at the true pair of rates; its least value over
    p_a <= p_b, which is at the pooled rate, is an e-value against "b solves it at least as often". 0 where a's share is
    not the larger one.
    """
    c_a, n_a, c_b, n_b = (np.asarray(x, dtype=np.float64) for x in np.broadcast_arrays(c_a, n_a, c_b, n_b))
    pooled = (c_a + c_b) / np.maximum(n_a + n_b, 1)
    log_e = _log_mixture(c_a, n_a) + _log_mixture(n_b - c_b, n_b) - _log_likelihood(c_a + c_b, n_a + n_b, pooled)
    return np.asarray(np.where(c_a * n_b > c_b * n_a, log_e, 0.0))


def certified(log_e: Floats, confidence: float) -> Bools:
    """Which of P e-values (axis 0) hold at false discovery rate 1 - confidence, whatever their dependence.

    e-BH (Wang & Ramdas, JRSS B 84, 2022). Further axes are separate families.
    """
    ranked = np.sort(log_e, axis=0)[::-1]
    rank = np.arange(1, len(log_e) + 1).reshape(-1, *([1] * (log_e.ndim - 1)))
    needed = np.log(len(log_e) / ((1 - confidence) * rank))
    least = np.where(ranked >= needed, ranked, np.inf).min(axis=0)
    return np.asarray(log_e >= least)


def _log_likelihood(c: NDArray[Any], n: NDArray[Any], p: float | Floats) -> Floats:
    from scipy.special import xlog1py, xlogy

    return np.asarray(xlogy(c, p) + xlog1py(n - c, -np.asarray(p)))


def _log_mixture(c: NDArray[Any], n: NDArray[Any]) -> Floats:
    """Log of the likelihood averaged over the mixture for lower ends; its mirror image is (n - c, n)."""
    from scipy.special import betaln

    rare = np.log(_RARE) + betaln(c + _SHAPE[0], n - c + _SHAPE[1]) - betaln(*_SHAPE)
    often = np.log(_OFTEN) + betaln(c + _SHAPE[1], n - c + _SHAPE[0]) - betaln(*_SHAPE)
    always = np.where(c == n, np.log(_ALWAYS), -np.inf)
    return np.asarray(np.logaddexp(np.logaddexp(rare, often), always))


def _log_evidence(c: NDArray[Any], n: NDArray[Any], epsilon: float) -> Floats:
    """Log of the mixture martingale at epsilon where the share of successes is above it, else 0."""
    return np.asarray(np.where(c > epsilon * n, _log_mixture(c, n) - _log_likelihood(c, n, epsilon), 0.0))


def _lower(c: Floats, n: Floats, tail: float) -> Floats:
    """Least p at or below c / n that is not refuted at `tail`; bisection in log odds."""
    target = _log_mixture(c, n) + np.log(tail)
    share = c / np.maximum(n, 1)
    low = np.full(c.shape, -60.0)
    high = np.clip(np.log(np.maximum(share, 1e-30)) - np.log(np.maximum(1 - share, 1e-17)), -60.0, 39.0)
    for _ in range(60):
        middle = (low + high) / 2
        refuted = _log_likelihood(c, n, 1 / (1 + np.exp(-middle))) < target
        low, high = np.where(refuted, middle, low), np.where(refuted, high, middle)
    return np.asarray(np.where(c > 0, 1 / (1 + np.exp(-low)), 0.0))


@functools.lru_cache(maxsize=1024)
def _tables(plan: Design, k: int) -> tuple[Floats, ...]:
    """Per round r, (n_r + 1,) the unbiased pass@k of a problem that stops there with c successes, else NaN."""
    every, missing = _log_paths(plan, 0), _log_paths(plan, k)
    out = []
    for at, least, all_, miss in zip(plan.rounds, plan.enough, every, missing, strict=True):
        c = np.arange(at + 1)
        stops = ((c >= least) | (at >= plan.k)) & np.isfinite(all_)
        with np.errstate(invalid="ignore"):
            out.append(np.asarray(np.where(stops, -np.expm1(np.minimum(miss - all_, 0.0)), np.nan)))
    return tuple(out)


def _log_paths(plan: Design, failures: int) -> list[Floats]:
    """Per round r, (n_r + 1,) log number of orders of draws that begin with so many failures and reach c there unstopped."""
    from scipy.special import gammaln

    def choose(n: int, k: Ints) -> Floats:
        safe = np.where((k >= 0) & (k <= n), k, 0)
        return np.asarray(
            np.where(safe == k, gammaln(n + 1) - gammaln(safe + 1) - gammaln(n - safe + 1), -np.inf), dtype=np.float64
        )

    out, alive, before = [], np.zeros(1), 0
    for at, least in zip(plan.rounds, plan.enough, strict=True):
        free = at - max(before, min(failures, at))  # draws of this round whose outcome is not prescribed
        ways = alive[:, None] + choose(free, np.arange(at + 1)[None, :] - np.arange(len(alive))[:, None])
        out.append(np.asarray(np.logaddexp.reduce(ways, axis=0)))
        alive, before = out[-1][:least], at
    return out
