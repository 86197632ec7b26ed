"""What the samples look like: formats, repetition, lengths, entropies, of one model and from A to B.

Where two models are compared, both are looked at on their shared problems and with as many samples of each, since the share of
duplicates, answer entropy and distinct answers all depend on how many samples there are.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from offleash.boundary import (
    Drift,
    answer_entropy,
    answer_repetition,
    classify_format,
    constant_answer,
    distinct_answers,
    find_loop,
    format_drift,
    format_shares,
    length_ratio,
    operations_written,
    powers,
    repeated_share,
    resample,
    sequence_entropy,
    token_entropy,
    tokens_up_answers_down,
    words,
)
from offleash.boundary.collapse import ANSWER, _mean, _position
from offleash.core import Estimate, InputError
from offleash.jobs.audit_samples import UNDECIDED, Array, Samples, operations_needed, texts
from offleash.jobs.display import progress

Json = dict[str, Any]

READ = 64  # samples of a problem whose texts are looked into: the search for loops takes 10 ms in 1,500 words
RATIO_SAMPLES = 262_144  # of a side, for the bootstrap of the length ratio; 100 x 1,024 take .3 s and 40 MB
SLOW = 20_000  # samples from which on reading takes seconds and shows its progress
SECTIONS = ("formats", "repetition", "lengths", "entropies")
ALPHA = 0.05  # a drift of formats is called one below this p


@dataclass(frozen=True)
class Written:
    """What the texts of one problem show.

    Attributes:
        formats: of each of its first READ samples.
        duplicates, duplicates_normalised: share of its samples.
        repeated_grams, loops, first_answer, missing_computation: means over its first READ samples, NaN if undefined in all.
    """

    formats: list[str]
    duplicates: float
    duplicates_normalised: float
    repeated_grams: float
    loops: float
    first_answer: float
    missing_computation: float


def alike(a: Samples, b: Samples) -> tuple[Samples, Samples, list[str]]:
    """Both on their shared problems, with as many samples of each; and what that leaves out, as notes.

    Raises:
        InputError: they share no problem.
    """
    shared = sorted(set(a.ids) & set(b.ids))
    if not shared:
        raise InputError(
            f"{a.name!r} and {b.name!r} share no problem; an audit of drift needs the same problems on both sides"
        )
    sizes = [dict(zip(s.ids, np.bincount(s.problem_N, minlength=len(s.ids)).tolist(), strict=True)) for s in (a, b)]
    least = {name: min(size[name] for size in sizes) for name in shared}
    kept = []
    for side in (a, b):
        allowed = np.array([least.get(name, 0) for name in side.ids])
        kept.append(side.take(np.flatnonzero(side.nth() < allowed[side.problem_N])))
    notes = []
    if any(len(side.ids) > len(shared) for side in (a, b)):
        notes.append(
            f"looked at on the {len(shared)} problems that both have ({a.name} {len(a.ids)}, {b.name} {len(b.ids)})"
        )
    if any(size[name] > least[name] for size in sizes for name in shared):
        notes.append("of each problem the first samples of the side with more, as many as the other has")
    return kept[0], kept[1], notes


def written(samples: Samples) -> list[Written]:
    """What the texts show, for each problem."""
    with progress(f"reading {samples.name}", len(samples.ids)) if len(samples) > SLOW else nullcontext() as report:
        found = []
        for i, own in texts(samples):
            found.append(_of_problem(own, operations_needed(samples, i)))
            if report:
                report(i + 1)
    return found


def _of_problem(own: list[str], needed: int | None) -> Written:
    # Many samples of a problem are the same text, and each text is looked into once.
    first = own[:READ]
    formats = {text: classify_format(text) for text in set(first)}
    measured = {text: _of_text(text, needed) for text in set(first)}
    means = [_defined_mean(column) for column in zip(*(measured[text] for text in first), strict=True)]
    distinct = set(own)
    normalised = {" ".join(text.split()) for text in distinct}
    repeated = [1 - len(different) / len(own) for different in (distinct, normalised)]
    return Written([formats[text] for text in first], *repeated, *means)


def _of_text(text: str, needed: int | None) -> tuple[float, float, float, float]:
    """Share of repeated n-grams, whether there is a loop, where the answer stands, share of operations missing."""
    tokens = words(text)
    missing = math.nan if needed is None else max(0.0, 1 - operations_written(text) / needed)
    return repeated_share(tokens), float(find_loop(tokens) is not None), _position(text, ANSWER), missing


def _defined_mean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan


# ------------------------------------------------------------------------------------------------- the sections


def look(samples: Samples) -> Json:
    """Formats, repetition, lengths and entropies of one model; `named` is every format that was read, for the drift."""
    own = written(samples)
    formats = [name for problem in own for name in problem.formats]
    return {
        "named": formats,
        "formats": {"shares": format_shares(formats), "verifier": _verifier_formats(samples)},
        "repetition": repetition(samples, own),
        "lengths": lengths(samples, own),
        "entropies": entropies(samples),
    }


def _verifier_formats(samples: Samples) -> dict[str, float]:
    named = samples.format_N[_seen(samples)].tolist()
    return format_shares(named) if named else {}


def _over(values: Sequence[float], what: str) -> Estimate:
    """Mean over problems of shares in [0, 1], those where it is undefined left out, with its interval."""
    known = [value for value in values if not math.isnan(value)]
    return _mean(known, "texts", what, "it is undefined in every sample", 0.95, 0)


def repetition(samples: Samples, own: Sequence[Written]) -> Json:
    """Duplicate completions, repeated answers, the one answer given everywhere, loops."""
    answers, owners = _answers(samples)
    answer, share = constant_answer(answers) if answers else (None, math.nan)
    return {
        "duplicates": _over([w.duplicates for w in own], "share of repeated completions"),
        "duplicates_normalised": _over([w.duplicates_normalised for w in own], "the same, white space normalised"),
        "answer_repetition": answer_repetition(answers, owners) if answers else None,
        "constant_answer": {"answer": answer, "share": share},
        "no_answer": answers.count(None) / len(answers) if answers else math.nan,
        "loops": _over([w.loops for w in own], "share with a loop"),
        "repeated_grams": _over([w.repeated_grams for w in own], "share of repeated n-grams"),
    }


def lengths(samples: Samples, own: Sequence[Written]) -> Json:
    """How long completions are, how many the token limit cut, where the answer stands, which computation is missing."""
    sizes = np.bincount(samples.problem_N, minlength=len(samples.ids))
    means = np.bincount(samples.problem_N, samples.length_N, len(samples.ids)) / sizes
    cut = np.bincount(samples.problem_N, samples.cut_N, len(samples.ids)) / sizes
    ends = resample.mean_interval(means) if len(means) > 1 else (math.nan, math.nan)
    missing = [w.missing_computation for w in own]
    return {
        "mean": Estimate(float(means.mean()), ends[0], ends[1], len(means), "tokens, mean over problems"),
        "median": float(np.median(samples.length_N)),
        "longest": int(samples.length_N.max()),
        "truncated": _over(cut.tolist(), "share that the token limit ended"),
        "first_answer": _over([w.first_answer for w in own], "position of the first answer"),
        "missing_computation": (
            None if all(map(math.isnan, missing)) else _over(missing, "share of needed operations missing")
        ),
    }


def entropies(samples: Samples) -> Json:
    """The entropies, each named for what it is; D_k at powers of two."""
    answers = _by_problem(*_answers(samples))
    known = np.flatnonzero(np.isfinite(samples.logprob_N))
    found: Json = {
        "without_logprob": len(samples) - len(known),
        "token": token_entropy(_by_problem(samples.entropy_N.tolist(), samples.owners())),
        "sequence": sequence_entropy(_by_problem(samples.logprob_N[known].tolist(), samples.owners(known))),
        "answer": answer_entropy(answers),
        "distinct_answers": {},
    }
    if answers:
        found["distinct_answers"] = {
            k: distinct_answers(answers, k) for k in powers(min(len(own) for own in answers.values()))
        }
    return found


def _seen(samples: Samples) -> Array:
    """Positions of the samples that have a verdict, undecided ones too."""
    return np.flatnonzero(samples.correct_N >= UNDECIDED)


def _answers(samples: Samples) -> tuple[list[Hashable], list[str]]:
    """The answers of the samples that a verifier has seen, and their problems; None is no answer, an answer of its own."""
    return samples.answer_N[seen := _seen(samples)].tolist(), samples.owners(seen)


def _by_problem(values: Sequence[Any], owners: Sequence[str]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for value, name in zip(values, owners, strict=True):
        out.setdefault(name, []).append(value)
    return out


# ---------------------------------------------------------------------------------------------------- from A to B


def drift(a: Samples, b: Samples, look_a: Json, look_b: Json) -> Json:
    """How formats, lengths and entropies moved from A to B; both as `alike` gives them."""
    moved = format_drift(look_a["named"], look_b["named"], a.owners(_first(a, READ)), b.owners(_first(b, READ)))
    seen = _seen(a), _seen(b)
    to_verifier = None
    if len(seen[0]) and len(seen[1]):
        before, after = a.format_N[seen[0]].tolist(), b.format_N[seen[1]].tolist()
        to_verifier = format_drift(before, after, a.owners(seen[0]), b.owners(seen[1]))
    some = [_first(side, RATIO_SAMPLES // len(side.ids)) for side in (a, b)]
    ratio = length_ratio(a.length_N[some[0]], b.length_N[some[1]], a.owners(some[0]), b.owners(some[1]))
    pattern, _, _ = tokens_up_answers_down(
        (_by_problem(a.entropy_N.tolist(), a.owners()), _by_problem(b.entropy_N.tolist(), b.owners())),
        (_by_problem(*_answers(a)), _by_problem(*_answers(b))),
    )
    return {
        "formats": _told(moved),
        "verifier_formats": None if to_verifier is None else _told(to_verifier),
        "length_ratio": {f"{q:g}": estimate for q, estimate in ratio.items()},
        "entropy_pattern": pattern,
    }


def _told(moved: Drift) -> Json:
    return {"distance": moved.distance, "by_chance": moved.by_chance, "p": moved.p, "moved": moved.p < ALPHA}


def _first(samples: Samples, count: int) -> Array:
    """The first `count` samples of each problem, one at least."""
    return np.flatnonzero(samples.nth() < max(1, count))
