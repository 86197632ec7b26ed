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
# At k=1 a verdict is about accuracy, not about the boundary.
WORDS_AT_ONE = {
    "expanded": "accuracy higher",
    "shrunk": "accuracy lower",
    "both": "accuracy moved both ways",
    "no_change": "accuracy unchanged",
    "undecided": "accuracy undecided",
}
_OPENINGS_AT_ONE = {
    "expanded": "Raised accuracy, which does not tell the boundary",
    "shrunk": "Lowered accuracy, which does not tell the boundary",
    "both": "Moved accuracy both ways, which does not tell the boundary",
    "no_change": "Left accuracy where it was, to within ±0.02",
    "undecided": "Undecided, since a change of accuracy either way fits the data",
}


def word(verdict: str, k: int) -> str:
    """A verdict that was judged at k, in a word or two.

    >>> word("expanded", 64), word("expanded", 1)
    ('expanded', 'accuracy higher')
    """
    return (WORDS_AT_ONE if k == 1 else WORDS)[verdict]


def verdict(arm: Json, base: Json, name: str) -> str:
    """What the comparison of an arm with the base (called `name`) says; why there is none where there is none."""
    if arm["comparison"] is None:
        return arm["reason"] or base["reason"] or "It shares no problem with the base, so the two cannot be compared."
    found = arm["comparison"]
    k = found["k"]
    ends = found["difference"][str(k)]
    value, band = digits.band(ends["value"], ends["low"], ends["high"])
    openings = _OPENINGS_AT_ONE if k == 1 else _OPENINGS
    text = (
        f"{openings[found['verdict']]}: pass@{k} is {value} against the {name}'s "
        f"(95% simultaneous band {band}, {found['problem_count']} problems); "
        f"{_count(found['support']['shrunk'])} the {name} solved {_were(found['support']['shrunk'])} lost, "
        f"{_count(found['support']['expanded'])} it did not {_were(found['support']['expanded'])} gained"
    )
    if found["sign_p"] is not None:
        text += f" (sign test p{_p(found['sign_p'])})"
    return text + "." + _crossing(found) + _left_out(found)


def short(arm: Json, base: Json) -> str:
    """The verdict in a few words with the same evidence, for the sets of problems beside the main one."""
    if arm["comparison"] is None:
        return arm["reason"] or base["reason"] or "Not comparable: it shares no problem with the base."
    found = arm["comparison"]
    ends = found["difference"][str(found["k"])]
    value, band = digits.band(ends["value"], ends["low"], ends["high"])
    lost, gained = (shown_count(found["support"][name]) for name in ("shrunk", "expanded"))
    return f"{word(found['verdict'], found['k'])}: pass@{found['k']} {value} ({band}), {lost} lost, {gained} gained."


def _crossing(found: Json) -> str:
    cross = found["crossing"]
    if cross is None:
        return ""
    return f" The curves cross near k = {digits.plain(cross['k'], 2)} (between {cross['low']} and {cross['high']})."


def _left_out(found: Json) -> str:
    missing = found["left_out"]["base_only"] + found["left_out"]["arm_only"]
    return f" {missing} problems measured on one side only are left out." if missing else ""


def _count(x: float) -> str:
    return f"{shown_count(x)} problem{'s' * (shown_count(x) != '1')}"


def _were(x: float) -> str:
    return "is" if shown_count(x) == "1" else "are"


def _p(p: float) -> str:
    return " < 0.0001" if p < 1e-4 else f" = {p:.2g}"


def shown_count(x: float) -> str:
    """A number of problems: whole, or an expected number (where n differs between the sides) with one decimal.

    >>> shown_count(7), shown_count(7.25), shown_count(6.98)
    ('7', '7.2', '7')
    """
    return f"{x:.1f}".removesuffix(".0")
