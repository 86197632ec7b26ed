"""The verdict on an arm as one sentence with its evidence, in the arms' own names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offleash.report import digits

Json = Mapping[str, Any]

WORDS = {
    "expanded": "expanded",
    "shrunk": "shrunk",
    "both": "both ways",
    "no_change": "no change",
    "undecided": "undecided",
}
_OPENINGS = {
    "expanded": "Widened the boundary",
    "shrunk": "Narrowed the boundary",
    "both": "Moved the boundary both ways",
    "no_change": "Left the boundary where it was, to within ±0.02",
    "undecided": "Undecided, since a change either way fits the data",
}


def verdict(arm: Json, base: Json, name: str) -> str:
    """What the comparison of an arm with the base (called `name`) says; why there is none where there is none."""
    if arm["comparison"] is None:
        return arm["reason"] or base["reason"] or "It shares no problem with the base, so the two cannot be compared."
    found = arm["comparison"]
    k = found["k"]
    ends = found["difference"][str(k)]
    value = digits.number(ends["value"], ends["low"], ends["high"], signed=True)
    band = digits.interval(ends["low"], ends["high"], signed=True)
    text = (
        f"{_OPENINGS[found['verdict']]}: pass@{k} is {value} against the {name}'s "
        f"(95% simultaneous band {band}, {found['problem_count']} problems); "
        f"{_count(found['support']['shrunk'])} the {name} solved {_were(found['support']['shrunk'])} lost, "
        f"{_count(found['support']['expanded'])} it did not {_were(found['support']['expanded'])} gained"
    )
    if found["sign_p"] is not None:
        text += f" (sign test p {_p(found['sign_p'])})"
    return text + "." + _crossing(found) + _left_out(found)


def _crossing(found: Json) -> str:
    cross = found["crossing"]
    if cross is None:
        return ""
    return f" The curves cross near k = {digits.plain(cross['k'], 2)} (between {cross['low']} and {cross['high']})."


def _left_out(found: Json) -> str:
    missing = found["left_out"]["base_only"] + found["left_out"]["arm_only"]
    return f" {missing} problems measured on one side only are left out." if missing else ""


def _count(x: float) -> str:
    return f"{shown_count(x)} problem{'' if x == 1 else 's'}"


def _were(x: float) -> str:
    return "is" if x == 1 else "are"


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def shown_count(x: float) -> str:
    """A number of problems: whole, or an expected number with one decimal.

    >>> shown_count(7), shown_count(7.25)
    ('7', '7.2')
    """
    return str(int(x)) if float(x).is_integer() else f"{x:.1f}"
