"""`offleash audit`: what a model's samples look like, and whether their verdicts can be trusted at large k.

    offleash audit runs/store#base runs/store#GRPO --labels judged.jsonl

reads samples (`audit_samples`), looks at their texts, lengths and entropies (`audit_look`), asks what guessing explains (here)
and what errors of the verifier would (`audit_verifier`, with the lines of `audit_labels`), and says it (`audit_text`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from offleash.boundary import chance_corrected, chance_curve, curve, guess_report, powers
from offleash.boundary.audit import LEAST_ROOM, MOST_FALL, estimate_json
from offleash.boundary.repetition import GRAM, LEAST_REPEATS, LEAST_SPAN
from offleash.core import Estimate, InputError, rng
from offleash.jobs import audit_labels, audit_look, audit_text, audit_verifier
from offleash.jobs.audit_samples import RIGHT, UNDECIDED, UNVERIFIED, Samples, guesses, read, texts
from offleash.jobs.display import progress, say
from offleash.jobs.sides import Selection
from offleash.store.files import atomic_write, make_folder, require_writable

Json = dict[str, Any]

FDR = 0.05  # of "solved beyond guessing"
TO_LABEL = 100  # samples in the file for a hand audit

THRESHOLDS = {
    "intervals": 0.95,
    "guesses_false_discovery_rate": FDR,
    "nothing_left_to_correct": f"where errors or guesses alone solve more than {1 - LEAST_ROOM:.0%} of what is unsolved",
    "correction_contradicted": f"from the first k where corrected pass@k lies more than {MOST_FALL:g} below that at a smaller k",
    "false_positives_gather": f"binomial p below {audit_verifier.UNEVEN} after Bonferroni, against one rate for all wrong samples",
    "loop": f"a block of words said at least {LEAST_REPEATS} times in a row over at least {LEAST_SPAN} words",
    "repeated_grams": f"{GRAM} words that a completion has said before",
    "texts_read": f"formats, loops, repeated words, first answer, missing computation: first {audit_look.READ} samples of a problem",
    "length_ratio": f"first samples of each problem, {audit_look.RATIO_SAMPLES} of a side at most",
    "formats_moved": f"permutation p below {audit_look.ALPHA}",
    "truncated": "ended by the token limit (finish reason length)",
    "entropy_direction": "sign test over problems and the interval of the mean difference, both at 95%",
}


def run(
    a: str,
    b: str | None = None,
    *,
    labels: Path | None = None,
    verdicts: Path | None = None,
    out: Path | None = None,
    selection: Selection | None = None,
    as_json: bool = False,
) -> Json:
    """Audit one model, or B against A; print and return the document. With `out`, also write `out`/audit.json.

    Args:
        a, b: STORE#MODEL, STUDY#ARM or a run of a study.
        labels: a hand audit, of samples of the audited model: B's where there are two.
        verdicts: a second verifier's verdicts of the same samples.
        out: folder for audit.json, and for to_label.jsonl where there are no labels yet.
        selection: which samples of the stores.
        as_json: print one JSON document instead of tables.

    Raises:
        InputError: a side cannot be found, or a file of labels or verdicts does not fit its samples.
    """
    if out is not None:
        require_writable(out)
    sides = _read([text for text in (a, b) if text is not None], selection or Selection())
    document = examine(sides, labels, verdicts)
    plain = to_json(document)
    if out is not None:
        make_folder(out)
        atomic_write(out / "audit.json", (json.dumps(plain, indent=2, allow_nan=False) + "\n").encode())
        if labels is None:
            write_to_label(out, sides[-1])
    print(json.dumps(plain, indent=2, allow_nan=False) if as_json else audit_text.text_of(document))
    return plain


def _read(places: Sequence[str], selection: Selection) -> list[Samples]:
    sides: list[Samples] = []
    with progress("reading verdicts", len(places)) as report:
        for text in places:
            sides.append(read(text, selection))
            report(len(sides))
    return sides


def examine(sides: list[Samples], labels: Path | None, verdicts: Path | None) -> Json:
    """Every section, with Estimates in it; the last side is the audited one."""
    # What a user brought is read first: a mistake in it should not cost the time of everything else.
    verifier = audit_verifier.examine(sides[-1], labels, verdicts)
    named = dict(zip("ab", sides, strict=False))
    notes: list[str] = []
    alike = sides
    if len(sides) == 2:
        *alike, notes = audit_look.alike(*sides)
        notes += _differences(*sides)
    looks = {key: audit_look.look(side) for key, side in zip(named, alike, strict=True)}
    return {
        **{key: facts(named[key]) if key in named else None for key in "ab"},
        "notes": notes,
        "thresholds": THRESHOLDS,
        "guesses": {key: guessing(side) for key, side in named.items()},
        "verifier": verifier,
        **{section: {key: found[section] for key, found in looks.items()} for section in audit_look.SECTIONS},
        "drift": audit_look.drift(alike[0], alike[1], looks["a"], looks["b"]) if len(sides) == 2 else None,
    }


def facts(samples: Samples) -> Json:
    """Which samples were looked at."""
    sizes = np.bincount(samples.problem_N)
    return {
        "name": samples.name,
        "model": samples.place.record["id"],
        "store": str(samples.place.store.path),
        "sampler": samples.sampler,
        "seed": samples.seed,
        "temperature": samples.temperature,
        "problems": len(samples.ids),
        "samples": {"all": len(samples), "least": int(sizes.min()), "most": int(sizes.max())},
        "undecided": int((samples.correct_N == UNDECIDED).sum()),
        "unverified": int((samples.correct_N == UNVERIFIED).sum()),
        "verifiers": list(samples.verifiers),
    }


def _differences(a: Samples, b: Samples) -> list[str]:
    """What else than the model differs between two sides."""
    notes = []
    if a.temperature != b.temperature:
        notes.append(
            f"A is at temperature {a.temperature:g} and B at {b.temperature:g}; --temperature chooses one for both"
        )
    if a.verifiers != b.verifiers:
        notes.append(f"A is judged by {', '.join(a.verifiers)} and B by {', '.join(b.verifiers)}")
    return notes


def guessing(samples: Samples) -> Json:
    """pass@k beside blind guessing, and the problems whose only successes look like guesses."""
    counts = samples.counts()
    guess, ks = guesses(samples, counts.ids), powers(int(counts.n.min()))
    report = guess_report(counts, guess, fdr=FDR)
    found = report.to_json()
    for row in found["suspects"]:
        stored = samples.stored.get(row["id"])
        row["prompt"] = "" if stored is None else stored.problem.prompt
    return {
        "problems": len(counts),
        "decided": {
            "least": int(counts.n.min()),
            "most": int(counts.n.max()),
            "least_in": counts.ids[int(counts.n.argmin())],
        },
        "without_verdict": sorted(set(samples.ids) - set(counts.ids)),
        "pass_at_k": curve(counts, ks),
        "chance": chance_curve(guess, ks),
        "beyond_chance": chance_corrected(counts, guess, ks),
        **found,
    }


def write_to_label(folder: Path, samples: Samples) -> None:
    """Samples that the verifier calls correct, chosen at random, with an empty truth to fill in; never over an older file.

    The file is `folder`/to_label.jsonl; where that is of another model, sampler or seed, to_label_MODEL_KEY.jsonl beside it.
    """
    right = np.flatnonzero(samples.correct_N == RIGHT)
    if not len(right):
        say(f"no samples to label: the verifier calls none of {samples.name!r}'s correct")
        return
    path = _free_place(folder, samples)
    if path is None:
        return
    owner = {"model": samples.place.record["id"], "sampler": samples.sampler, "seed": samples.seed}
    order = rng.stream("audit", samples.place.record["id"], samples.sampler, samples.seed).permutation(len(right))
    chosen = samples.take(np.sort(right[order[:TO_LABEL]]))
    lines = []
    for i, own in texts(chosen):
        name, stored = chosen.ids[i], chosen.stored.get(chosen.ids[i])
        for at, text in zip(np.flatnonzero(chosen.problem_N == i), own, strict=True):
            line = {"problem": name, "index": int(chosen.index_N[at]), "truth": None}
            known = {} if stored is None else {"prompt": stored.problem.prompt, "answer": stored.problem.answer}
            lines.append(json.dumps(line | known | {"completion": text} | owner, ensure_ascii=False) + "\n")
    atomic_write(path, "".join(lines).encode())
    say(
        f"{path}: {len(lines)} samples that the verifier calls correct, at random; fill in each truth and give it as --labels"
    )


def _free_place(folder: Path, samples: Samples) -> Path | None:
    """Where the samples to label go; None where a file of this model's is there already."""
    model = str(samples.place.record["id"])
    name = "".join(c if c.isalnum() or c in "-." else "_" for c in samples.name)
    key = rng.digest("to_label", model, samples.sampler, samples.seed).hex()[:8]
    first, beside = folder / "to_label.jsonl", folder / f"to_label_{name}_{key}.jsonl"
    for path in (first, beside):
        if not path.exists():
            return path
        try:
            others = audit_labels.other_owner(path, samples)
        except InputError as error:
            others = str(error)
        if not others:
            say(
                f"{path}: kept, it holds samples of {samples.name!r} already; give it as --labels, or remove it for new ones"
            )
            return None
        say(f"{path}: kept, it is not of {samples.name!r} ({others})")
    say(f"{folder}: no samples to label were written; give another folder as --out")
    return None


def to_json(value: Any) -> Any:
    """For `json.dumps`: an Estimate as value, low, high and reason; undefined is null."""
    if isinstance(value, Estimate):
        return estimate_json(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
