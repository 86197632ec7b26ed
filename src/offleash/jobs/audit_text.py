"""An audit for people: one table a section, every threshold stated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from offleash.core import Estimate
from offleash.report.digits import UNDEFINED, band, interval, number, plain

Json = dict[str, Any]

WORST = 10  # problems listed; --json has all
EXCERPT = 60  # characters of a prompt


def text_of(document: Json) -> str:
    """The whole audit."""
    sides = [key for key in "ab" if document[key] is not None]
    blocks = [
        _head(document, sides),
        _guesses(document, sides),
        _verifier(document["verifier"]),
        _formats(document, sides),
        _section("Repetition", document["repetition"], sides, REPETITION) + _constant(document, sides),
        _section("Lengths, in tokens", document["lengths"], sides, LENGTHS) + _ratio(document),
        _section("Entropies, in nats, at the sampling temperature", document["entropies"], sides, ENTROPIES)
        + _entropy_notes(document, sides),
        ["Thresholds"] + [f"  {name.replace('_', ' ')}: {value}" for name, value in document["thresholds"].items()],
    ]
    return "\n\n".join("\n".join(block) for block in blocks)


def _head(document: Json, sides: Sequence[str]) -> list[str]:
    lines = []
    for key in sides:
        f = document[key]
        n = f["samples"]
        each = f"{n['least']}" if n["least"] == n["most"] else f"{n['least']} to {n['most']}"
        left = [f"{f[name]} {name}" for name in ("undecided", "unverified") if f[name]]
        warmth = "" if math.isnan(f["temperature"]) else f", temperature {f['temperature']:g}"
        verifiers = ", ".join(f["verifiers"])
        lines.append(
            f"{key.upper()}: {f['name']}, {f['problems']} problems x {each} samples{warmth}, verifier {verifiers}"
            + (f", {', '.join(left)} left out" if left else "")
        )
    return lines + [f"note: {note}" for note in document["notes"]]


# ----------------------------------------------------------------------------------------------------- guesses


def _guesses(document: Json, sides: Sequence[str]) -> list[str]:
    lines = ["Guesses: pass@k beside blind guessing, and beyond it ((pass@k - chance) / (1 - chance))"]
    for key in sides:
        found = document["guesses"][key]
        rows: list[tuple[str, ...]] = [("k", "chance", "pass@k", "beyond chance")]
        columns = ("chance", "pass_at_k", "beyond_chance")
        for k, chance in found["chance"].items():  # exact for these problems, so without an interval
            rows.append((str(k), plain(chance.value, 2), cell(found["pass_at_k"][k]), cell(found["beyond_chance"][k])))
        lines += [f"{key.upper()}: {document[key]['name']}", *table(rows)]
        reasons = dict.fromkeys(e.reason for name in columns for e in found[name].values() if e.reason)
        lines += [f"  – : {reason}" for reason in reasons]
        n = found["decided"]
        if 2 * n["least"] <= n["most"]:
            lines.append(
                f"  k ends where problem {n['least_in']} does: {n['least']} decided samples; others have {n['most']}"
            )
        if found["without_verdict"]:
            lines.append(f"  {len(found['without_verdict'])} problems have no decided sample and are left out")
        lines += _suspects(found)
    return lines


def _suspects(found: Json) -> list[str]:
    if found["unknown"] == found["problems"]:
        return []
    worst = found["suspects"][:WORST]
    lines = [
        f"  solved {found['solved']} problems, {found['beyond']} of them shown to be beyond guessing (false discovery rate "
        f"{found['fdr']:.0%}); guessing alone would solve {plain(found['expected'])}"
    ]
    if worst:
        lines.append(f"  {len(found['suspects'])} whose only successes look like guesses, the least certain first:")
        rows = [("right", "by guessing", "p", "problem")]
        rows += [
            (f"{r['c']} of {r['n']}", plain(r["expected"]), plain(r["p"], 2), excerpt(r["prompt"]) or r["id"])
            for r in worst
        ]
        lines += table(rows, last_left=True)
    if len(found["suspects"]) > WORST:
        lines.append(f"  ... and {len(found['suspects']) - WORST} more (--json has all)")
    return lines


# ---------------------------------------------------------------------------------------------------- verifier


def _verifier(found: Json) -> list[str]:
    lines = [f"Verifier: can {found['of']}'s verdicts ({', '.join(found['versions'])}) be trusted at large k?"]
    if found["labels"] is not None:
        lines += _labels(found["labels"])
    for second in found["seconds"]:
        lines += _second(second)
    if found["labels"] is None:
        small = found["if_small"]
        e = small["measured"]
        told = f"pass@{small['k']} of {small['alone']:.3f}"
        lines.append(
            f"  not audited by hand: passing {small['rate']:.1%} of wrong samples would alone give {told}; measured is {cell(e)} "
            "(--out DIR writes samples to label, --labels reads them)"
        )
    return lines


def _labels(found: Json) -> list[str]:
    told = (("unlabelled", "not labelled yet"), ("undecided", "undecided"))
    extra = ", ".join(f"{found[name]} {what}" for name, what in told if found[name])
    also = f" ({extra})" if extra else ""
    missed = f", of {found['negatives']} that it calls wrong {found['false_negatives']} are right"
    lines = [
        f"  hand audit: {found['labelled']} samples{also}; of {found['positives']} that the verifier calls correct "
        f"{found['false_positives']} are wrong{missed if found['negatives'] else ''}",
        f"  wrong among its positives: {exact(found['false_share'])} (exact, if those were chosen at random among all positives)",
    ]
    if found["uneven"] is not None:
        u = found["uneven"]
        lines.append(
            f"  {u['false_positives']} of the false positives are in one problem, {u['problem']}, where one rate for all gives "
            f"{plain(u['expected'], 2)} (p = {plain(u['p'], 2)}, Bonferroni): the rate is not the same everywhere"
        )
    if found["corrected"] is None:
        return [*lines, f"  {found['false_positive_rate'].reason}"]
    lines.append(f"  so it passes a wrong sample with probability {exact(found['false_positive_rate'])}")
    rows: list[tuple[str, ...]] = [("k", "errors alone", "pass@k", "corrected")]
    names = ("false_pass", "pass_at_k", "corrected")
    rows += [(str(k), *(cell(found[name][k]) for name in names)) for k in found["pass_at_k"]]
    reasons = dict.fromkeys(e.reason for e in found["corrected"].values() if e.reason)
    return [*lines, *table(rows), *(f"  – : {reason}" for reason in reasons)]


def _second(found: Json) -> list[str]:
    t = found["table"]
    left = [f"{found['not_seen']} samples without its verdict"] if found["not_seen"] else []
    left += [
        f"{n} undecided by {who}" for n, who in zip(found["undecided"], ("the first", "the second"), strict=True) if n
    ]
    lines = [
        f"  second verifier {found['name']}: differs on {cell(found['disagreement'])} of {found['samples']} samples "
        f"({t['only_first']} correct only to the first, {t['only_second']} only to the second), kappa {cell(found['kappa'])}"
        + (f"; left out: {', '.join(left)}" if left else "")
    ]
    if found["covered"] < 1:
        lines.append(
            f"  below: on the {found['samples']} samples with both verdicts, {found['covered']:.1%} of the {found['of']} decided ones; "
            "these are not the model's pass@k"
        )
    first = "pass@k" if found["covered"] == 1 else "first, on these"
    rows: list[tuple[str, ...]] = [("k", first, "second", "second - first", "simultaneous 95% band")]
    for k, moved in found["difference"].items():
        both = (cell(found["pass_at_k"][k]), cell(found["second_pass_at_k"][k]))
        rows.append((str(k), *both, *band(moved["value"], moved["low"], moved["high"])))
    return [*lines, *table(rows)]


# ------------------------------------------------------------------------------------------------ what they look like

REPETITION = {
    "duplicates": "completions that repeat another of the same problem",
    "duplicates_normalised": "the same, white space normalised",
    "answer_repetition": "two samples of a problem agree",
    "no_answer": "without an answer",
    "loops": "with a loop",
    "repeated_grams": "words said before in the same completion",
}
LENGTHS = {
    "mean": "mean",
    "median": "median",
    "longest": "longest",
    "truncated": "cut off by the token limit",
    "first_answer": "first answer stands at (share of the text)",
    "missing_computation": "needed operations not written",
}
ENTROPIES = {
    "token": "token entropy (mean a token)",
    "sequence": "sequence entropy (a whole completion)",
    "answer": "answer entropy (Miller-Madow)",
}


def _section(title: str, found: Json, sides: Sequence[str], names: dict[str, str]) -> list[str]:
    rows = [("", *(key.upper() for key in sides))]
    rows += [
        (told, *(cell(found[key][name]) for key in sides))
        for name, told in names.items()
        if any(found[key][name] is not None for key in sides)
    ]
    return [title, *table(rows, first_left=True)]


def _formats(document: Json, sides: Sequence[str]) -> list[str]:
    found = document["formats"]
    rows = [("", *(key.upper() for key in sides))]
    for kind, told in (("shares", ""), ("verifier", "to the verifier: ")):
        names = dict.fromkeys(name for key in sides for name in found[key][kind])
        rows += [(told + name, *(f"{found[key][kind].get(name, 0.0):.3f}" for key in sides)) for name in names]
    lines = ["Formats, share of the samples", *table(rows, first_left=True)]
    if document["drift"] is not None:
        for kind, told in (("formats", ""), ("verifier_formats", ", to the verifier")):
            d = document["drift"][kind]
            if d is None:
                continue
            answer = "the formats moved" if d["moved"] else "no drift shown"
            lines.append(
                f"  drift from A to B{told}: total variation {d['distance']:.3f}, by chance {d['by_chance']:.3f}, "
                f"p = {plain(d['p'], 2)}: {answer}"
            )
    return lines


def _constant(document: Json, sides: Sequence[str]) -> list[str]:
    lines = []
    for key in sides:
        found = document["repetition"][key]["constant_answer"]
        if found["answer"] is not None:
            lines.append(
                f"  {key.upper()}'s most frequent answer over all problems: {excerpt(found['answer'])}, {found['share']:.3f}"
            )
    return lines


def _ratio(document: Json) -> list[str]:
    if document["drift"] is None or not document["drift"]["length_ratio"]:
        return []
    told = [f"{float(q):.0%} quantile {cell(e)}" for q, e in document["drift"]["length_ratio"].items()]
    return [f"  B's length over A's: {', '.join(told)}"]


def _entropy_notes(document: Json, sides: Sequence[str]) -> list[str]:
    lines = []
    for key in sides:
        found = document["entropies"][key]
        if found["without_logprob"]:
            lines.append(
                f"  {key.upper()}: {found['without_logprob']} samples without log-probs are not in the sequence entropy"
            )
        told = [f"D_{k} {cell(e, short=True)}" for k, e in found["distinct_answers"].items()]
        if told:
            lines.append(f"  {key.upper()}: distinct answers in k samples: {', '.join(told)}")
    if document["drift"] is not None:
        lines.append(f"  token and answer entropy from A to B: {document['drift']['entropy_pattern']}")
    return lines


# ------------------------------------------------------------------------------------------------------ details


def cell(value: Any, *, short: bool = False) -> str:
    """An estimate with its interval, or a plain number, as text."""
    if isinstance(value, Estimate):
        told = number(value.value, value.low, value.high)
        ends = "" if short or told == UNDEFINED else interval(value.low, value.high)
        return f"{told} [{ends}]" if ends else told
    return f"{value:,}" if isinstance(value, int) else plain(value)


def exact(value: Estimate) -> str:
    """A small rate with its interval, to two significant digits."""
    return f"{plain(value.value, 2)} [{plain(value.low, 2)}, {plain(value.high, 2)}]"


def excerpt(text: str) -> str:
    """The beginning of a text that others wrote, on one line and without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"


def table(rows: Iterable[Sequence[str]], *, first_left: bool = False, last_left: bool = False) -> list[str]:
    """Lines of right-aligned columns, indented by two."""
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def aligned(i: int, text: str) -> str:
        left = (first_left and i == 0) or (last_left and i == len(widths) - 1)
        return text.ljust(widths[i]) if left else text.rjust(widths[i])

    return ["  " + "  ".join(aligned(i, text) for i, text in enumerate(row)).rstrip() for row in rows]
