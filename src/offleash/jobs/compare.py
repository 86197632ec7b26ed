"""`offleash compare`: find the sides' counts (`jobs/sides.py`), compare them, say what moved.

two sides                one comparison
one A and several B      B, B, ... are training seeds of one method: what the method does (`jobs/compare_seeds.py`)
models and --task        sampled first, all (`jobs/sampled.py`) or only where the verdict is open (`jobs/adaptive.py`)
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from offleash.boundary import Comparison, Ledger, ledger, unseen_bound
from offleash.boundary import compare as compare_counts
from offleash.boundary.temperature import Temperatures
from offleash.core import InputError
from offleash.jobs import heat
from offleash.jobs.beyond import curve_beyond
from offleash.jobs.compare_strata import same_counts
from offleash.jobs.compare_strata import strata as strata_of
from offleash.jobs.display import aligned, say
from offleash.jobs.sampled import Order, is_model, sampled_side
from offleash.jobs.sides import Selection, Side, enough, members, read_side, refuse_unused, same_problems
from offleash.store import importers
from offleash.store.files import require_writable

Json = dict[str, Any]

MANY = 20
"""Problems on which two training seeds do not agree by chance."""


def run(
    a: str,
    b: str,
    *seeds: str,
    out: Path | None = None,
    k: int | None = None,
    n: int | None = None,
    selection: Selection | None = None,
    reading: importers.Reading | None = None,
    order: Order | None = None,
    epsilon: float | None = None,
    beyond: int | None = None,
    adaptive: bool = False,
    as_json: bool = False,
) -> Json:
    """Compare B with A and print the result; with `out`, also write `out`/comparison.json.

    Args:
        a: the reference.
        b: the other; with `seeds` the first of several training seeds of one method.
        seeds: further training seeds.
        out: folder for comparison.json, and for the store of models that are sampled first.
        k: where to judge; half the samples where None.
        n: only problems with at least n samples; of models, how many to draw.
        selection: which samples of stores.
        reading: how logs of other tools are read.
        order: how models are sampled.
        epsilon: threshold of the ledger; where None the rate that k draws without a success rule out.
        beyond: also continue each curve to this k, past the samples that were drawn.
        adaptive: draw from the two models only where the verdict is open.
        as_json: print the document.

    Returns:
        The document of `--json`.

    Raises:
        InputError: a side cannot be found, the sides share no problem, or k exceeds the samples of a problem.
    """
    if n is not None and n < 1:
        raise InputError(f"--n: {n} is below 1")
    if epsilon is not None and not 0 < epsilon < 1:
        raise InputError(f"--epsilon: {epsilon} is no probability of one sample; give a number between 0 and 1")
    if out is not None:
        require_writable(out)
    texts = [a, *(run for text in (b, *seeds) for run in members(text))]
    selection = selection or Selection()
    _refuse_without_effect(texts, order, adaptive=adaptive, epsilon=epsilon, beyond=beyond)
    if adaptive:
        from offleash.jobs.adaptive import compare_adaptively

        document, text = compare_adaptively(texts, order, k=k, n=n)
    else:
        sides = _sides(texts, selection, reading, order, n, k, beyond)
        document, text = _compare(sides[0], sides[1:], k, epsilon)
        document |= {"inputs": _inputs(sides, reading)}
        if beyond is not None:
            further, lines = zip(*(curve_beyond(side, beyond) for side in sides), strict=True)
            document |= {"beyond": {"k": beyond, "a": further[0], "b": list(further[1:])}}
            text = "\n".join([text, *lines])
    content = json.dumps(document, indent=2, allow_nan=False)
    print(content if as_json else text)
    if out is not None:
        write(out, content)
    return document


def _refuse_without_effect(
    texts: Sequence[str], order: Order | None, *, adaptive: bool, epsilon: float | None, beyond: int | None
) -> None:
    """An InputError for options that this comparison would not read: one who gives them trusts that they act."""
    given = {"--epsilon": epsilon is not None, "--beyond": beyond is not None}
    if adaptive or len(texts) > 2:
        unread = [name for name, here in given.items() if here and (adaptive or name == "--epsilon")]
        if unread:
            what = "--adaptive" if adaptive else "several training seeds"
            raise InputError(f"{', '.join(unread)}: not read with {what}; leave it out")
    if order is not None and order.given and not adaptive and not any(map(is_model, texts)):
        raise InputError(f"{', '.join(order.given)}: no side is a model that is sampled first; leave it out")


def _sides(
    texts: Sequence[str],
    selection: Selection,
    reading: importers.Reading | None,
    order: Order | None,
    n: int | None,
    k: int | None,
    beyond: int | None,
) -> list[Side]:
    models = [text for text in texts if is_model(text)]
    if models and n is not None:
        if k is not None and k > n:
            raise InputError(f"--k: {k} is above --n {n}; draw at least k samples of each problem")
        if beyond is not None and beyond <= n:
            raise InputError(f"--beyond: {beyond} is within --n {n}; give a larger one, or leave it out")
    if not models:
        refuse_unused(selection, texts)
    sides = [
        sampled_side(text, order, n, texts) if text in models else read_side(text, selection, reading) for text in texts
    ]
    if reading not in (None, importers.Reading()) and not any(side.notes for side in sides):
        raise InputError("--threshold, --columns: no side is a log of another tool; leave them out")
    for text, side in zip(texts, sides, strict=True):
        for note in side.notes:
            say(f"{text}: {note}")
    _same_samples(texts, sides)
    return [enough(side, n or 1) for side in sides]


def _same_samples(texts: Sequence[str], sides: Sequence[Side]) -> None:
    """An InputError where a side is given twice among training seeds: it would pass as a repetition."""
    for i, j in itertools.combinations(range(len(sides)), 2):
        # A handful of problems may agree by chance.
        alike = len(sides[i].counts) >= MANY and same_counts(sides[i], sides[j])
        if len(sides) > 2 and (texts[i] == texts[j] or alike):
            raise InputError(
                f"{texts[i]!r} and {texts[j]!r} hold the same counts; each B is another training seed, and none of them is the base"
            )


def _compare(a: Side, others: Sequence[Side], k: int | None, epsilon: float | None) -> tuple[Json, str]:
    """The document and the text."""
    if len(others) > 1:
        from offleash.jobs.compare_seeds import compare_seeds

        return compare_seeds(a, others, k)
    left, right = same_problems(a, others[0])
    comparison = compare_counts(left.counts, right.counts, k=k)
    line = ledger(left.counts, right.counts, epsilon=unseen_bound(comparison.k) if epsilon is None else epsilon)
    warmth = _temperatures(left, right, comparison.k)
    if same_counts(left, right):
        say("A and B have the same counts: if these are the same samples, nothing below is evidence")
    parts, lines = strata_of(left, right, comparison.k)
    document = comparison.to_json() | {"k": comparison.k, "ledger": _ledger_json(line), "strata": parts}
    text = text_of(comparison, line, left.name, right.name, lines)
    if warmth is not None:
        document |= {"temperature": heat.to_json(warmth, comparison.k)}
        text += f"\nis it only temperature? {warmth.answer}: {warmth.because}"
    return document, text


def _temperatures(a: Side, b: Side, k: int) -> Temperatures | None:
    """What is left of the difference without temperature, where a side was sampled at several; None otherwise."""
    if not (a.heats and b.heats and (a.several or b.several)):
        return None
    if a.temperature != b.temperature:
        say(f"A is at temperature {a.temperature:g} and B at {b.temperature:g}; --temperature chooses one for both")
        return None
    try:
        return heat.only_temperature(a.heats(), b.heats(), k, a.temperature)
    except InputError as error:
        say(f"is it only temperature? cannot be said: {error}")
        return None


def _ledger_json(found: Ledger) -> Json:
    return {
        "epsilon": found.epsilon,
        "confidence": found.confidence,
        **found.counts,
        "problems": [
            {"id": e.id, "class": e.name, "a": {"low": e.low_a, "high": e.high_a}, "b": {"low": e.low_b, "high": e.high_b}}
            for e in found.entries
        ],
    }  # fmt: skip


def _inputs(sides: Sequence[Side], reading: importers.Reading | None) -> Json:
    """What was compared, so that a file of results says where it comes from."""
    named = [{"name": side.name, "problems": len(side.counts), "notes": list(side.notes)} for side in sides]
    if reading is not None and reading.threshold is not None:
        return {"a": named[0], "b": named[1:], "threshold": reading.threshold}
    return {"a": named[0], "b": named[1:]}


def write(out: Path, document: str) -> Path:
    """Write `out`/comparison.json, whole or not at all."""
    path, unfinished = out / "comparison.json", out / "comparison.json.tmp"
    try:
        out.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(document + "\n", encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise InputError(f"--out: cannot write {str(path)!r}: {error.strerror}; choose another folder") from error
    return path


def text_of(comparison: Comparison, line: Ledger, a: str, b: str, strata: Sequence[str] = ()) -> str:
    """A table of pass@k and differences, the ledger of problems, and the verdict."""
    from offleash.report.digits import band, number
    from offleash.report.sentences import word

    header = ("k", f"A: {a}", f"B: {b}", "B - A", "simultaneous 95% band")
    rows = []
    for k in comparison.ks:
        left, right, (value, low, high) = comparison.pass_a[k], comparison.pass_b[k], comparison.difference.at(k)
        rows.append(
            (
                str(k),
                number(left.value, left.low, left.high),
                number(right.value, right.low, right.high),
                *band(value, low, high),
            )
        )
    headline = f"verdict at k={comparison.k}: {comparison.verdict}"
    if comparison.k == 1:
        headline = f"at k=1: {word(comparison.verdict, 1)}; this is no verdict on the boundary"
    rates = {"preserved": "both", "expanded": "B only", "shrunk": "A only", "out_of_support": "neither", "open": "open"}
    sure = f"p above {line.epsilon:.2g}, at {line.confidence:.0%} each"
    return "\n".join(
        [
            *aligned(header, rows),
            "",
            *strata,
            *([""] if strata else []),
            f"solved at least once: {_kinds(comparison.support.counts)}",
            _ratios(comparison),
            f"{sure}: " + ", ".join(f"{count} {rates[name]}" for name, count in line.counts.items()),
            *_crossing(comparison),
            headline,
            comparison.because,
        ]
    )


def _kinds(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{round(count)} {name.replace('_', ' ')}" for name, count in counts.items())


def _ratios(comparison: Comparison) -> str:
    """SRR, NDR and SDS beside what two runs of A would give."""
    from offleash.report.digits import number

    found = comparison.support.metrics
    null = comparison.null_ndr
    parts = [f"{name.upper()} {number(e.value, e.low, e.high)}" for name in ("srr", "ndr", "sds") if (e := found[name])]
    return f"{', '.join(parts)}; two runs of A would give NDR {number(null.value, null.low, null.high)}"


def _crossing(comparison: Comparison) -> list[str]:
    cross = comparison.crossing
    if cross is None:
        return []
    better = "B" if cross.sign > 0 else "A"
    return [f"the curves cross at k = {cross.k:.0f} [{cross.low}, {cross.high}]: below it {better} solves more"]
