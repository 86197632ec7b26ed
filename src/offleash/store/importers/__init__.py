"""Logs of other tools as counts: what `offleash compare` takes besides its own stores and lines of {id, c, n}.

A format is one module with one class, and one row in `IMPORTERS`. Formats are told apart by content, not by names.
"""

from __future__ import annotations

from pathlib import Path

from offleash.core import InputError
from offleash.store.importers.base import (
    Imported,
    Importer,
    Reading,
    Shape,
    check_threshold,
    imported,
    parse_choices,
    parse_threshold,
)
from offleash.store.importers.columns import Columns
from offleash.store.importers.inspect_logs import Inspect
from offleash.store.importers.lighteval import Lighteval
from offleash.store.importers.lm_eval import LmEval
from offleash.store.importers.reading import files_below, shape
from offleash.store.importers.trl import Trl
from offleash.store.importers.verifiers import Verifiers
from offleash.store.importers.verl import Verl

__all__ = ["IMPORTERS", "Imported", "Importer", "Reading", "parse_columns", "read", "recognise"]

IMPORTERS: tuple[Importer, ...] = (Trl(), Verl(), LmEval(), Lighteval(), Inspect(), Verifiers())


def recognise(path: Path) -> Importer | None:
    """The importer for a file or a folder of logs; None for lines of {id, c, n}, and for a folder without logs.

    Raises:
        InputError: a file that is none of these, or a folder with logs of several tools; lists what is recognised.
    """
    found = _found(path)
    return found[0] if found else None


def read(path: Path, chosen: str = "", reading: Reading | None = None) -> Imported | None:
    """Counts from a log of another tool; None where `recognise` says None.

    Args:
        path: a file or a folder.
        chosen: what follows # in PATH#NAME=VALUE,NAME=VALUE.
        reading: how scores are read.

    Raises:
        InputError: the log cannot be used; says why and how to mend it.
    """
    reading = reading or Reading()
    found = _table(path, reading) if reading.columns else _found(path)
    if found is None:
        return None
    importer, paths = found
    choices = parse_choices(path, chosen, (*importer.choices, "threshold"))
    threshold = None if reading.threshold is None else check_threshold(reading.threshold)
    if "threshold" in choices:
        threshold = parse_threshold(choices.pop("threshold"))
    return imported(importer.read(paths, choices), importer.name, path, threshold)


def parse_columns(text: str) -> dict[str, str]:
    """`id=NAME,correct=NAME` as a dict.

    >>> parse_columns("id=problem,correct=ok")
    {'id': 'problem', 'correct': 'ok'}
    """
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and equals and value for name, equals, value in pairs):
        raise InputError(f"--columns: {text!r} is not id=NAME,correct=NAME")
    return Columns({name.strip(): value.strip() for name, _, value in pairs}).columns


def _table(path: Path, reading: Reading) -> tuple[Importer, list[Path]] | None:
    importer = Columns(reading.columns)
    if not path.is_file():
        raise InputError(f"--columns: {path} is a folder; give a file")
    found = shape(path)
    if found.kind == "lines" and found.fields >= {"id", "c", "n"}:
        return None
    if not importer.fits(found):
        raise importer.refuse(path, found)
    return importer, [path]


def _found(path: Path) -> tuple[Importer, list[Path]] | None:
    if path.is_file():
        return _of_file(path)
    fitting: dict[str, tuple[Importer, list[Path]]] = {}
    for file in files_below(path, {suffix for importer in IMPORTERS for suffix in importer.suffixes}):
        found = _fitting(shape(file))
        if found is not None:
            fitting.setdefault(found.name, (found, []))[1].append(file)
    if len(fitting) > 1:
        raise InputError(f"{path}: holds logs of several tools ({', '.join(fitting)}); give the folder of one")
    return next(iter(fitting.values()), None)


def _of_file(path: Path) -> tuple[Importer, list[Path]] | None:
    found = shape(path)
    importer = _fitting(found)
    if importer is not None:
        return importer, [path]
    # A file of counts, also one with a mistake in it: who reads counts says what is wrong.
    broken = found.kind == "unknown" and path.suffix in (".jsonl", ".json")
    if broken or found.kind == "empty" or (found.kind == "lines" and found.fields & {"c", "n"}):
        return None
    known = "; ".join(f"{importer.name} ({importer.sign})" for importer in IMPORTERS)
    keys = ", ".join(sorted(found.fields)[:12]) or "none"
    raise InputError(
        f"{path}: not recognised (its fields: {keys}); known are lines of {{id, c, n}}; {known}; {Columns.sign}"
    )


def _fitting(found: Shape) -> Importer | None:
    return next((importer for importer in IMPORTERS if importer.fits(found)), None)
