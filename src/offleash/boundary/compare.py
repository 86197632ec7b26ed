"""Compare two models' counts: curves, difference, crossing, support, and one verdict with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from offleash.boundary import resample
from offleash.boundary.counts import Counts, join
from offleash.boundary.difference import Crossing, Difference, crossing, from_replicates, grid, refuse_beyond, shared_n
from offleash.boundary.null import null_ndr
from offleash.boundary.passk import check_ks, estimates, pass_matrix, powers
from offleash.boundary.support import CLASSES, METRICS, Support, support
from offleash.core import Estimate, InputError

Verdict = Literal["expanded", "shrunk", "both", "no_change", "undecided"]
MARGIN = 0.02  # a difference within +-MARGIN counts as no change
AT_ONE = "At k=1 this is accuracy, not the capability boundary: judge at a larger k to see what can be solved at all."


@dataclass(frozen=True, eq=False)
class Comparison:
    """What changed from a to b on the problems both have.

    Attributes:
        pass_a, pass_b: {k: Estimate} with pointwise intervals.
        difference: b minus a over a dense grid of k, with pointwise and simultaneous intervals.
        ks: the k reported in JSON: powers of two, and `k`.
        crossing: where the curves cross, None where the band does not certify one.
        support: classes, ratios, per-problem evidence.
        null_ndr: NDR of a against a second run of a at the least budget.
        verdict, because: the judgement at `k` and the sentence that states its numbers.
        k: where it was judged.
        problems: number of problems compared.
        only_a, only_b: ids that one side lacked; they were left out.
    """

    pass_a: Mapping[int, Estimate]
    pass_b: Mapping[int, Estimate]
    difference: Difference
    ks: tuple[int, ...]
    crossing: Crossing | None
    support: Support
    null_ndr: Estimate
    verdict: Verdict
    because: str
    k: int
    problems: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A document for `json.dumps`: the keys of `compare --json`; undefined numbers are null beside a `reason`."""
        ends = {k: self.difference.at(k) for k in self.ks}
        cross = self.crossing
        return {
            "pass_at_k": {"a": _curve_json(self.pass_a), "b": _curve_json(self.pass_b)},
            "difference": {str(k): dict(zip(("value", "low", "high"), ends[k], strict=True)) for k in self.ks},
            "crossing": None if cross is None else {"k": cross.k, "low": cross.low, "high": cross.high},
            "support": self._support_json(),
            "problems": [
                {
                    "id": p.id,
                    "a": {"c": p.c_a, "n": p.n_a},
                    "b": {"c": p.c_b, "n": p.n_b},
                    "class": p.name,
                    **_defined("confidence", p.confidence, p.reason),
                }
                for p in self.support.problems
            ],
            "verdict": self.verdict,
            "because": self.because,
        }

    def _support_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {name: _whole(self.support.counts[name]) for name in CLASSES}
        numbers = {name: self.support.metrics[name] for name in METRICS} | {"null_ndr": self.null_ndr}
        out |= {name: _null(e.value) for name, e in numbers.items()}
        reasons = [f"{name}: {e.reason}" for name, e in numbers.items() if e.reason]
        return out | ({"reason": "; ".join(reasons)} if reasons else {})


def compare(
    a: Counts,
    b: Counts,
    *,
    k: int | None = None,
    level: float = 0.95,
    seed: int = 0,
    margin: float = MARGIN,
    replicates: int = resample.REPLICATES,
) -> Comparison:
    """Did b's capability boundary move against a's, on the problems both have?

    The verdict reads the simultaneous band of the paired difference at k (default: half the smallest n, where pass@k is
    still an average and not one draw). Wholly below 0: shrunk; wholly above: expanded; wholly within +-margin: no_change;
    else undecided. "both" where some problems are surely gained and some surely lost (class and false discovery rate, see
    `support`), or the band has one sign and some problems surely the other. It speaks of these two checkpoints, not of a training method; at k=1 it is about accuracy,
    not about the boundary, and `because` says so.

    Args:
        a: counts of the reference, e.g. the base.
        b: counts of the other, e.g. the trained model.
        k: where to judge; at most the smallest n of the shared problems.
        level: confidence of every interval and band.
        seed: of the bootstrap; the same inputs and seed give the same numbers.
        margin: half-width of "no change".
        replicates: of the bootstrap.

    Raises:
        InputError: no shared problem, a problem without samples, or k beyond some problem's n.
    """
    resample.check_level(level)
    if not 0 <= margin < 1:
        raise InputError(f"margin: {margin} is no difference of two shares; give a number from 0 to below 1")
    pair = join(a, b)
    a, b = pair.a, pair.b
    n = shared_n(a, b)
    judged = max(1, n // 2) if k is None else check_ks([k])[0]
    refuse_beyond(a, b, judged)
    ks = tuple(sorted({*powers(n), judged}))
    dense = tuple(sorted({*grid(n), judged}))
    matrix_a, matrix_b = pass_matrix(a, dense), pass_matrix(b, dense)
    drawn = resample.draw(np.hstack([matrix_a, matrix_b, matrix_b - matrix_a]), seed=seed, replicates=replicates)
    size = len(dense)
    at = [dense.index(x) for x in ks]
    curves = []
    for side, matrix, part in ((a, matrix_a, slice(0, size)), (b, matrix_b, slice(size, 2 * size))):
        low, high = resample.ends(drawn.columns(part), (0.0, 1.0), (1 - level) / 2, resample.UNIT)
        curves.append(estimates(side, ks, matrix[:, at], low[at], high[at], level))
    diff = from_replicates(dense, matrix_b - matrix_a, drawn.columns(slice(2 * size, 3 * size)), level)
    classes = support(a, b, level=level, seed=seed, replicates=replicates)
    null = null_ndr(a, classes.budget[0], method="mixture", level=level, seed=seed)
    verdict = judge(diff, judged, classes, margin)
    because = _because(verdict, diff, judged, classes, margin, (a, b), (pair.only_a, pair.only_b))
    return Comparison(
        curves[0], curves[1], diff, ks, crossing(diff), classes, null, verdict, because, judged, len(a),
        pair.only_a, pair.only_b,
    )  # fmt: skip


def judge(diff: Difference, k: int, classes: Support, margin: float = MARGIN) -> Verdict:
    """The verdict from the simultaneous band at k and the problems that are surely gained or lost.

    Proven gains and proven losses together are "both", also where they cancel in the mean.
    """
    _, low, high = diff.at(k)
    gained, lost = classes.significant("expanded", diff.level), classes.significant("shrunk", diff.level)
    if (gained and lost) or (low > 0 and lost) or (high < 0 and gained):
        return "both"
    if low > 0:
        return "expanded"
    if high < 0:
        return "shrunk"
    return "no_change" if low >= -margin and high <= margin else "undecided"


def _because(
    verdict: Verdict,
    diff: Difference,
    k: int,
    classes: Support,
    margin: float,
    sides: tuple[Counts, Counts],
    dropped: tuple[tuple[str, ...], tuple[str, ...]],
) -> str:
    value, low, high = diff.at(k)
    samples = sorted({int(x) for side in sides for x in (side.n.min(), side.n.max())})
    n_text = f"{samples[0]}" if len(samples) == 1 else f"{samples[0]} to {samples[-1]}"
    digits = _digits(high - low)
    band = f"[{low:+.{digits}f}, {high:+.{digits}f}]"
    if low > 0 or high < 0:
        place = f"wholly {'above' if low > 0 else 'below'} 0"
    elif low >= -margin and high <= margin:
        place = f"wholly within +-{margin:g}"
    else:
        place = f"which contains 0 and reaches beyond +-{margin:g}"
    text = (
        f"Over {_number(diff.problems)} with n={n_text} samples each, pass@{k} of b minus a is {value:+.{digits}f}, "
        f"{diff.level:.0%} simultaneous band {band}, {place}; "
        f"b alone solved {_number(classes.counts['expanded'])} and a alone {_number(classes.counts['shrunk'])}"
    )
    if len(samples) > 1:
        text += " in as many samples of both (expected numbers)"
    text += f" (sign test p={classes.sign_p:.2g})." if not math.isnan(classes.sign_p) else "."
    gained, lost = (len(classes.significant(name, diff.level)) for name in ("expanded", "shrunk"))
    if gained or lost:
        text += f" Beyond chance (false discovery rate {1 - diff.level:.0%}): {gained} gained, {lost} lost."
    if verdict == "undecided":
        text += f" {_needed(diff.problems, value, (high - low) / 2, margin)}"
    if k == 1:
        text += f" {AT_ONE}"
    for label, ids in zip("ab", dropped, strict=True):
        if ids:
            text += f" Left out: {len(ids)} problem{'s' * (len(ids) != 1)} that only {label} has."
    return text


def _needed(problems: int, value: float, half: float, margin: float) -> str:
    """How many problems would decide it if the estimate stayed: the half-width falls at least as fast as 1 / sqrt(P)."""
    target = max(abs(value), margin - abs(value))
    if target <= 0 or problems < 10:
        return "More problems would narrow the band."
    needed = problems * (half / target) ** 2
    rounded = int(float(f"{max(needed, problems + 1):.1e}"))
    return f"More problems would narrow the band: if the estimate stayed, about {rounded} or fewer would decide."


def _digits(width: float) -> int:
    """Decimals that the width of an interval supports: two significant digits of the width."""
    return 3 if not width > 0 else min(6, max(1, 1 - math.floor(math.log10(width))))


def _number(x: float | int) -> str:
    """So many problems, in whole numbers."""
    return f"{round(x)} problem{'s' * (round(x) != 1)}"


def _whole(x: float) -> float | int:
    return int(x) if float(x).is_integer() else float(x)


def _null(x: float) -> float | None:
    return None if math.isnan(x) else float(x)


def _defined(name: str, value: float, reason: str) -> dict[str, Any]:
    return {name: _null(value)} | ({"reason": reason} if math.isnan(value) else {})


def _curve_json(curve: Mapping[int, Estimate]) -> dict[str, Any]:
    out = {}
    for k, e in curve.items():
        out[str(k)] = {"value": _null(e.value), "low": _null(e.low), "high": _null(e.high)}
        if e.reason:
            out[str(k)]["reason"] = e.reason  # type: ignore[assignment]
    return out
