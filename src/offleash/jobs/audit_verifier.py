"""Can the verdicts be trusted at large k? A hand audit, a second verifier, or what a small error would already do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from offleash.boundary import (
    Counts,
    agreement,
    clopper_pearson,
    corrected_curve,
    curve,
    difference,
    false_pass,
    false_positive_rate,
    false_share,
    powers,
)
from offleash.core import InputError
from offleash.jobs.audit_labels import Labels, read_labels, read_verdicts
from offleash.jobs.audit_samples import RIGHT, UNDECIDED, WRONG, Array, Samples

Json = dict[str, Any]

UNEVEN = 0.05  # p below which false positives are said to gather in a problem
SMALL_RATE = 0.001  # the false-positive rate whose effect is told where nothing was audited


def examine(samples: Samples, labels: Path | None, verdicts: Path | None) -> Json:
    """The verifier's section, of one model.

    Args:
        samples: of the audited model.
        labels: file of a hand audit.
        verdicts: file of a second verifier's verdicts.
    """
    counts = samples.counts()
    ks = powers(int(counts.n.min()))
    seconds = dict(samples.others)
    if verdicts is not None:
        seconds[verdicts.name] = read_verdicts(verdicts, samples)
    return {
        "of": samples.name,
        "versions": list(samples.verifiers),
        "labels": None if labels is None else audited(read_labels(labels, samples), counts, ks),
        "seconds": [second_opinion(name, said, samples) for name, said in sorted(seconds.items())],
        "if_small": {
            "rate": SMALL_RATE,
            "k": ks[-1],
            "alone": false_pass(SMALL_RATE, [ks[-1]])[ks[-1]].value,
            "measured": curve(counts, [ks[-1]])[ks[-1]],
        },
    }


def audited(labels: Labels, counts: Counts, ks: tuple[int, ...]) -> Json:
    """What a hand audit says of false positives, and of pass@k.

    The labelled positives stand for all positives of the model, so they must have been chosen at random among them.
    """
    passed = [truth for said, truth in labels.pairs if said is True]
    refused = [truth for said, truth in labels.pairs if said is False]
    if not passed:
        raise InputError(
            f"--labels: none of the {len(labels.pairs)} labelled samples is one that the verifier calls correct, so nothing is "
            "known of false positives; label some of those, chosen at random"
        )
    false = passed.count(False)
    share = false_share(false, len(passed))
    rate = false_positive_rate(share, counts)
    where = Counter(
        p for p, (said, truth) in zip(labels.problems, labels.pairs, strict=True) if said and not truth and p
    )
    found: Json = {
        "labelled": len(labels.pairs),
        "unlabelled": labels.unlabelled,
        "undecided": sum(said is None for said, _ in labels.pairs),
        "positives": len(passed),
        "false_positives": false,
        "false_share": share,
        "false_positive_rate": rate,
        "false_positives_by_problem": dict(sorted(where.items(), key=lambda item: (-item[1], item[0]))),
        "uneven": uneven(where, counts, share.value),
        "negatives": len(refused),
        "false_negatives": refused.count(True),
        "false_negative_share": clopper_pearson(refused.count(True), len(refused)) if refused else None,
        "pass_at_k": curve(counts, ks),
        "false_pass": None,
        "corrected": None,
    }
    if not rate.reason:
        found |= {"false_pass": false_pass(rate, ks), "corrected": corrected_curve(counts, rate, ks)}
    return found


def uneven(where: Counter[str], counts: Counts, share: float) -> Json | None:
    """The problem in which false positives gather beyond chance, if there is one: its number, what was expected, p.

    Under one rate for every wrong sample they fall on problems as wrong samples do: on its negatives and, of its positives, the
    share that is wrong. Each problem's number is binomial then; the least p, times the number of problems (Bonferroni), is held
    against UNEVEN.

    Args:
        where: false positives of each problem.
        counts: of the model.
        share: of wrong ones among all positives.
    """
    from scipy.special import bdtrc

    total, wrong = sum(where.values()), counts.n - counts.c + share * counts.c
    chance = dict(zip(counts.ids, (wrong / wrong.sum()).tolist(), strict=True)) if wrong.sum() > 0 else {}
    found = [(float(bdtrc(m - 1, total, chance[p])), p) for p, m in where.items() if p in chance]
    if not found:
        return None
    least, problem = min(found)
    p = min(1.0, least * len(counts))
    if p >= UNEVEN:
        return None
    return {"problem": problem, "false_positives": where[problem], "expected": total * chance[problem], "p": p}


def second_opinion(name: str, said: Array, samples: Samples) -> Json:
    """Another verifier on the samples that both decided: how often they differ, and how far pass@k moves.

    The curves are those of these samples, `covered` of all that the store's verdicts decide: where that is below 1 they are not the
    model's, for the samples may have been chosen by their verdict.

    Raises:
        InputError: there is no sample that both decided.
    """
    first, both = samples.correct_N, (samples.correct_N >= WRONG) & (said >= WRONG)
    if not both.any():
        raise InputError(
            f"verifier {name!r}: it has decided none of the samples that the store's verdicts decide; run both"
        )
    owners = samples.owners(looked := np.flatnonzero((said >= UNDECIDED) & (first >= UNDECIDED)))
    found = agreement(_verdicts(first[looked]), _verdicts(said[looked]), owners)
    shared = samples.take(np.flatnonzero(both))
    mine, other = shared.counts(), shared.counts(said[both])
    ks = powers(int(mine.n.min()))
    moved = difference(mine, other, ks)
    return {
        "name": name,
        "samples": found.samples,
        "of": int((first >= WRONG).sum()),
        "covered": found.samples / int((first >= WRONG).sum()),
        "not_seen": int(len(samples) - len(looked)),
        "undecided": list(found.undecided),
        "table": found.table,
        "kappa": found.kappa,
        "disagreement": found.disagreement,
        "only_first": found.only_first,
        "only_second": found.only_second,
        "sign_p": found.sign_p,
        "pass_at_k": curve(mine, ks),
        "second_pass_at_k": curve(other, ks),
        "difference": {k: dict(zip(("value", "low", "high"), moved.at(k), strict=True)) for k in ks},
    }


def _verdicts(said: Array) -> list[bool | None]:
    return [bool(x == RIGHT) if x >= WRONG else None for x in said.tolist()]
