"""Entropies above the token: of whole sequences, of meanings, and the pattern of tokens up and answers down."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from offleash.boundary import resample
from offleash.boundary.entropy import Answers, _over_problems, answer_entropy
from offleash.core import Estimate, InputError

Numbers = Mapping[str, Sequence[float] | Sequence[int]]
NORMALISATIONS = ("none", "length")


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
    token_entropy: tuple[Estimate, Estimate], answers: tuple[Answers, Answers], *, level: float = 0.95, seed: int = 0
) -> tuple[str, Estimate, Estimate]:
    """Do the two entropies move apart, as in arXiv 2507.14843 (RL models: token entropy up, answer entropy down)?

    Returns:
        The pattern ("tokens up, answers down", "both up", "both down", "tokens down, answers up" or "undecided"), and the
        answer entropies of a and b. A direction counts where the two intervals do not overlap, which is stricter than a
        test of the difference.
    """
    entropies = tuple(answer_entropy(side, level=level, seed=seed) for side in answers)
    directions = [_direction(*token_entropy), _direction(*entropies)]
    if 0 in directions:
        return "undecided", entropies[0], entropies[1]
    if directions[0] == directions[1]:
        pattern = "both up" if directions[0] > 0 else "both down"
    else:
        pattern = "tokens up, answers down" if directions[0] > 0 else "tokens down, answers up"
    return pattern, entropies[0], entropies[1]


def _direction(a: Estimate, b: Estimate) -> int:
    return 1 if b.low > a.high else -1 if b.high < a.low else 0
