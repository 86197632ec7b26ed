"""How far a verifier can be trusted: two verifiers side by side, and what false positives do to pass@k.

At large k small error rates decide a boundary: a verifier that passes one wrong sample in a thousand gives a problem that is
never solved a pass@1024 of 1 - (1 - .001)^1024 = .641. Nothing here decides which verdict is right; that takes an audit. For
successes by blind luck see `guesses`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts
from offleash.boundary.passk import check_ks, curve, powers
from offleash.core import Estimate, InputError, rng

Floats = NDArray[np.float64]

CELLS = ("both", "only_first", "only_second", "neither")  # who calls the sample correct
LEAST_ROOM = 0.05  # no correction where errors alone would solve more than 1 - this of what is unsolved
MOST_FALL = 0.02  # a corrected curve that falls by more contradicts its one rate; a smaller fall is noise
_SAME = np.array([1.0, 0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two verifiers on the same samples.

    Attributes:
        table: samples in each of CELLS, of those that both decided.
        undecided: samples left out because (the first, the second) could not decide; one that neither could counts in both.
        samples: decided by both.
        kappa: Cohen's kappa, agreement beyond chance: 0 at chance, 1 where all agree.
        disagreement: share of samples on which they differ.
        only_first, only_second: share of samples that only this one calls correct.
        sign_p: two-sided exact p that both directions are equally likely (McNemar); NaN where nothing differs. It takes samples
            as independent, also where `problems` were given.
    """

    table: dict[str, int]
    undecided: tuple[int, int]
    samples: int
    kappa: Estimate
    disagreement: Estimate
    only_first: Estimate
    only_second: Estimate
    sign_p: float

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        numbers = ("kappa", "disagreement", "only_first", "only_second")
        return {
            "table": self.table,
            "undecided": list(self.undecided),
            "samples": self.samples,
            **{name: estimate_json(getattr(self, name)) for name in numbers},
            "sign_p": None if math.isnan(self.sign_p) else self.sign_p,
        }


def agreement(
    first: Sequence[bool | None],
    second: Sequence[bool | None],
    problems: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> Agreement:
    """Compare two verifiers' verdicts on the same samples.

    Intervals. Without `problems`, samples are independent: Clopper-Pearson for the rates, and for kappa a Dirichlet posterior of
    the four cells with a quarter of a sample in each (Perks 1947), which keeps its width where all agree. With `problems`,
    whole problems are resampled (`resample`), since the samples of one problem share their pitfalls.

    Args:
        first, second: (N,) verdicts of the same samples in the same order; None where undecided.
        problems: (N,) problem of each sample.
        level: nominal coverage.
        seed: of the bootstrap.
        replicates: of the bootstrap.

    Raises:
        InputError: lengths that differ, or no sample that both decided.
    """
    resample.check_level(level)
    _same_length({"first": first, "second": second} | ({} if problems is None else {"problems": problems}))
    decided = [i for i, pair in enumerate(zip(first, second, strict=True)) if None not in pair]
    if not decided:
        raise InputError("first, second: no sample has a verdict of both verifiers; run both on the same samples")
    cell = np.array([2 * (not first[i]) + (not second[i]) for i in decided])
    table = np.bincount(cell, minlength=4)
    if problems is None:
        kappa, rates = _independent(table, level, seed, replicates)
    else:
        names = sorted({problems[i] for i in decided})
        place = {name: j for j, name in enumerate(names)}
        counts = np.zeros((len(names), 4))
        np.add.at(counts, (np.array([place[problems[i]] for i in decided]), cell), 1)
        kappa, rates = _by_problem(counts, level, seed, replicates)
    return Agreement(
        table=dict(zip(CELLS, table.tolist(), strict=True)),
        undecided=(sum(v is None for v in first), sum(v is None for v in second)),
        samples=len(decided),
        kappa=kappa,
        disagreement=rates[0],
        only_first=rates[1],
        only_second=rates[2],
        sign_p=_mcnemar(int(table[1]), int(table[2])),
    )


def cohens_kappa(table: Floats) -> Floats:
    """(p_o - p_e) / (1 - p_e) of counts or weights (..., 4) in the order of CELLS (Cohen 1960); NaN where p_e = 1."""
    share = table / table.sum(axis=-1, keepdims=True)
    first, second = share[..., 0] + share[..., 1], share[..., 0] + share[..., 2]
    expected = first * second + (1 - first) * (1 - second)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected < 1 - 1e-12, (share @ _SAME - expected) / (1 - expected), np.nan))


def _rates(table: Floats) -> Floats:
    """(..., 3): disagreement, only the first, only the second."""
    share = table / table.sum(axis=-1, keepdims=True)
    return np.stack([share[..., 1] + share[..., 2], share[..., 1], share[..., 2]], axis=-1)


def _independent(table: NDArray[np.int64], level: float, seed: int, replicates: int) -> tuple[Estimate, list[Estimate]]:
    n = int(table.sum())
    generator = rng.stream("boundary", "kappa", seed)
    drawn = generator.standard_gamma(table + 0.25, (replicates, 4))
    low, high = np.quantile(cohens_kappa(drawn), [(1 - level) / 2, (1 + level) / 2])
    kappa = _kappa(table.astype(np.float64), float(low), float(high), n, f"{level:.0%} Dirichlet over samples")
    rates = [clopper_pearson(int(m), n, level) for m in (table[1] + table[2], table[1], table[2])]
    return kappa, rates


def _by_problem(counts: Floats, level: float, seed: int, replicates: int) -> tuple[Estimate, list[Estimate]]:
    drawn = resample.draw(counts, seed=seed, replicates=replicates)
    tail = resample.expanded_tail((1 - level) / 2, len(counts)) if len(counts) > 1 else 0.0
    extra = drawn.pseudo(resample.CLASSES)[:, None] * counts.sum(axis=1).mean()
    worst = np.stack([drawn.sums + extra * np.eye(4)[kind] for kind in range(4)])
    total, note = counts.sum(axis=0), f"{level:.0%} {resample.METHOD}"

    def ends(values: Floats) -> tuple[float, float]:
        low, high = np.nanquantile(values, [tail, 1 - tail], axis=1)
        return float(np.min(low)), float(np.max(high))

    # Where every sample gets the same verdict, kappa is undefined in the replicates too, and so are its ends.
    undefined = math.isnan(float(cohens_kappa(total)))
    kappa = _kappa(total, *((math.nan, math.nan) if undefined else ends(cohens_kappa(worst))), len(counts), note)
    value, replicate = _rates(total), _rates(worst)
    rates = [Estimate(float(value[j]), *ends(replicate[..., j]), len(counts), note) for j in range(3)]
    return kappa, rates


def _kappa(total: Floats, low: float, high: float, n: int, note: str) -> Estimate:
    value = float(cohens_kappa(total))
    if math.isnan(value):
        return Estimate(value, value, value, n, "Cohen's kappa", "both verifiers give every sample the same verdict")
    return Estimate(value, low, high, n, f"Cohen's kappa; {note}")


def _mcnemar(one: int, other: int) -> float:
    from scipy.special import bdtr

    return math.nan if one + other == 0 else float(min(1.0, 2 * bdtr(min(one, other), one + other, 0.5)))


# ---------------------------------------------------------------------------------------------- false positives


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> Estimate:
    """Share of hits among n with its exact interval (Clopper & Pearson 1934): it covers at least `level`, whatever the truth.

    Raises:
        InputError: not 0 <= hits <= n, or n = 0.
    """
    from scipy.special import betaincinv

    resample.check_level(level)
    if n < 1:
        raise InputError(f"n: {n} samples were looked at; look at one at least")
    if not 0 <= hits <= n:
        raise InputError(f"hits: {hits} of n={n}; give a number from 0 to n")
    tail = (1 - level) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return Estimate(hits / n, low, high, n, f"{level:.0%} Clopper-Pearson")


def false_share(false: int, audited: int, *, level: float = 0.95) -> Estimate:
    """Share of wrong samples among those the verifier passes: `false` of `audited` randomly chosen positives are wrong.

    It is a share of the positives, not of the wrong samples; `false_positive_rate` converts it.

    Raises:
        InputError: false > audited, a negative, or nothing audited.
    """
    if audited < 1 or not 0 <= false <= audited:
        raise InputError(
            f"false: {false} false of audited={audited} positives; give 0 <= false <= audited, audited >= 1"
        )
    return clopper_pearson(false, audited, level)


def false_positive_rate(share: Estimate, counts: Counts) -> Estimate:
    """Chance that the verifier passes a wrong sample, from the share of wrong ones among the positives (`false_share`).

    With x the observed rate of positives: f = share x / (1 - x (1 - share)), which rises with the share, so its interval is the
    share's, mapped. x is taken as known. One f for all wrong samples is an assumption: where false positives gather on a
    few problems, audit those.

    Returns:
        An Estimate; NaN with the reason where no wrong sample is known. `false_pass` and `corrected_curve` pass the reason on.

    Raises:
        InputError: the counts hold no sample.
    """
    n = int(counts.n.sum())
    if n == 0:
        raise InputError("n: the counts hold no decided sample; give the counts that the audited positives come from")
    x = float(counts.c.sum()) / n

    def rate(q: float) -> float:
        wrong = (1 - x) + x * q  # as sums of what is not negative, so that no rounding takes the rate above 1
        return q * x / wrong if wrong > 0 else math.nan

    method, value = f"per wrong sample, from the share among positives; {share.method}", rate(share.value)
    if math.isnan(value):
        reason = share.reason or "every sample is positive and none of the audited ones false: no wrong sample is known"
        return Estimate(math.nan, math.nan, math.nan, share.n, method, reason)
    low, high = rate(share.low), rate(share.high)
    return Estimate(value, 0.0 if math.isnan(low) and share.low == 0 else low, high, share.n, method, share.reason)


def false_pass(rate: Estimate | float, ks: Iterable[int]) -> dict[int, Estimate]:
    """pass@k that false positives alone give a problem which is never solved: 1 - (1 - rate)^k.

    Args:
        rate: chance that the verifier passes a wrong sample; an Estimate's interval is carried through.
        ks: draws.

    Returns:
        {k: Estimate}; NaN with the rate's reason where the rate is NaN.
    """
    f = _as_rate(rate)
    method = f"1 - (1 - f)^k; {f.method}"
    out = {}
    for k in check_ks(ks):
        if math.isnan(f.value):
            out[k] = Estimate(math.nan, math.nan, math.nan, f.n, method, f.reason)
            continue
        value, low, high = (float(-np.expm1(k * _log_miss_of(x))) for x in (f.value, f.low, f.high))
        out[k] = Estimate(value, low, high, f.n, method)
    return out


def corrected_curve(
    counts: Counts,
    rate: Estimate | float,
    ks: Iterable[int] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> dict[int, Estimate]:
    """pass@k without the successes that false positives explain: 1 - (1 - pass@k) / (1 - f)^k.

    A sample is positive with chance p + (1 - p) f, so 1 - p is the chance of a negative over 1 - f, and the unbiased
    estimate of (chance of a negative)^k over (1 - f)^k is unbiased for (1 - p)^k, problem by problem. f is the same for every
    wrong sample of every problem; where it is higher on hard problems, this corrects too little.

    No pass@k falls with k, but this estimate can: a problem with fewer positives than f alone would give it counts as less than
    unsolved, the more so the larger k. A fall of at most MOST_FALL is taken as noise, and the values are pooled into the nearest
    curve that does not fall (isotonic least squares, weighted by the intervals). From the first k that lies further below a smaller
    one, the data contradict one f for all, and the values are NaN. Both look at all powers of two up to the largest k, so a value
    does not depend on which others were asked for beyond that.

    Interval: that of pass@k, mapped, and that of f; their distances to the ends add in squares (Zou & Donner 2008). Clipped to
    [0, 1]. It is that of the estimate before pooling, widened to hold the value.

    Args:
        counts: P problems.
        rate: f, per wrong sample (`false_positive_rate`); a float is taken as known.
        ks: draws; default powers of two up to the smallest n.
        level, seed, replicates: of the interval over problems.

    Returns:
        {k: Estimate}; NaN with the reason where n < k, where f alone solves more than 95% of what is unsolved, from where the
        correction falls, or where f is NaN.
    """
    f = _as_rate(rate)
    chosen = check_ks(ks if ks is not None else powers(int(counts.n.min())) or (1,))
    looked = tuple(sorted({*chosen, *powers(chosen[-1])}))
    plain = curve(counts, looked, level=level, seed=seed, replicates=replicates)
    out = _rising(_corrections(plain, f), f.value)
    return {k: out[k] for k in chosen}


def _corrections(plain: dict[int, Estimate], f: Estimate) -> dict[int, Estimate]:
    """Each k by itself."""
    out = {}
    for k, e in plain.items():
        told = "unknown" if math.isnan(f.value) else f"{f.value:.2g}"
        method = f"pass@k corrected for a false-positive rate of {told}; {e.method}"
        nan, reason = math.nan, e.reason or (f.reason if math.isnan(f.value) else "")
        room = 1.0 if reason else math.exp(k * _log_miss_of(f.value))
        if not reason and room < LEAST_ROOM:
            reason = (
                f"a false-positive rate of {f.value:.2g} alone gives pass@{k} of {1 - room:.3f}: errors alone would solve nearly "
                "all that is unsolved, so nothing is left to correct"
            )
        if reason:
            out[k] = Estimate(nan, nan, nan, e.n, method, reason)
            continue
        value = _corrected(e.value, f.value, k)
        down = math.hypot(value - _corrected(e.low, f.value, k), value - _corrected(e.value, f.high, k))
        up = math.hypot(_corrected(e.high, f.value, k) - value, _corrected(e.value, f.low, k) - value)
        low, high = (min(1.0, max(0.0, x)) for x in (value - down, value + up))
        out[k] = Estimate(value, low, high, e.n, method)
    return out


def _rising(found: dict[int, Estimate], f: float) -> dict[int, Estimate]:
    """The values in [0, 1] as a curve that does not fall; NaN from where it falls by more than MOST_FALL."""
    from scipy.optimize import isotonic_regression

    ks = [k for k, e in found.items() if not math.isnan(e.value)]
    out, top = dict(found), -math.inf
    for i, k in enumerate(ks):
        value = found[k].value
        if value < min(top, 1.0) - MOST_FALL:
            best = max(ks[:i], key=lambda j: found[j].value)
            reason = (
                f"the correction falls from {found[best].value:.3f} at k={best} to {value:.3f} at k={k}, which pass@k cannot: one "
                f"false-positive rate of {f:.2g} for every wrong sample does not fit these problems"
            )
            for other in ks[i:]:
                e = found[other]
                out[other] = Estimate(math.nan, math.nan, math.nan, e.n, e.method, reason)
            ks = ks[:i]
            break
        top = max(top, value)
    if ks:
        clipped = [min(1.0, max(0.0, found[k].value)) for k in ks]
        weights = [1 / max(found[k].high - found[k].low, 1e-9) ** 2 for k in ks]
        for k, x in zip(ks, isotonic_regression(clipped, weights=weights).x.tolist(), strict=True):
            e = found[k]
            out[k] = Estimate(x, min(e.low, x), max(e.high, x), e.n, e.method)
    return out


def _corrected(value: float, f: float, k: int) -> float:
    return 1 - (1 - value) * math.exp(-k * _log_miss_of(f)) if value < 1 else 1.0


def _log_miss_of(f: float) -> float:
    return math.log1p(-min(f, 1 - 1e-15))


def _as_rate(rate: Estimate | float) -> Estimate:
    found = rate if isinstance(rate, Estimate) else Estimate(float(rate), float(rate), float(rate), 0, "known")
    unknown = math.isnan(found.value) and found.reason  # undefined, and says why
    if not unknown and not all(0 <= x <= 1 for x in (found.value, found.low, found.high)):
        raise InputError(
            f"rate: {found.value} [{found.low}, {found.high}] is no chance; give one from 0 to 1, with its interval"
        )
    return found


def _same_length(columns: dict[str, Sequence[Any]]) -> None:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{n} {name}" for name, n in lengths.items())
        raise InputError(f"{next(iter(lengths))}: lengths differ ({told}); give one of each for every sample")


def estimate_json(e: Estimate) -> dict[str, Any]:
    """An Estimate for `json.dumps`; undefined is null with a reason."""
    ends = {name: x if math.isfinite(x) else None for name, x in (("value", e.value), ("low", e.low), ("high", e.high))}
    return ends | ({"reason": e.reason} if e.reason else {})
