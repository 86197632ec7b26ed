"""Gradient flow of the expected reward in closed form, for one softmax over V answers.

With u_v = exp(-z_v) and Z = sum_v 1/u_v, dz_v/dt = pi_v (r_v - J) becomes du_v/ds = J - r_v in the time ds = dt / Z: every
u moves at the same rate but for its own reward. So u_v(s) - u_w(s) is linear in s, sum_v z_v is conserved, and one equation in
one unknown is left. Two things follow, and are tested:

- an answer of reward r_2 > r_1 overtakes another at s = (u_2 - u_1)(0) / (r_2 - r_1), however rare it was: with graded
  rewards the second stage always comes, late as 1 / pi_2(0);
- between answers of equal reward u_2 - u_1 never changes, while the winner's u falls to 0: the rarer right answer's share of
  the right mass goes to 0 (like 1 / sqrt(t)): with 0/1 rewards there is no second stage.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq


def flow(start_V: np.ndarray, rewards_V: np.ndarray, s: float) -> np.ndarray:
    """Probabilities (V) at rescaled time s >= 0, from probabilities at the start."""
    return _shares(_u(start_V, rewards_V, s))


def time(start_V: np.ndarray, rewards_V: np.ndarray, s: float, points: int = 4001) -> float:
    """Time t = integral of Z ds from 0 to s, in units of learning rate x steps.

    Logits at the start are the logarithms of `start_V`. Simpson's rule on a grid that is dense at both ends.
    """
    from scipy.integrate import simpson

    grid = s * 0.5 * (1 - np.cos(np.linspace(0.0, np.pi, points)))
    z = np.array([(1 / _u(start_V, rewards_V, x)).sum() for x in grid])
    return float(simpson(z, x=grid))


def overtaking(start_V: np.ndarray, rewards_V: np.ndarray, better: int, good: int) -> float:
    """Rescaled time at which answer `better` overtakes answer `good`; infinite if it never does."""
    gap = 1 / start_V[better] - 1 / start_V[good]
    if gap <= 0:
        return 0.0
    faster = float(rewards_V[better] - rewards_V[good])
    return float(gap / faster) if faster > 0 else float("inf")


def _u(start_V: np.ndarray, rewards_V: np.ndarray, s: float) -> np.ndarray:
    u0 = 1 / np.asarray(start_V, dtype=np.float64)
    lead = u0 - np.asarray(rewards_V) * s
    # u = lead + m with the product conserved: the sum of logarithms grows with m, from -inf on.
    target = np.log(u0).sum()
    low = -lead.min()
    high = low + 1.0
    while np.log(lead + high).sum() < target:
        high = low + 2 * (high - low)
    # The unknown is the smallest u itself, on a logarithmic scale: it may be far smaller than the others.
    gaps = lead - lead.min()
    x = brentq(
        lambda x: np.log(gaps + np.exp(x)).sum() - target, -700.0, np.log(high - low) + 1e-9, xtol=1e-13, rtol=1e-13
    )
    u: np.ndarray = gaps + np.exp(x)
    return u


def _shares(u_V: np.ndarray) -> np.ndarray:
    p: np.ndarray = (1 / u_V) / (1 / u_V).sum()
    return p
