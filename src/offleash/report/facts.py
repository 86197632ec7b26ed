"""Every number of a study's report, as one JSON document: report.json, and what the page and the table are made from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from offleash.report import completions, history, measure, reading, sentences
from offleash.store import Store, Study, read_study

Json = dict[str, Any]

KEYS = {
    "kind": "study",
    "baseline": "label of the arm all others are compared with",
    "ks": "the k of the table",
    "strata": "sets of problems, the main one first",
    "strata[].problem_count": "problems of the set in the store",
    "strata[].chance.pass_at_k.K": "pass@K of blind guessing: value, low, high; null with a reason where unknown",
    "strata[].arms.LABEL.pass_at_k.K": (
        "unbiased pass@K, mean over problems: value, low, high (95%, population of problems), n problems, method, reason"
    ),
    "strata[].arms.LABEL.token_entropy": "mean token entropy in nats: value, low, high, n problems, method, reason",
    "strata[].arms.LABEL.samples": "least and most decided samples of a problem",
    "strata[].arms.LABEL.undecided": "samples the verifier could not decide; they are in no number",
    "strata[].arms.LABEL.unverified": "samples without a verdict yet; they are in no number",
    "strata[].arms.LABEL.reason": "why the arm has no numbers, where it has none",
    "strata[].arms.LABEL.comparison": (
        "arm minus base, as `offleash compare --json`: difference with its simultaneous band, crossing, support, verdict, "
        "because (a is the base, b the arm); k: where it was judged; sign_p: sign test of gained against lost problems; "
        "significant: problems whose change has a false discovery rate of at most 5%; left_out: problems of one side only"
    ),
    "strata[].problems[]": (
        "id, prompt, guess (chance of one blind guess), arms {LABEL: c correct of n, class, confidence}; in the order of the "
        "base's success rate"
    ),
    "verdicts[]": "arm, stratum, verdict, word, sentence, short: what the page says first",
    "frontier": "pass@1 and pass@k of base, checkpoints (step) and final models (step null), all on the same problems",
    "training.LABEL": "step and metrics columns as logged, probes, events, timings, recipe; notes say what is missing",
    "completions[]": "problem, prompt, why it was chosen, arms {LABEL: c, n, texts with verdict, reason and frequency}",
    "settings": "models, samplers, verifier versions, and for each model and set of problems the sampler, seed and number of samples",
}


def study_facts(folder: Path) -> Json:
    """The facts of the study in `folder`; computed once for each state of its files.

    Raises:
        InputError: no study there, or a file of it that cannot be read.
    """
    study = read_study(folder)
    return _facts(study, _state(study))


@lru_cache(maxsize=2)
def _facts(study: Study, state: str) -> Json:
    store = Store.open(study.store)
    main = study.strata[0]
    data = [reading.read_stratum(study, store, s, checkpoints=s is main) for s in study.strata]
    strata = [measure.stratum_facts(study, d) for d in data]
    document: Json = {
        "schema": 1,
        "kind": "study",
        "keys": KEYS,
        "title": study.title,
        "baseline": study.baseline,
        "ks": list(study.ks),
        "arms": [arm.label for arm in study.arms],
        "strata": strata,
        "verdicts": _verdicts(study, strata),
        "frontier": measure.frontier(study, data[0]),
        "training": {arm.label: history.history(arm.run) for arm in study.arms if arm.run is not None},
        "completions": _completions(study, store, strata[0]),
        "settings": _settings(study, store, data),
    }
    return finite(document)


def finite(value: Any) -> Any:
    """The same value with NaN and infinities as None, so that it can be written as JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _state(study: Study) -> str:
    """A digest of the names, sizes and times of the files the facts are made from."""
    folders = [study.store, *(arm.run for arm in study.arms if arm.run is not None)]
    files = sorted(
        path
        for folder in folders
        for path in [
            *folder.glob("*.json*"),
            *folder.glob("*.yaml"),
            *folder.glob("*/*.parquet"),
            *folder.glob("*/*.json"),
        ]
    )
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        stat = path.stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _verdicts(study: Study, strata: Sequence[Json]) -> list[Json]:
    out = []
    for arm in study.arms[1:]:
        for stratum in strata:
            own, base = stratum["arms"][arm.label], stratum["arms"][study.baseline]
            found = own["comparison"]
            out.append(
                {
                    "arm": arm.label,
                    "stratum": stratum["name"],
                    "verdict": found["verdict"] if found else None,
                    "word": sentences.word(found["verdict"], found["k"]) if found else "",
                    "sentence": sentences.verdict(own, base, study.baseline),
                    "short": sentences.short(own, base),
                }
            )
    return out


def _completions(study: Study, store: Store, stratum: Json) -> list[Json]:
    chosen = completions.choose(stratum["problems"], study.baseline)
    rows = {row["id"]: row for row in stratum["problems"]}
    out: list[Json] = [{"id": i, "prompt": rows[i]["prompt"], "because": why, "arms": {}} for i, why in chosen.items()]
    ids = {name: str(record["id"]) for name, record in reading.identities(store, [a.model for a in study.arms]).items()}
    samples = reading.read_samples(store, list(ids.values()), list(chosen)) if ids and chosen else {}
    for arm in study.arms:
        for problem in out:
            own = samples.get(ids.get(arm.model, ""), {}).get(problem["id"], [])
            if own and stratum["arms"][arm.label]["pass_at_k"]:
                problem["arms"][arm.label] = completions.of_arm(own)
    return [problem for problem in out if problem["arms"]]


def _settings(study: Study, store: Store, data: Sequence[reading.StratumData]) -> Json:
    names = [m for arm in study.arms for m in (arm.model, *(c.model for c in arm.checkpoints))]
    drawn = [{"stratum": d.stratum.name, **row} for d in data for row in d.samples]
    used = {row["sampler"] for row in drawn}
    return {
        "models": reading.identities(store, names),
        "samplers": {name: settings for name, settings in store.samplers().items() if name in used},
        "samples": drawn,
        "verifiers": reading.verifiers(store),
    }
