"""The compute law: reward over compute as a sigmoid, R_C = R0 + (A - R0) / (1 + (C_mid / C)^B).

Source: "The Art of Scaling Reinforcement Learning Compute for LLMs" (ScaleRL, arXiv 2510.13786, eq. 1), 0 < A <= 1, B > 0,
C_mid > 0. A is the ceiling, B the efficiency, C_mid the compute at which half of the rise is made. The paper reads a
point estimate of A off a grid; before C_mid that point is nearly arbitrary (for C_mid = 10.9k and data to 8k its standard
deviation is .086, see docs/results/laws_coverage.json), so A here carries its profile likelihood and says when it is open.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offleash.boundary.laws import Holdout, Parameter, Series, difference_of, hold_out, pair
from offleash.boundary.resample import check_level
from offleash.boundary.sigmoid_fit import Fit, Profile, Rows, best, profiles, rise
from offleash.core import InputError

Floats = NDArray[np.float64]

MARGIN = 0.02  # the paper's: three runs of one recipe differ by up to .015 in A
LEAST_ROWS = 6


@dataclass(frozen=True, eq=False)
class ComputeLaw:
    """R_C = R0 + (A - R0) / (1 + (C_mid / C)^B), fitted.

    Attributes:
        A, B, C_mid: as in the paper; each says whether the data determine it.
        R0: reward at no compute: what was given, or fitted with the first row as its measurement.
        compute: (least, most) compute of the fitted rows.
        rows: number of fitted rows, the one that measures R0 included.
        residual: root mean square residual.
        autocorrelation: of the residuals from row to row.
        holdout: fitted on the first share of the rows.
        level: of the intervals.
        data: the rows, for `compare_compute_laws`.
    """

    A: Parameter
    B: Parameter
    C_mid: Parameter
    R0: float
    compute: tuple[float, float]
    rows: int
    residual: float
    autocorrelation: float
    holdout: Holdout
    level: float
    data: Rows

    @property
    def identifiable(self) -> bool:
        """Whether the data determine the ceiling A."""
        return self.A.identifiable

    @property
    def determined(self) -> bool:
        """Whether they determine the whole curve."""
        return self.A.identifiable and self.B.identifiable and self.C_mid.identifiable

    @property
    def D(self) -> float:
        """Of the tail, R ~ A - D / C^B: (A - R0) C_mid^B."""
        return float((self.A.value - self.R0) * self.C_mid.value**self.B.value)

    def predict(self, compute: Series) -> Floats:
        """The law's reward at so much compute, (N,)."""
        return sigmoid(compute, self.R0, self.A.value, self.B.value, self.C_mid.value)

    def compute_at(self, share: float) -> float:
        """The compute at which this share of the rise from R0 to A is made; at 0.9 it is C_mid * 9^(1/B)."""
        if not 0 < share < 1:
            raise InputError(f"share: {share} of the rise is never made or at once; give a number between 0 and 1")
        return float(self.C_mid.value * (share / (1 - share)) ** (1 / self.B.value))

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`; open ends are null."""
        rho = self.autocorrelation
        return {
            "law": "R = R0 + (A - R0) / (1 + (C_mid / C)^B)",
            **{name: getattr(self, name).to_json() for name in ("A", "B", "C_mid")},
            "R0": self.R0,
            "D": self.D if self.determined else None,
            "compute_at_90_percent": self.compute_at(0.9) if self.determined else None,
            "identifiable": self.identifiable,
            "compute": list(self.compute),
            "rows": self.rows,
            "residual": self.residual,
            "autocorrelation": rho if math.isfinite(rho) else None,
            "holdout": self.holdout.to_json(),
            "level": self.level,
        }


def sigmoid(compute: Series, R0: float, A: float, B: float, C_mid: float) -> Floats:
    """R0 + (A - R0) / (1 + (C_mid / C)^B) at compute C (N,); R0 at C = 0 (arXiv 2510.13786, eq. 1)."""
    with np.errstate(divide="ignore"):
        log_c = np.log(np.asarray(compute, dtype=np.float64))
    return np.asarray(R0 + (A - R0) * rise(log_c, math.log(B), math.log(C_mid)))


def compute_law(
    compute: Series,
    reward: Series,
    *,
    r0: float | None = None,
    start: float = 0.0,
    holdout: float = 0.5,
    level: float = 0.95,
) -> ComputeLaw:
    """Fit the sigmoid by bounded least squares from several starts; intervals from the profile of each parameter.

    Interval of A: every A at which the best fit's residual square is within the F quantile of the least one. The quantile is
    widened for residuals that are correlated from row to row, by as much as a linear model would need
    (`autocorrelation.spread`). The same for B and C_mid. At 95% all three hold the truth in 95% to 97.5% of simulated runs of 15
    to 75 rows, before C_mid and after, with correlations up to 0.5 (docs/results/laws_coverage.json).

    Identifiable: the profile is closed on both sides within the parameter's bounds. A that is open towards 1 is what data
    before C_mid give; an A whose whole interval is narrower than twice the paper's margin (.02) is accepted at its bound.

    R0: the paper fixes it to the first value and fits the rest. That value is noisy, and taken as known the interval of B holds
    the truth in 91% only; so without `r0` it is fitted along, with the first row as its measurement.

    Args:
        compute: (N,) compute spent before each evaluation, in any unit, increasing; the first may be 0.
        reward: (N,) pass rate or reward as a share of its maximum, in [0, 1].
        r0: reward at no compute, if known without error; all rows are then fitted.
        start: rows with less compute are left out (the paper: the first 1.5k GPU-hours); the first still measures R0.
        holdout: share of the fitted rows that is fitted to predict the rest.
        level: nominal coverage of the intervals.

    Raises:
        InputError: lengths that differ, too few rows, a NaN, a reward outside [0, 1], or compute that falls.
    """
    check_level(level)
    c, y = _checked(compute, reward, r0)
    first = None if r0 is not None else float(y[0])
    kept = c >= start
    if first is not None:
        kept[0] = False
    kept &= c > 0
    if int(kept.sum()) < LEAST_ROWS:
        raise InputError(
            f"start: {int(kept.sum())} rows are left from C = {start:g} on, and the law needs {LEAST_ROWS}; lower it or train longer"
        )
    c, y = c[kept], y[kept]
    rows = Rows(np.log(c), y, r0, first)
    fit = best(rows)
    parameters, rho = _parameters(rows, fit, level)
    return ComputeLaw(
        *parameters, fit.r0, (float(c[0]), float(c[-1])), len(c) + (first is not None),
        float(np.sqrt(fit.square / len(fit.residuals))), rho,
        hold_out(np.log(c), y, holdout, LEAST_ROWS, lambda x, z: _predictor(Rows(x, z, r0, first))), level, rows,
    )  # fmt: skip


def compare_compute_laws(first: ComputeLaw, second: ComputeLaw) -> dict[str, Parameter]:
    """Second minus first: A, and B where it may be compared.

    A: see `laws.difference_of`. B and C_mid trade against A, so B is compared as the paper does: only where A differs
    by at most .02, with A fixed to the mean of both. Its interval takes that A as known. Otherwise B is NaN with the reason.
    """
    at_a = difference_of(first.A, second.A)
    nan = math.nan
    if not at_a.identifiable:
        return {"A": at_a, "B": Parameter(nan, nan, nan, False, f"A is not determined in both: {at_a.reason}")}
    if abs(at_a.value) > MARGIN:
        reason = f"A differs by {at_a.value:+.3f}, more than {MARGIN}: B means the same only at the same A"
        return {"A": at_a, "B": Parameter(nan, nan, nan, False, reason)}
    pooled = (first.A.value + second.A.value) / 2
    sides = []
    for law in (first, second):
        fit = best(law.data, pooled)
        sides.append(_parameters(law.data, fit, law.level, pooled)[0][1])
    return {"A": at_a, "B": difference_of(*sides)}


# ----------------------------------------------------------------------------------------------------- details


def _checked(compute: Series, reward: Series, r0: float | None) -> tuple[Floats, Floats]:
    c, y = pair(compute, reward, ("compute", "reward"), LEAST_ROWS)
    if (c < 0).any() or (np.diff(c) < 0).any():
        at = int(np.argmax(c < 0)) if (c < 0).any() else int(np.argmax(np.diff(c) < 0)) + 1
        raise InputError(
            f"compute: {c[at]:g} at position {at}; give compute spent so far: not negative and never falling"
        )
    if ((y < 0) | (y > 1)).any():
        at = int(np.argmax((y < 0) | (y > 1)))
        raise InputError(
            f"reward: {y[at]:g} at position {at} is no share; rescale it to 0 to 1 (0 < A <= 1 in this law)"
        )
    if r0 is not None and not 0 <= r0 <= 1:
        raise InputError(f"r0: {r0} is no share; give the reward at no compute, from 0 to 1")
    return c, y


def _parameters(
    rows: Rows, fit: Fit, level: float, a: float | None = None
) -> tuple[tuple[Parameter, Parameter, Parameter], float]:
    """A, B and C_mid from their profiles, and the autocorrelation of the residuals."""
    (of_a, of_b, of_u), rho = profiles(rows, fit, level, a)
    least, most = math.exp(rows.log_c.min()), math.exp(rows.log_c.max())
    middle = math.exp(of_u.value)
    narrow = of_a.high - of_a.low <= 2 * MARGIN
    why = ""
    if of_a.open_low and of_a.open_high:
        why = "any A fits: no rise shows beyond the noise yet"
    elif of_a.open_high and not narrow:
        place = "before" if most < middle else "too soon after"
        why = (
            f"every A from {of_a.low:.3g} to 1 fits: the data end at C = {most:.4g}, {place} the midpoint of the rise "
            f"(fitted C_mid {middle:.4g}); train on until the curve has clearly bent"
        )
    elif of_a.open_low:
        why = f"every A from 0 to {of_a.high:.3g} fits: no rise shows beyond the noise"
    top = Parameter(of_a.value, 0.0 if of_a.open_low else of_a.low, of_a.high, not why, why)
    return (
        top,
        _from_log(of_b, "B"),
        _from_log(of_u, "C_mid", f" (the data are from C = {least:.4g} to {most:.4g})"),
    ), rho


def _from_log(profile: Profile, name: str, where: str = "") -> Parameter:
    low = 0.0 if profile.open_low else math.exp(profile.low)
    high = math.inf if profile.open_high else math.exp(profile.high)
    why = ""
    if profile.open_low and profile.open_high:
        why = f"any {name} fits{where}"
    elif profile.open_low or profile.open_high:
        why = f"any {name} {f'up to {high:.4g}' if profile.open_low else f'from {low:.4g} on'} fits{where}"
    return Parameter(math.exp(profile.value), low, high, not why, why)


def _predictor(rows: Rows) -> Callable[[Floats], Floats]:
    fit = best(rows)
    return lambda log_c: np.asarray(fit.r0 + (fit.a - fit.r0) * rise(log_c, fit.b, fit.u))
