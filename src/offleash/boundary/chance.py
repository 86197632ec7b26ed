"""pass@k of blind guessing: what a model that knows nothing would score."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from offleash.boundary import resample
from offleash.boundary.counts import Numbers
from offleash.boundary.passk import check_ks
from offleash.core import Estimate, InputError


def chance_curve(
    guess: Numbers,
    ks: Iterable[int],
    *,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> dict[int, Estimate]:
    """Mean over problems of 1 - (1 - p)^k, with p the chance that one blind guess is right.

    Large k makes guessable answers look solved: p = 0.01 gives 0.92 at k = 256. A pass@k near this curve is no evidence
    of ability.

    Args:
        guess: (P,) probabilities; NaN where unknown.
        ks: draws.
        level: nominal coverage of the interval over problems (the guesses themselves are exact).
        seed: of the bootstrap; the same input and seed give the same numbers.
        replicates: of the bootstrap.

    Returns:
        {k: Estimate}; NaN with the reason if any problem's p is unknown (one population for every curve).

    Raises:
        InputError: a p outside [0, 1], or no problem.
    """
    p = np.asarray(guess, dtype=np.float64)
    chosen = check_ks(ks)
    if p.ndim != 1 or p.size == 0:
        raise InputError(f"guess: shape {p.shape}; give one probability for each problem")
    if ((p < 0) | (p > 1)).any():
        raise InputError(f"guess: problem number {int(np.argmax((p < 0) | (p > 1)))} has a chance outside [0, 1]")
    with np.errstate(divide="ignore"):
        values = -np.expm1(np.log1p(-p)[:, None] * np.array(chosen)[None, :])
    low, high = resample.interval(values, level=level, seed=seed, replicates=replicates)
    unknown = int(np.isnan(p).sum())
    reason = f"the chance of a blind guess is unknown for {unknown} of {len(p)} problems" if unknown else ""
    method = f"1 - (1 - p)^k; {level:.0%} {resample.METHOD}"
    return {
        k: Estimate(float(values[:, j].mean()), float(low[j]), float(high[j]), len(p), method, reason)
        for j, k in enumerate(chosen)
    }
