"""The entropy law: reward is bought with entropy, R = -a exp(H) + b, and the ceiling at H = 0 is b - a.

Source: "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models" (arXiv 2505.22617).
It is an empirical regularity of runs without entropy bonus or KL penalty, on one model and one set of prompts; nothing
makes another run obey it, so each fit states its residual autocorrelation (near 1: the curve misses the data
systematically) and how well its first part predicts the rest. The law of compute is in `compute_law`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offleash.boundary.autocorrelation import spread
from offleash.boundary.resample import check_level
from offleash.core import InputError

Floats = NDArray[np.float64]
Series = Sequence[float] | Sequence[int] | Floats | NDArray[np.int64]

LEAST_STEPS = 4
TAIL = 0.1  # the naive prediction is the mean of this last share of the fitted steps


@dataclass(frozen=True)
class Parameter:
    """A fitted number.

    Attributes:
        value: the least-squares estimate.
        low, high: its interval; an end that the data leave open is 0 or infinite, or the parameter's own bound.
        identifiable: whether the data determine it; see the law for the rule.
        reason: why not, else "".
    """

    value: float
    low: float
    high: float
    identifiable: bool
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`: open ends are null."""
        ends = {name: _finite(x) for name, x in (("value", self.value), ("low", self.low), ("high", self.high))}
        return ends | {"identifiable": self.identifiable} | ({"reason": self.reason} if self.reason else {})


@dataclass(frozen=True)
class Holdout:
    """How well the law that was fitted to the first steps predicts the later ones.

    Attributes:
        share: of the steps that was fitted.
        fitted, predicted: how many steps that is, and how many are left.
        rmse: root mean square of prediction minus observation over the later steps; holds their noise, too.
        final_error: prediction minus observation at the last step.
        naive_rmse: of predicting the mean of the last tenth of the fitted steps: what the law must beat to be of use.
        reason: why it is NaN, else "".
    """

    share: float
    fitted: int
    predicted: int
    rmse: float
    final_error: float
    naive_rmse: float
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        out = {name: _finite(x) if isinstance(x, float) else x for name, x in vars(self).items() if name != "reason"}
        return out | ({"reason": self.reason} if self.reason else {})


@dataclass(frozen=True, eq=False)
class EntropyLaw:
    """R = -a exp(H) + b, fitted.

    Attributes:
        a: reward paid for a unit of exp(H).
        b: reward at exp(H) = 0, which no policy has; it is the intercept.
        ceiling: b - a, the reward at H = 0.
        entropy: (lowest, highest) H of the data, nats.
        reward: (lowest, highest) reward of the data.
        steps: number of (H, R) pairs.
        residual: root mean square residual.
        autocorrelation: of the residuals from step to step.
        attenuation: share by which step-to-step noise in exp(H) makes `a` too small, at most (see `entropy_law`).
        holdout: fitted on the first share of the steps.
        level: of the intervals.
    """

    a: Parameter
    b: Parameter
    ceiling: Parameter
    entropy: tuple[float, float]
    reward: tuple[float, float]
    steps: int
    residual: float
    autocorrelation: float
    attenuation: float
    holdout: Holdout
    level: float

    def predict(self, entropy: Series) -> Floats:
        """The law's reward at these entropies (N,), in nats."""
        return np.asarray(self.b.value - self.a.value * np.exp(np.asarray(entropy, dtype=np.float64)))

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        plain = ("steps", "residual", "autocorrelation", "attenuation", "level")
        return {
            "law": "R = -a exp(H) + b",
            **{name: getattr(self, name).to_json() for name in ("a", "b", "ceiling")},
            "entropy": list(self.entropy),
            "reward": list(self.reward),
            **{name: _finite(getattr(self, name)) for name in plain},
            "holdout": self.holdout.to_json(),
        }


def entropy_law(entropy: Series, reward: Series, *, holdout: float = 0.5, level: float = 0.95) -> EntropyLaw:
    """Fit R = -a exp(H) + b by least squares (arXiv 2505.22617).

    The intervals allow for residuals that are correlated from step to step (`autocorrelation.spread`). At 95% they hold the truth
    in 94% to 97% of simulated runs of 30 steps and more, for correlations up to 0.8; with 20 steps in 91% to 98%, with 10 in 88%
    to 99% (docs/results/laws_coverage.json). They are about this run: not other seeds, and not if the law bends.

    Identifiable: `a` and `b` if the interval of `a` excludes 0; the ceiling if besides a > 0 and its interval is narrower than
    the rise of the fitted reward over the data, that is, if less is unknown about what is left than has been seen.

    The hold-out predicts later rewards from the entropies of those later steps; it does not foretell when entropy is gone.

    `attenuation`: the noise of exp(H), from its second differences, over its variance. Noise in the abscissa makes a slope too
    small by this share; the estimate is an upper bound, since the second differences hold the curvature of H as well. Where H and
    R come from the same rollouts their noise is also correlated (an easy batch has both less entropy and more reward), which
    can move the slope either way; rewards on fixed validation prompts are free of that.

    Args:
        entropy: (N,) mean token entropy of each step in nats, in the order of the steps.
        reward: (N,) reward, accuracy or validation accuracy of the same steps.
        holdout: share of the steps that is fitted to predict the rest (the paper: 0.15, 36 of 200 and more steps).
        level: nominal coverage of the intervals.

    Raises:
        InputError: lengths that differ, fewer than 4 steps, a NaN, a negative entropy, or one entropy in all steps.
    """
    check_level(level)
    h, y = pair(entropy, reward, ("entropy", "reward"), LEAST_STEPS)
    if (h < 0).any():
        at = int(np.argmax(h < 0))
        raise InputError(f"entropy: {h[at]:g} at position {at}; entropies are >= 0 nats (give H, not log-probs)")
    x = np.exp(h)
    if np.ptp(x) <= 1e-12 * x.max():
        raise InputError(f"entropy: {h[0]:g} in every step; the law needs entropies that differ")
    design = np.stack([np.ones(len(x)), x], axis=1)
    (b, slope), *_ = np.linalg.lstsq(design, y, rcond=None)
    residuals = y - design @ np.array([b, slope])
    errors = spread(design, residuals, np.array([[0.0, -1.0], [1.0, 0.0], [1.0, 1.0]]))
    exact = bool(np.abs(residuals).max() <= 1e-12 * max(1.0, float(np.abs(y).max())))
    half = [0.0 if exact else errors.half_width(k, level) for k in range(3)]
    a, b, ceiling = _identify(float(-slope), float(b), half, x)
    return EntropyLaw(
        a, b, ceiling, (float(h.min()), float(h.max())), (float(y.min()), float(y.max())), len(x),
        float(np.sqrt(np.mean(residuals**2))), math.nan if exact else errors.rho, _attenuation(x),
        hold_out(h, y, holdout, LEAST_STEPS, _fitted_entropy), level,
    )  # fmt: skip


def _identify(a: float, b: float, half: Sequence[float], x: Floats) -> tuple[Parameter, Parameter, Parameter]:
    """a, b and the ceiling with their intervals, and whether the range of exp(H) suffices."""
    seen = f"exp(H) spans only {x.min():.3f} to {x.max():.3f}"
    reason = "" if abs(a) > half[0] else f"the interval of a holds 0: {seen}, too little for this noise"
    rise, width = abs(a) * float(np.ptp(x)), 2 * half[2]
    why = reason
    if not why and a < 0:
        why = "a is below 0: here reward rises with entropy, so b - a is no ceiling"
    if not why and width > rise:
        why = (
            f"its interval is {width:.2g} wide and the fitted rise so far only {rise:.2g}: {seen}, and the ceiling lies at 1; "
            "train until more entropy is gone"
        )
    return (
        Parameter(a, a - half[0], a + half[0], not reason, reason),
        Parameter(b, b - half[1], b + half[1], not reason, reason),
        Parameter(b - a, b - a - half[2], b - a + half[2], not why, why),
    )


def _attenuation(x: Floats) -> float:
    """Noise variance of x from its second differences (6 variances each) over the variance of x; at most 1."""
    return min(1.0, float(np.mean(np.diff(x, 2) ** 2) / 6 / x.var()))


def _fitted_entropy(h: Floats, y: Floats) -> Callable[[Floats], Floats]:
    slope, b = np.polyfit(np.exp(h), y, 1) if np.ptp(h) > 0 else (0.0, float(y.mean()))
    return lambda new: np.asarray(b + slope * np.exp(new))


def hold_out(
    x: Floats, y: Floats, share: float, least: int, fit: Callable[[Floats, Floats], Callable[[Floats], Floats]]
) -> Holdout:
    """Fit on the first share of the rows, predict the rest.

    Args:
        x, y: (N,) in the order of the steps.
        share: between 0 and 1.
        least: rows that a fit needs.
        fit: (x, y) -> a function that predicts y at x.

    Raises:
        InputError: the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise InputError(f"holdout: {share} is no share to fit on; give a number between 0 and 1, such as 0.5")
    fitted = math.floor(share * len(x) + 1e-9)
    nan = math.nan
    if fitted < least:
        reason = f"{share:g} of {len(x)} steps are {fitted}, and a fit needs {least}"
        return Holdout(share, fitted, len(x) - fitted, nan, nan, nan, reason)
    error = fit(x[:fitted], y[:fitted])(x[fitted:]) - y[fitted:]
    naive = float(y[fitted - max(1, round(TAIL * fitted)) : fitted].mean())
    return Holdout(
        share, fitted, len(x) - fitted, float(np.sqrt(np.mean(error**2))), float(error[-1]),
        float(np.sqrt(np.mean((naive - y[fitted:]) ** 2))),
    )  # fmt: skip


def compare_entropy_laws(first: EntropyLaw, second: EntropyLaw) -> dict[str, Parameter]:
    """Second minus first for a, b and the ceiling, of two independent runs: see `difference_of`."""
    return {name: difference_of(getattr(first, name), getattr(second, name)) for name in ("a", "b", "ceiling")}


def difference_of(first: Parameter, second: Parameter) -> Parameter:
    """Second minus first for independent fits, with the interval of Zou & Donner (2008): distances to the ends add in squares.

    It keeps skewed intervals skewed; an open end stays open. Identifiable where both are.
    """
    value = second.value - first.value
    low = value - math.hypot(second.value - second.low, first.high - first.value)
    high = value + math.hypot(second.high - second.value, first.value - first.low)
    parts = (("the first", first), ("the second", second))
    reason = "; ".join(f"{name}: {p.reason}" for name, p in parts if p.reason)
    return Parameter(value, low, high, first.identifiable and second.identifiable, reason)


def pair(x: Series, y: Series, names: tuple[str, str], least: int) -> tuple[Floats, Floats]:
    """Both as float64 (N,); InputError that names the field unless they are as long as each other, finite and `least` or more."""
    out = []
    for values, name in ((x, names[0]), (y, names[1])):
        row = np.asarray(values, dtype=np.float64)
        if row.ndim != 1:
            raise InputError(f"{name}: an array of shape {row.shape}; give one number for each step")
        if not np.isfinite(row).all():
            at = int(np.argmin(np.isfinite(row)))
            raise InputError(f"{name}: {row[at]} at position {at}; leave out the steps where it is undefined, in both")
        out.append(row)
    if len(out[0]) != len(out[1]):
        raise InputError(f"{names[1]}: {len(out[1])} values for {len(out[0])} of {names[0]}; give both for every step")
    if len(out[0]) < least:
        raise InputError(f"{names[1]}: {len(out[1])} steps, and the law needs at least {least}; train longer")
    return out[0], out[1]


def comparison_json(difference: Mapping[str, Parameter]) -> dict[str, Any]:
    """For `json.dumps`."""
    return {name: parameter.to_json() for name, parameter in difference.items()}


def _finite(x: int | float) -> int | float | None:
    return x if math.isfinite(x) else None
