"""Lines about single samples that a user brings to an audit: what is true of them, or what a second verifier says.

{"problem": ID, "index": 3, "truth": true}        --labels, a person's judgement of a sample in the store
{"verdict": true, "truth": false}                 judged elsewhere: what the verifier said and what is true
{"problem": ID, "index": 3, "correct": null}      --verdicts, of a second verifier; null where it could not decide

Problem and index name a sample of one model only. A line that also has "model" (id or label), "sampler", "seed" or "completion",
as those of to_label.jsonl have, is refused where it speaks of another model's sample. "id": "ID/3" stands for problem and index
in files of earlier versions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offleash.core import InputError
from offleash.jobs.audit_samples import UNDECIDED, UNVERIFIED, WRONG, Array, Samples, texts

SHOWN = 3  # names in an error


@dataclass(frozen=True)
class Labels:
    """A hand audit.

    Attributes:
        pairs: (what the verifier said, what is true) of each labelled sample; None where the verifier had not decided.
        problems: the problem of each; "" where a line did not say it.
        unlabelled: lines without a truth yet.
    """

    pairs: list[tuple[bool | None, bool]]
    problems: list[str]
    unlabelled: int


def read_labels(path: Path, samples: Samples) -> Labels:
    """The hand audit in a file, joined to the samples it speaks of.

    Raises:
        InputError: no such file, no line, a line that is no label, a sample twice, not in the store or of another model, or no
            truth at all.
    """
    place, seen = _Places(samples, path, "--labels"), 0
    pairs: list[tuple[bool | None, bool]] = []
    problems: list[str] = []
    for where, row in _lines(path, "--labels"):
        seen += 1
        elsewhere = "verdict" in row
        at = None if elsewhere else place.of(where, row)
        if row.get("truth") is None:
            continue
        truth = _boolean(where, row, "truth")
        if elsewhere:
            _check_owner(where, row, samples)
            pairs.append((None if row["verdict"] is None else _boolean(where, row, "verdict"), truth))
            problems.append("")
        elif at is not None:
            said = int(samples.correct_N[at])
            pairs.append((bool(said) if said >= WRONG else None, truth))
            problems.append(samples.ids[samples.problem_N[at]])
    place.refuse_unknown()
    place.refuse_other_texts()
    if not pairs:
        raise InputError(
            f'--labels: none of the {seen} lines of {path} has a truth; write "truth": true or false into them'
        )
    return Labels(pairs, problems, seen - len(pairs))


def read_verdicts(path: Path, samples: Samples) -> Array:
    """(N,) what a second verifier says, as `Samples.correct_N`; UNVERIFIED where the file has no line.

    Raises:
        InputError: as `read_labels`.
    """
    place = _Places(samples, path, "--verdicts")
    out = np.full(len(samples), UNVERIFIED, dtype=np.int8)
    for where, row in _lines(path, "--verdicts"):
        at = place.of(where, row)
        if "correct" not in row:
            raise InputError(f'{where}: no "correct"; write true, false, or null where the verifier could not decide')
        said = UNDECIDED if row["correct"] is None else int(_boolean(where, row, "correct"))
        if at is not None:
            out[at] = said
    place.refuse_unknown()
    place.refuse_other_texts()
    return out


class _Places:
    """Positions of samples by name; gathers the names that are not there, to report them together."""

    def __init__(self, samples: Samples, path: Path, option: str) -> None:
        keys = zip(samples.owners(), samples.index_N.tolist(), strict=True)
        self.at = {key: i for i, key in enumerate(keys)}
        self.known, self.name, self.path, self.option = set(samples.ids), samples.name, path, option
        self.samples = samples
        self.lines: dict[int, str] = {}
        self.texts: dict[int, str] = {}
        self.unknown: list[str] = []

    def of(self, where: str, row: Mapping[str, Any]) -> int | None:
        """The position of the sample that a line names; None for one that is not there."""
        problem, index = _key(where, row)
        _check_owner(where, row, self.samples)
        at = self.at.get((problem, index))
        if at is None:
            self.unknown.append(f"{problem}/{index}" if problem in self.known else f"problem {problem}")
            return None
        if at in self.lines:
            raise InputError(
                f"{where}: sample {problem}/{index} has a line already, {self.lines[at]}; keep one of them"
            )
        self.lines[at] = where
        if row.get("completion") is not None:
            self.texts[at] = str(row["completion"])
        return at

    def refuse_unknown(self) -> None:
        """Raises InputError if a line named a sample that is not there."""
        names = list(dict.fromkeys(self.unknown))
        if names:
            told = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            raise InputError(
                f"{self.option}: {self.path} names {len(names)} that are not among the samples of {self.name!r}: {told}; "
                "choose the samples that were judged (--task, --level, --split, --seed, --sampler), or take those lines out"
            )

    def refuse_other_texts(self) -> None:
        """Raises InputError if a line shows another completion than the store has of that sample."""
        chosen = np.array(sorted(self.texts), dtype=np.int64)
        if not len(chosen):
            return
        stored = (text for _, own in texts(self.samples.take(chosen)) for text in own)
        for at, text in zip(chosen.tolist(), stored, strict=True):
            if self.texts[at] != text:
                raise InputError(
                    f"{self.lines[at]}: its completion is not that of this sample of {self.name!r}, {_start(text)}; it was judged on "
                    "another model or store: label what `offleash audit --out DIR` writes for this one"
                )


OWNERS = ("model", "sampler", "seed")


def _check_owner(where: str, row: Mapping[str, Any], samples: Samples) -> None:
    """Raises InputError if the line says that it is of another model, sampler or seed."""
    record = samples.place.record
    mine = {
        "model": (record["id"], record.get("label"), samples.name),
        "sampler": (samples.sampler,),
        "seed": (samples.seed,),
    }
    for name in OWNERS:
        said = row.get(name)
        if said is not None and said not in mine[name]:
            own = samples.name if name == "model" else mine[name][0]
            raise InputError(
                f"{where}: a line of {name} {_called(name, said, samples)!r}, and these are samples of {own!r}; audit that one with "
                "these lines, or label what `offleash audit --out DIR` writes for this one"
            )


def other_owner(path: Path, samples: Samples) -> str:
    """Why a file of samples to label is not of these samples; "" where it is.

    Raises:
        InputError: the file cannot be read.
    """
    place = _Places(samples, path, "--labels")
    for where, row in _lines(path, "--labels"):
        try:
            place.of(where, row)
        except InputError as error:
            return str(error)
        if row.get("model") is None:
            return "it does not say of which model it is"
    try:
        place.refuse_unknown()
        place.refuse_other_texts()
    except InputError as error:
        return str(error)
    return ""


def _called(name: str, said: Any, samples: Samples) -> Any:
    """The label of a model of the same store; else what was said."""
    labels = {m["id"]: m["label"] for m in samples.place.store.models()} if name == "model" else {}
    return labels.get(said, said) if isinstance(said, str) else said


def _start(text: str) -> str:
    return json.dumps(text if len(text) <= 40 else text[:40] + "...", ensure_ascii=False)


def _key(where: str, row: Mapping[str, Any]) -> tuple[str, int]:
    problem, index = row.get("problem"), row.get("index")
    if problem is None and index is None and isinstance(row.get("id"), str):
        problem, _, last = row["id"].rpartition("/")
        if not problem or not last.isdecimal():
            raise InputError(f'{where}: id is {json.dumps(row["id"])}; write {{"problem": ID, "index": 3}}')
        return problem, int(last)
    if problem is None and index is None:
        raise InputError(
            f'{where}: it names no sample; write {{"problem": ID, "index": 3}} (for --labels of samples elsewhere, what the '
            'verifier said, as "verdict")'
        )
    if not isinstance(problem, str) or not problem:
        raise InputError(f"{where}: problem is {json.dumps(problem)}; write the id of a problem, a text")
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise InputError(f"{where}: index is {json.dumps(index)}; write a whole number, 0 for the first sample")
    if "id" in row and row["id"] != f"{problem}/{index}":
        raise InputError(
            f"{where}: id is {json.dumps(row['id'])}, but problem and index say {problem}/{index}; leave one of them out"
        )
    return problem, index


def _boolean(where: str, row: Mapping[str, Any], field: str) -> bool:
    value = row[field]
    if not isinstance(value, bool):
        raise InputError(f"{where}: {field} is {json.dumps(value)}; write true or false")
    return value


def _lines(path: Path, option: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, the object) of each line that is not blank."""
    if not path.is_file():
        raise InputError(f"{option}: no file {str(path)!r}; give JSON lines, one for each judged sample")
    found = False
    with path.open(encoding="utf-8-sig", errors="strict") as file:
        try:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                found, where = True, f"{path}:{number}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise InputError(f"{where}: not JSON ({error}); write one object a line") from error
                if not isinstance(row, dict):
                    raise InputError(f"{where}: a JSON {type(row).__name__}, not an object; write one object a line")
                yield where, row
        except UnicodeDecodeError as error:
            raise InputError(f"{option}: {path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    if not found:
        raise InputError(f"{option}: {path} has no lines; give one for each judged sample")
