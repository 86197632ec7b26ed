"""Least squares and profiles of the compute law's sigmoid, R0 + (A - R0) / (1 + (C_mid / C)^B); see `compute_law`.

Given B and C_mid the model is linear in A and R0, so these are solved in closed form within their bounds (variable projection,
Golub & Pereyra 1973) and only log B and log C_mid are searched: on a grid, then from its best points by bounded least squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.boundary.autocorrelation import spread

Floats = NDArray[np.float64]

B_BOUNDS = (math.log(0.05), math.log(20.0))  # of log B
C_REACH = (math.log(1e-3), math.log(1e4))  # log C_mid: from the least compute times 1e-3 to the most times 1e4
A_BOUNDS = (1e-6, 1.0)
_STARTS = 2
_B_GRID, _C_GRID = 23, 48
_COARSE = 256  # the grid looks at so many rows at most, each the mean of its neighbours


@dataclass(frozen=True, eq=False)
class Rows:
    """What is fitted: log compute (N,), reward (N,), and R0 as known (`r0`) or as measured once (`first`)."""

    log_c: Floats
    y: Floats
    r0: float | None
    first: float | None

    @property
    def alone(self) -> int:
        """Rows before the chain of evaluations: the measurement of R0."""
        return int(self.first is not None)

    @property
    def c_bounds(self) -> tuple[float, float]:
        """Of log C_mid."""
        return float(self.log_c.min()) + C_REACH[0], float(self.log_c.max()) + C_REACH[1]

    def coarse(self) -> Rows:
        """Means of neighbouring rows, at most _COARSE."""
        if len(self.y) <= _COARSE:
            return self
        edges = np.linspace(0, len(self.y), _COARSE + 1).astype(int)
        log_c, y = (np.add.reduceat(row, edges[:-1]) / np.diff(edges) for row in (self.log_c, self.y))
        return Rows(log_c, y, self.r0, self.first)


@dataclass(frozen=True, eq=False)
class Fit:
    """A point of the parameter space: log B, log C_mid, A, R0, the residuals (N,) and their square sum."""

    b: float
    u: float
    a: float
    r0: float
    residuals: Floats
    square: float


def rise(log_c: Floats, b: float | Floats, u: float | Floats) -> Floats:
    """1 / (1 + (C_mid / C)^B) from logarithms; broadcasts."""
    from scipy.special import expit

    return np.asarray(expit(np.exp(b) * (log_c - u)))


def _linear(rows: Rows, s: Floats, a: float | None) -> tuple[Floats, Floats]:
    """The best (A, R0) for shapes s (..., N), A within its bounds or fixed: the model is linear in both."""
    t = 1 - s
    ss = np.maximum((s * s).sum(axis=-1), 1e-300)
    sy, st = (s * rows.y).sum(axis=-1), (s * t).sum(axis=-1)
    if rows.r0 is not None:
        free = (sy - rows.r0 * st) / ss
        return np.asarray(np.clip(free if a is None else np.full(ss.shape, a), *A_BOUNDS)), np.full(ss.shape, rows.r0)
    tt = (t * t).sum(axis=-1) + 1
    ty = (t * rows.y).sum(axis=-1) + (rows.first or 0.0)
    free = (tt * sy - st * ty) / np.maximum(ss * tt - st * st, 1e-300)
    top = np.asarray(np.clip(free if a is None else np.full(ss.shape, a), *A_BOUNDS))
    return top, np.asarray((ty - top * st) / tt)


def _point(rows: Rows, b: float, u: float, a: float | None) -> Fit:
    s = rise(rows.log_c, b, u)
    top, r0 = (float(x) for x in _linear(rows, s, a))
    residuals = rows.y - r0 - (top - r0) * s
    if rows.first is not None:
        residuals = np.concatenate([[rows.first - r0], residuals])
    return Fit(b, u, top, r0, residuals, float(residuals @ residuals))


def best(rows: Rows, a: float | None = None, *, b: float | None = None, u: float | None = None) -> Fit:
    """The least square over everything that is not fixed: the best points of a grid, each improved within the bounds."""
    from scipy.optimize import least_squares

    axes = [np.linspace(*B_BOUNDS, _B_GRID) if b is None else np.array([b]),
            np.linspace(*rows.c_bounds, _C_GRID) if u is None else np.array([u])]  # fmt: skip
    coarse = rows.coarse()
    s = rise(coarse.log_c, axes[0][:, None, None], axes[1][None, :, None])
    top, r0 = _linear(coarse, s, a)
    square = ((coarse.y - r0[..., None] - (top - r0)[..., None] * s) ** 2).sum(axis=-1)
    if rows.first is not None:
        square += (rows.first - r0) ** 2
    free = [k for k, fixed in enumerate((b, u)) if fixed is None]
    low, high = np.array([(B_BOUNDS, rows.c_bounds)[k] for k in free]).T
    found: list[Fit] = []
    for cell in _minima(square)[:_STARTS]:

        def at(values: Floats, cell: tuple[int, ...] = cell) -> Fit:
            place = [float(axis[i]) for axis, i in zip(axes, cell, strict=True)]
            for k, value in zip(free, values, strict=True):
                place[k] = float(value)
            return _point(rows, place[0], place[1], a)

        start = np.clip([float(axes[k][cell[k]]) for k in free], low + 1e-9, high - 1e-9)
        done = least_squares(
            lambda values, at=at: at(values).residuals,
            start,
            bounds=(low, high),
            xtol=1e-8,
            ftol=1e-10,
            gtol=1e-12,
            max_nfev=100,
        )
        found.append(at(done.x))
    return min(found, key=lambda fit: fit.square)


def _minima(square: Floats) -> list[tuple[int, int]]:
    """Local minima of a table, the lowest first."""
    padded = np.pad(square, 1, constant_values=np.inf)
    neighbours = [
        padded[1 + i : padded.shape[0] - 1 + i, 1 + j : padded.shape[1] - 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)
    ]
    low = np.argwhere(square <= np.min(neighbours, axis=0))
    return sorted(((int(i), int(j)) for i, j in low), key=lambda at: float(square[at]))


# ------------------------------------------------------------------------------------------------------ profiles


@dataclass(frozen=True)
class Profile:
    """The values of one parameter at which the best fit is within the threshold.

    Attributes:
        value: at the least square.
        low, high: ends of the interval; the bound itself where it is open.
        open_low, open_high: the bound is within the threshold.
    """

    value: float
    low: float
    high: float
    open_low: bool
    open_high: bool


def profiles(rows: Rows, fit: Fit, level: float, a: float | None = None) -> tuple[list[Profile], float]:
    """Profiles of A, log B and log C_mid, and the lag-one correlation of the residuals.

    The threshold is S(p) <= S_min (1 + q^2 / degrees). For white residuals q is the Student quantile (q^2 that of F); for
    correlated ones q is larger by what the linearised model asks (`autocorrelation.spread`).

    Args:
        rows: the data.
        fit: the least square.
        level: of the intervals.
        a: A where it is fixed; its profile is then that point.
    """
    names = ("a", "b", "u")
    bounds = (A_BOUNDS, B_BOUNDS, rows.c_bounds)
    start = rows.first if rows.r0 is None else rows.r0
    if fit.square <= len(fit.residuals) * 1e-18:
        # exact data leave no noise to allow for; where they are flat, they leave everything open
        flat = float(np.abs(rows.y - (start or 0.0)).max()) < 1e-9
        ends = bounds if flat else [(float(getattr(fit, n)), float(getattr(fit, n))) for n in names]
        exact = [Profile(float(getattr(fit, n)), *end, flat, flat) for n, end in zip(names, ends, strict=True)]
        return exact, math.nan
    quantiles, degrees, rho = _quantiles(rows, fit, level, a is not None)
    out = []
    for name, bound, q in zip(names, bounds, quantiles, strict=True):
        value = float(getattr(fit, name))
        if name == "a" and a is not None:
            out.append(Profile(a, a, a, False, False))
            continue
        limit = q / math.sqrt(degrees)

        def excess(x: float, name: str = name, limit: float = limit) -> float:
            # the root of the rise is nearly linear in x, so its zero is found in a few steps
            return math.sqrt(max(best(rows, **{"a": a, name: x}).square / fit.square - 1, 0.0)) - limit

        (low, open_low), (high, open_high) = (_end(excess, value, end) for end in bound)
        out.append(Profile(value, low, high, open_low, open_high))
    return out, rho


def _end(excess: Callable[[float], float], value: float, bound: float) -> tuple[float, bool]:
    from scipy.optimize import brentq

    if abs(bound - value) < 1e-9 or excess(bound) <= 0:
        return bound, True
    return float(brentq(excess, value, bound, xtol=1e-4, rtol=1e-6)), False


def _quantiles(rows: Rows, fit: Fit, level: float, fixed_a: bool) -> tuple[Sequence[float], int, float]:
    """For A, log B, log C_mid: how many plain standard errors the interval of the linearised model is wide to each side."""
    from scipy.special import stdtrit

    s = rise(rows.log_c, fit.b, fit.u)
    steep = (fit.a - fit.r0) * s * (1 - s) * math.exp(fit.b)
    columns = [s, steep * (rows.log_c - fit.u), -steep][int(fixed_a) :]
    design = np.stack(columns, axis=1)
    if rows.first is not None:
        design = np.block([[np.zeros((1, len(columns))), np.ones((1, 1))], [design, (1 - s)[:, None]]])
    contrasts = np.eye(design.shape[1])[: len(columns)]
    errors = spread(design, fit.residuals, contrasts, alone=rows.alone)
    plain = float(stdtrit(errors.degrees, (1 + level) / 2))
    white = errors.plain * math.sqrt(fit.square / errors.degrees)
    wide = [errors.half_width(k, level) / white[k] if white[k] > 0 else plain for k in range(len(contrasts))]
    return ([plain] if fixed_a else []) + wide, errors.degrees, errors.rho
