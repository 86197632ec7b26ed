"""Entropies above the token: of whole sequences, of meanings, and the pattern of tokens up and answers down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.entropy import Answers, _over_problems, answer_entropy, entropy_of_counts
from offleash.core import Estimate, InputError

Floats = NDArray[np.float64]
Numbers = Mapping[str, Sequence[float] | Sequence[int]]
NORMALISATIONS = ("none", "length")
STILL = 1e-12  # nats; a smaller difference of two entropies is rounding


def sequence_entropy(
    logprobs: Numbers, *, level: float = 0.95, seed: int = 0, replicates: int = resample.REPLICATES
) -> Estimate:
    """Entropy of the distribution over whole completions, -E log pi(y), averaged over problems (nats).

    Unbiased: the mean of minus the summed log-prob of sampled completions, at the temperature they were drawn at. It
    grows with length; token entropy does not.

    Args:
        logprobs: problem id -> summed log-prob of each sample, at most 0.
        level: nominal coverage.
        seed: of the bootstrap.
        replicates: of the bootstrap.
    """
    rows = []
    for name in sorted(logprobs):
        values = np.asarray(logprobs[name], dtype=np.float64)
        if not np.isfinite(values).all() or (values > 1e-4).any():
            raise InputError(f"logprobs: problem {name!r} has one that is not finite or above 0")
        if len(values):
            rows.append(-values.mean())
    return _over_problems(np.array(rows), "sequence entropy in nats", level, seed, replicates)


def semantic_entropy(
    clusters: Answers,
    logprobs: Numbers | None = None,
    *,
    lengths: Numbers | None = None,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> Estimate:
    """Entropy over given meaning clusters, averaged over problems (nats).

    Without log-probs: -sum (n_c / n) log(n_c / n), the discrete form. With them: each cluster weighs the sum of its
    samples' probabilities, length-normalised where lengths are given, renormalised over clusters (S. Farquhar et al.,
    Detecting hallucinations in large language models using semantic entropy, Nature 630, 2024). How clusters were made
    is the caller's matter; greedy clustering against a first member depends on the order of samples.

    Args:
        clusters: problem id -> a cluster label for each sample.
        logprobs: problem id -> summed log-prob of each sample.
        lengths: problem id -> tokens of each sample, to divide the log-probs by.
        level: nominal coverage.
        seed: of the bootstrap.
        replicates: of the bootstrap.
    """
    values = []
    for name in sorted(clusters):
        labels = list(clusters[name])
        if not labels:
            raise InputError(f"clusters: problem {name!r} has no sample; leave it out or sample it")
        scores = np.zeros(len(labels))
        if logprobs is not None:
            scores = _scores(name, len(labels), logprobs, lengths)
        values.append(_entropy_of_clusters(labels, scores))
    form = "discrete" if logprobs is None else "likelihood-weighted"
    return _over_problems(np.array(values), f"semantic entropy in nats, {form}", level, seed, replicates)


def _scores(name: str, count: int, logprobs: Numbers, lengths: Numbers | None) -> np.ndarray:
    values = np.asarray(logprobs.get(name, ()), dtype=np.float64)
    if len(values) != count or not np.isfinite(values).all():
        raise InputError(f"logprobs: problem {name!r} needs {count} finite ones, one for each cluster label")
    if lengths is None:
        return values
    tokens = np.asarray(lengths.get(name, ()), dtype=np.float64)
    if len(tokens) != count or (tokens < 1).any():
        raise InputError(f"lengths: problem {name!r} needs {count} of at least 1")
    return np.asarray(values / tokens)


def _entropy_of_clusters(labels: Sequence[Hashable], scores: np.ndarray) -> float:
    order = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    index = np.array([order[label] for label in labels])
    mass = np.zeros(len(order))
    np.add.at(mass, index, np.exp(scores - scores.max()))
    p = mass / mass.sum()
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def tokens_up_answers_down(
    tokens: tuple[Numbers, Numbers], answers: tuple[Answers, Answers], *, level: float = 0.95, seed: int = 0
) -> tuple[str, Estimate, Estimate]:
    """Do the two entropies move apart, as in arXiv 2507.14843 (RL models: token entropy up, answer entropy down)?

    A direction is one of the differences b - a, problem by problem. Two tests must agree at `level`:

    - The exact sign test: as many problems up as down is rejected; unchanged ones tell nothing. It takes 6 changed problems
      at 95%, whatever the size of their changes, so two problems never show a direction.
    - The interval of the mean difference lies on that side of 0. Answer entropies have bounds (0 to log n and its correction),
      so there it is Gaffke's bound, the bootstrap with one whole problem more at the worst value: it keeps the error below 5%
      where nearly all problems agree and the rare ones that would turn the mean have not been seen. Token entropies have no known
      bound, so there it is `resample.mean_interval`, and nothing more than the sign test where all differences are the same: up
      and down then speak of most problems.

    Args:
        tokens: of a and b: problem id -> mean token entropy of each sample, nats; NaN (an empty completion) is left out.
        answers: of a and b: problem id -> one label for each sample; as many samples on both sides.
        level: of each direction; false ones are at most 1 - level.
        seed: of the bootstraps.

    Returns:
        The pattern ("tokens up, answers down", "both up", "both down", "tokens down, answers up" or "undecided"), and the
        answer entropies of a and b. Only problems that both sides have count towards it.
    """
    entropies = tuple(answer_entropy(side, level=level, seed=seed) for side in answers)
    means = [{name: _defined_mean(values) for name, values in side.items()} for side in tokens]
    counted = [{name: Counter(labels).values() for name, labels in side.items()} for side in answers]
    plain = [{name: entropy_of_counts(sorted(counts)) for name, counts in side.items()} for side in counted]
    most = max((sum(counts) for side in counted for counts in side.values()), default=1)
    bound = float(np.log(most)) + (most - 1) / (2 * most)  # Miller-Madow's entropy of as many answers as samples
    directions = (
        _direction(_moves(*means), None, level, seed),
        _direction(_moves(*plain), bound, level, seed),
    )
    if 0 in directions:
        return "undecided", entropies[0], entropies[1]
    if directions[0] == directions[1]:
        pattern = "both up" if directions[0] > 0 else "both down"
    else:
        pattern = "tokens up, answers down" if directions[0] > 0 else "tokens down, answers up"
    return pattern, entropies[0], entropies[1]


def _defined_mean(values: Sequence[float] | Sequence[int]) -> float:
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")


def _moves(a: Mapping[str, float], b: Mapping[str, float]) -> Floats:
    """(P,) b - a of the problems that have both."""
    moves = np.array([b[name] - a[name] for name in sorted(a.keys() & b.keys())])
    return np.asarray(moves[~np.isnan(moves)])


def _direction(moves: Floats, bound: float | None, level: float, seed: int) -> int:
    """1 up, -1 down, 0 undecided, of differences (P,) that lie within +-bound."""
    from scipy.special import bdtr

    up, down = int((moves > STILL).sum()), int((moves < -STILL).sum())
    if up + down == 0 or 2 * float(bdtr(min(up, down), up + down, 0.5)) > 1 - level:
        return 0
    if bound is None:
        low, high = resample.mean_interval(moves, level=level, seed=seed)
        if np.isinf(low) and np.isinf(high):  # all the same
            low = high = float(moves.mean())
    else:
        drawn = resample.draw(moves[:, None], seed=seed)
        sums, extra, tail = drawn.sums[:, 0], drawn.pseudo(1.0), (1 - level) / 2
        low, high = (
            float(np.quantile((sums + end * extra) / (drawn.total + extra), share))
            for end, share in ((-bound, tail), (bound, 1 - tail))
        )
    return 1 if up > down and low > 0 else -1 if down > up and high < 0 else 0
