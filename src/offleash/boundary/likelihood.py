"""How probable one model's solutions are under another: was a problem solved by training out of reach before it?

For a problem with correct completions C, the base solves it with probability p = sum over y in C of pi_a(y). Samples of the
trained model b say of p, without a single sample of a:

- at least sum over the distinct correct y that b showed, of pi_a(y): a bound without any sampling error;
- about the mean over b's samples of [y correct] pi_a(y) / pi_b(y): importance sampling, unbiased as b can produce every text,
  but with few samples it misses what a can do and b hardly does, and is then too low more often than not;
- exactly, where all of C can be enumerated.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offleash.core import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SolutionProbability:
    """Probability that one sample of a solves one problem, as b's samples tell it.

    Attributes:
        bound: sum of pi_a over the distinct correct completions seen; p is at least this.
        estimate: importance-weighted mean over b's samples; 0 where none is correct.
        standard_error: of the estimate over b's samples; NaN for fewer than two.
        effective: effective number of correct samples behind the estimate, (sum w)^2 / sum w^2.
        distinct: distinct correct completions seen.
        samples: b's samples, right and wrong.
        exact: sum over all correct completions where they were enumerated; NaN otherwise.
    """

    bound: float
    estimate: float
    standard_error: float
    effective: float
    distinct: int
    samples: int
    exact: float = float("nan")

    def pass_at(self, k: int) -> float:
        """Chance that one of k samples of a is right: by the exact probability, else by the bound (and so at least)."""
        p = self.bound if np.isnan(self.exact) else self.exact
        return float(-np.expm1(k * np.log1p(-min(p, 1.0)))) if p < 1.0 else 1.0


def solution_probability(
    texts: Sequence[Hashable],
    logprobs_a: Sequence[float] | Floats,
    logprobs_b: Sequence[float] | Floats,
    samples: int,
    exact: float = float("nan"),
) -> SolutionProbability:
    """See SolutionProbability.

    Args:
        texts: what tells b's correct completions apart, one for each correct sample.
        logprobs_a: their log-probabilities under a: sums over tokens, the end token included, in nats.
        logprobs_b: the same under b, as sampled. Both at the temperature they are sampled at.
        samples: all of b's samples of the problem, right and wrong.
        exact: sum of pi_a over all correct completions, if they were enumerated.

    Raises:
        InputError: lengths differ, a log-prob is above 0 or not finite, or there are fewer samples than correct ones.
    """
    a, b = np.asarray(logprobs_a, dtype=np.float64), np.asarray(logprobs_b, dtype=np.float64)
    if not len(texts) == len(a) == len(b):
        raise InputError(f"logprobs: {len(texts)} completions, {len(a)} and {len(b)} log-probs; give one of each")
    if samples < len(a):
        raise InputError(f"samples: {samples}, but {len(a)} of them are correct; count wrong samples too")
    for name, values in (("logprobs_a", a), ("logprobs_b", b)):
        # Rounding can put the log-prob of a sure text a little above 0.
        if not np.isfinite(values).all() or (values > 1e-4).any():
            raise InputError(f"{name}: log-probabilities are finite and at most 0")
    if samples < 1:
        raise InputError("samples: 0; a problem that was never sampled says nothing")
    seen = dict(zip(texts, a, strict=True))
    weights = np.exp(a - b)
    every = np.concatenate([weights, np.zeros(samples - len(weights))])
    error = float(every.std(ddof=1) / np.sqrt(samples)) if samples > 1 else float("nan")
    squared = float((weights**2).sum())
    effective = float(weights.sum() ** 2 / squared) if squared > 0 else 0.0
    bound = float(np.exp(np.array(list(seen.values()))).sum()) if seen else 0.0
    return SolutionProbability(min(bound, 1.0), float(every.mean()), error, effective, len(seen), samples, exact)
