r"""Answers that say another thing than the number in them: `> 42`, `\neq 42`, `41 = 42`, `42 \text{ or more}`. Both verifiers ask here first.

Math-verify looks for a number in what it cannot parse and reads the right side of any equation; the numeric verifier takes words for
units. What is found here is wrong, unless the gold has it as well.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from offleash.tasks.math.bounds import beyond
from offleash.tasks.math.latex_numbers import Unreadable, evaluate
from offleash.tasks.math.normal import plain

_ORDER = re.compile(
    r"[<>]|!=|\\(?:n?leq?q?|n?geq?q?|n?leqslant|n?geqslant|lt|gt|neq?|not|notin|neg|lnot|ll|gg|nsim)(?![a-zA-Z])"
)
"""Signs that say something is not equal."""
_WORDS = re.compile(
    r"\b(?:not|never|wrong|incorrect|false|minus|negative|twice|thrice|double|triple|squared|cubed|factorial"
    r"|or (?:more|less|fewer|greater|higher|lower|above|below)|and (?:a|one) (?:half|third|quarter)|and up"
    r"|at (?:least|most)|up to|half of|one over)\b"
    r"|^[^0-9]*\b(?:(?:more|less|fewer|greater|other) than|over|under|above|below)\b",
    re.IGNORECASE,
)
"""Words that make a number another one, or no answer."""
_BASE = re.compile(r"(?<=[0-9])_\{?([0-9]+)\}?")
_BRACKETS = {"(": "(", "[": "(", r"\{": "{"}


@lru_cache(maxsize=65_536)
def refused(gold: str, answer: str) -> str:
    """Why an answer is wrong without a verifier, or "".

    Args:
        gold: the gold's text.
        answer: what was extracted.

    >>> refused("42", "x > 42"), refused("x > 42", "42 < x"), refused("42", "41 = 42")
    ('an inequality, where the gold is none', '', 'an equation whose sides differ')
    """
    right, text = plain(gold), plain(answer)
    if _ORDER.search(text) and not _ORDER.search(right):
        return "an inequality, where the gold is none"
    if _WORDS.search(answer) and not _WORDS.search(gold):
        return "words that change a number"
    if text[:1] in ("^", "_"):
        return "a power of nothing"
    bases = [set(_BASE.findall(side)) for side in (right, text)]
    if all(bases) and bases[0] != bases[1]:
        return "digits in another base than the gold's"
    if {_outside(right), _outside(text)} == {"(", "{"}:
        return "a set for a tuple or an interval, or the reverse"
    if "=" not in right and _false(text):
        return "an equation whose sides differ"
    reason = beyond(text)
    return reason if reason and not beyond(right) else ""


def _outside(text: str) -> str:
    """The kind of bracket around a list, "" where there is none."""
    found = next((kind for start, kind in _BRACKETS.items() if text.startswith(start)), "")
    return found if text.endswith((")", "]", r"\}")) and "," in text and r"\cup" not in text else ""


def _false(text: str) -> bool:
    """Whether two sides of an equation are numbers, and more than a rounding apart."""
    sides = [side for side in text.split("=") if side]
    if not 2 <= len(sides) <= 6 or beyond(text):
        return False
    numbers = []
    for side in sides:
        try:
            values = evaluate(side)
        except Unreadable:
            continue
        if len(set(values)) == 1:  # it has no variables
            numbers.append(values[0])
    return any(abs(a - b) > 0.01 * max(abs(a), abs(b)) for a, b in pairwise(numbers))
