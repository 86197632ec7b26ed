"""`offleash laws`: fit the entropy law or the compute law to logged runs and say what the fit can bear.

An input is a run folder, a metrics.jsonl, or a CSV file with a header. A run folder also offers the columns `tokens` and
`seconds`: what was spent before each step, summed up from its timings.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offleash.boundary import (
    ComputeLaw,
    EntropyLaw,
    Holdout,
    Parameter,
    compare_compute_laws,
    compare_entropy_laws,
    compute_law,
    entropy_law,
)
from offleash.core import InputError, unknown_name
from offleash.store import RunFolder

Row = Mapping[str, Any]

LAWS = ("entropy", "compute")
NOTABLE = 0.05  # an attenuation that is worth a line
Y_COLUMNS = ("accuracy", "reward", "R")
X_COLUMNS = {
    "entropy": ("token_entropy", "entropy", "H"),
    "compute": ("compute", "gpu_hours", "tokens", "C", "step"),
}


@dataclass(frozen=True)
class Series:
    """Two columns of one input: what each is called, its numbers, and how many rows lacked one of them."""

    name: str
    x_name: str
    y_name: str
    x: list[float]
    y: list[float]
    left_out: int


def run(
    what: str,
    inputs: Sequence[str],
    *,
    x: str | None = None,
    y: str | None = None,
    holdout: float = 0.5,
    r0: float | None = None,
    start: float = 0.0,
    as_json: bool = False,
) -> dict[str, Any]:
    """Fit one law to one or two inputs, compare two, and print it; returns the JSON document.

    Raises:
        InputError: an unknown law, more than two inputs, a column that is not there, or data that the law refuses.
    """
    if what not in LAWS:
        raise unknown_name("law", what, LAWS)
    if not 1 <= len(inputs) <= 2:
        raise InputError(f"METRICS: {len(inputs)} inputs; give one, or two to compare")
    if what == "entropy" and (r0 is not None or start):
        raise InputError("--r0, --from: they belong to the compute law; leave them out, or fit `offleash laws compute`")
    series = [read_series(path, what, x, y) for path in inputs]
    laws: list[Any] = []
    for one in series:
        try:
            if what == "entropy":
                laws.append(entropy_law(one.x, one.y, holdout=holdout))
            else:
                laws.append(compute_law(one.x, one.y, r0=r0, start=start, holdout=holdout))
        except InputError as error:
            raise InputError(f"{one.name} (x {one.x_name}, y {one.y_name}): {error}") from error
    difference = None
    if len(laws) == 2:
        difference = compare_entropy_laws(*laws) if what == "entropy" else compare_compute_laws(*laws)
    document = {
        "law": what,
        "runs": [
            {"name": s.name, "x": s.x_name, "y": s.y_name, "rows_left_out": s.left_out, **law.to_json()}
            for s, law in zip(series, laws, strict=True)
        ],
        "difference": None if difference is None else {name: p.to_json() for name, p in difference.items()},
    }
    if as_json:
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        blocks = [text_of(s, law) for s, law in zip(series, laws, strict=True)]
        if difference is not None:
            blocks.append(_difference_text(series, difference, laws[0].level))
        print("\n\n".join(blocks))
    return document


# ----------------------------------------------------------------------------------------------------- reading


def read_series(text: str, what: str, x: str | None = None, y: str | None = None) -> Series:
    """Two columns of an input: the named ones, or the first of the usual names that it has."""
    rows = _read(Path(text))
    if not rows:
        raise InputError(f"{text}: it has no rows yet; train first, or give another file")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    x_name = _column(text, "--x", x, X_COLUMNS[what], columns)
    y_name = _column(text, "--y", y, Y_COLUMNS, columns)
    pairs = [(_number(text, row, x_name), _number(text, row, y_name)) for row in rows]
    kept = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    if not kept:
        raise InputError(
            f"--x, --y: no row of {text} has a number in both {x_name!r} and {y_name!r}; choose other columns"
        )
    return Series(text, x_name, y_name, [a for a, _ in kept], [b for _, b in kept], len(pairs) - len(kept))


def _column(text: str, option: str, wanted: str | None, usual: Sequence[str], columns: Sequence[str]) -> str:
    if wanted is not None:
        if wanted not in columns:
            raise InputError(f"{option}: {text}: {unknown_name('column', wanted, columns)}")
        return wanted
    found = next((name for name in usual if name in columns), None)
    if found is None:
        raise InputError(
            f"{option}: {text} has none of {', '.join(usual)}; name one of its columns: {', '.join(columns)}"
        )
    return found


def _number(text: str, row: Row, name: str) -> float:
    """NaN where the cell is empty."""
    value = row.get(name)
    if value is None or value == "":
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InputError(f"{text}: column {name!r} holds {value!r}; choose a column of numbers")
    try:
        return float(value)
    except ValueError as error:
        raise InputError(f"{text}: column {name!r} holds {value!r}; choose a column of numbers") from error


def _read(path: Path) -> list[Row]:
    if path.is_dir():
        return _read_run(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; give a run folder, a metrics.jsonl or a CSV file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); give JSON lines or CSV"
        ) from error
    if path.suffix.lower() == ".csv":
        return _read_csv(path, text)
    return _read_lines(path, text)


def _read_run(path: Path) -> list[Row]:
    """metrics.jsonl, with the tokens and seconds spent before each step where the timings of all steps are there."""
    folder = RunFolder.open(path)
    spent = {row.get("step"): row for row in folder.timings()}
    rows: list[dict[str, Any]] = [dict(row) for row in folder.metrics()]
    tokens = seconds = 0.0
    for row in rows:
        timing = spent.get(row.get("step"), {})
        row |= {"tokens": tokens, "seconds": seconds}
        tokens += float(timing.get("tokens", math.nan))
        seconds += sum(float(value) for name, value in timing.items() if name.endswith("_s") and name != "tokens_per_s")
    if rows and math.isnan(float(rows[-1]["tokens"])):
        return [{k: v for k, v in row.items() if k not in ("tokens", "seconds")} for row in rows]
    return list(rows)


def _read_lines(path: Path, text: str) -> list[Row]:
    rows: list[Row] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # a line that a killed process left unfinished
                continue
            raise InputError(
                f"{path}:{number}: not JSON ({error}); give one JSON object a line, or a .csv file"
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: not a JSON object; give one a line, as metrics.jsonl has them")
        rows.append(row)
    return rows


def _read_csv(path: Path, text: str) -> list[Row]:
    reader = csv.DictReader(text.splitlines())
    names = reader.fieldnames or []
    if not names or len(set(names)) < len(names):
        raise InputError(f"{path}: no header, or a column twice; the first line must name each column once")
    rows: list[Row] = []
    for number, row in enumerate(reader, start=2):
        if None in row or None in row.values():
            raise InputError(f"{path}:{number}: not as many cells as the header has columns; mend the line")
        rows.append({str(name).strip(): cell.strip() for name, cell in row.items()})
    return rows


# ----------------------------------------------------------------------------------------------------- showing


def text_of(series: Series, law: EntropyLaw | ComputeLaw) -> str:
    """A fit for people: what was fitted, each parameter, why some are not determined, and how well it predicts."""
    from offleash.report.digits import plain

    left = f", {series.left_out} rows without a number left out" if series.left_out else ""
    if isinstance(law, EntropyLaw):
        parameters, rows = {"a": law.a, "b": law.b, "ceiling b - a": law.ceiling}, law.steps
    else:
        parameters, rows = {"ceiling A": law.A, "efficiency B": law.B, "midpoint C_mid": law.C_mid}, law.rows
    lines = [f"{series.name}: {law.to_json()['law']}, {rows} rows (x {series.x_name}, y {series.y_name}{left})"]
    lines += _table(parameters, law.level)
    reasons = {p.reason: name for name, p in reversed(parameters.items()) if p.reason}
    lines += [f"  {name}: {reason}" for reason, name in reversed(reasons.items())]
    if isinstance(law, ComputeLaw):
        origin = "as given" if law.data.r0 is not None else "fitted along with the first row, without an interval"
        done = f"; 90% of the rise at C = {plain(law.compute_at(0.9))}" if law.determined else ""
        lines.append(f"  R0 {plain(law.R0)} ({origin}){done}")
    rho = "" if math.isnan(law.autocorrelation) else f", correlated from row to row by {law.autocorrelation:+.2f}"
    lines.append(f"  residual {plain(law.residual)}{rho}")
    if isinstance(law, EntropyLaw) and law.attenuation >= NOTABLE:
        lines.append(f"  the noise of H from row to row makes a too small by up to {law.attenuation:.0%}")
    return "\n".join([*lines, f"  {_holdout_text(law.holdout)}"])


def _holdout_text(h: Holdout) -> str:
    from offleash.report.digits import plain

    if h.reason:
        return f"no hold-out: {h.reason}"
    better = "better" if h.rmse < h.naive_rmse else "no better"
    return (
        f"fitted to the first {h.fitted} rows it predicts the other {h.predicted} with RMSE {plain(h.rmse)} and an error of "
        f"{h.final_error:+.3f} at the last; {better} than no change ({plain(h.naive_rmse)})"
    )


def _table(parameters: Mapping[str, Parameter], level: float) -> list[str]:
    """Name, value, interval; a value that is not determined is a dash."""
    from offleash.report.digits import UNDEFINED, number

    rows = []
    for name, p in parameters.items():
        value = number(p.value, p.low, p.high) if p.identifiable else UNDEFINED
        told = f"{level:.0%}: {_ends(p)}{'' if p.identifiable else ', not determined'}"
        rows.append((name, value, "not compared" if math.isnan(p.value) else told))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return [f"  {name.ljust(widths[0])}  {value.rjust(widths[1])}  {ends}" for name, value, ends in rows]


def _ends(p: Parameter) -> str:
    from offleash.report.digits import interval, plain

    if math.isfinite(p.high):
        return interval(p.low, p.high)
    return f"from {plain(p.low)} on" if p.low > 0 else "anything"


def _difference_text(series: Sequence[Series], difference: Mapping[str, Parameter], level: float) -> str:
    """The second minus the first; where a run does not determine a parameter, its own block has said why."""
    lines = [f"{series[1].name} minus {series[0].name}", *_table(difference, level)]
    top = next(iter(difference.values()))
    return "\n".join(
        [*lines, *(f"  {name}: {p.reason}" for name, p in difference.items() if p.reason and top.identifiable)]
    )
