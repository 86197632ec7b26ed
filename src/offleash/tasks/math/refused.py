r"""Answers that say another thing than the number in them: `> 42`, `\neq 42`, `41 = 42`, `42 \text{ or more}`. Both verifiers ask here first.

Math-verify looks for a number in what it cannot parse and reads the right side of any equation; the numeric verifier takes words for
units. What is found here is wrong, unless the gold has it as well.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from offleash.tasks.math.bounds import beyond
from offleash.tasks.math.dress import TEXT, UNITS
from offleash.tasks.math.latex_numbers import Unreadable, Values, evaluate
from offleash.tasks.math.normal import normal, plain
from offleash.tasks.math.signs import closing

_ORDER = re.compile(
    r"[<>]|!=|\\(?:n?leq?q?|n?geq?q?|n?leqslant|n?geqslant|lt|gt|neq?|not|notin|neg|lnot|ll|gg|nsim)(?![a-zA-Z])"
)
"""Signs that say something is not equal."""
_WORDS = re.compile(
    r"\b(?:not|never|wrong|incorrect|false|minus|negative|twice|thrice|double|triple|squared|cubed|factorial"
    r"|plus|(?:below|under) zero|(?:halve|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth)s"
    r"|(?:half|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth)(?= *\}?$)"
    r"|or (?:more|less|fewer|greater|higher|lower|above|below)|and (?:a|one) (?:half|third|quarter)|and up"
    r"|at (?:least|most)|up to|half of|one over)\b"
    r"|^[^0-9]*\b(?:(?:more|less|fewer|greater|other) than|over|under|above|below)\b",
    re.IGNORECASE,
)
"""Words that make a number another one, or no answer."""
_BASE = re.compile(r"(?<=[0-9])_\{?([0-9]+)\}?")
_TEXT = re.compile(rf"{TEXT}\{{([^{{}}]*)\}}")
_TWO = re.compile(r"[0-9][\s}]+(?!(?:(?:and|or)\s+)+[^A-Za-z])[A-Za-z]{2,}[A-Za-z\s]*\s\\?\$?[0-9]")
_SAYS_MORE = {
    "digits with a space between them": re.compile(r"(?<![0-9_^.])(?<!frac)(?<!binom)[0-9]+(?:\.[0-9]*)? \.?[0-9]"),
    "a subscript to a number": re.compile(r"[0-9]_"),
    "a ratio": re.compile(r"[0-9]:[-0-9]"),
    "minutes, seconds, feet or inches": re.compile(r"[0-9](?:\^?\{?(?:'|\"|\\prime)|\^\{?\\prime)"),
    "a per cent of a per cent": re.compile(r"%[\\ ]*%"),
    "what is not seen, or struck out": re.compile(
        r"\\(?:[hv]?phantom|[bx]?cancel|sout|[hvm]space|hskip|kern|tag|label|href)"
    ),
    "a number's words with more in them": re.compile(
        rf"[0-9}})]{TEXT}\{{(?:[^{{}}]*(?:\bbase(?![a-z])|(?<![a-z]{{2}})(?<![m^])[0-9]|[+*=<>!])|(?![{UNITS}])[A-Za-z]\}})"
    ),
    "digits in another base than the gold's": re.compile(r"[0-9][ (]*base(?![a-z])"),
}
"""What the verifiers drop or misread."""
_THOUSANDS = re.compile(r"(?<![0-9])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
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
    if found := next((why for why, sign in _SAYS_MORE.items() if sign.search(text) and not sign.search(right)), ""):
        return found
    several = [_TWO.search(_TEXT.sub(r" \1 ", normal(side))) for side in (gold, answer)]
    if several[1] and not several[0]:
        return "several numbers with words between them"
    if {_outside(right), _outside(text)} == {"(", "{"}:
        return "a set for a tuple or an interval, or the reverse"
    if "=" not in right and _false(text):
        return "an equation whose sides differ"
    if (reason := beyond(text)) and not beyond(right):
        return reason
    return "the same answer twice" if not reason and _repeated(text) > _repeated(right) else ""


def _repeated(text: str) -> int:
    """How many parts of a list are there already."""
    text = _TEXT.sub(lambda m: "," if m[1].strip() in ("and", "or") else m[0], text)
    text = re.sub(r"(?<=[0-9])(?:and|or)(?=[0-9])", ",", text)
    text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text)
    for start, end in ((r"\{", r"\}"), ("[", "]")):
        text = text[len(start) : -len(end)] if text.startswith(start) and text.endswith(end) else text
    parts, first, at = [], 0, 0
    while at < len(text):
        if text[at] in ",;":
            parts.append(text[first:at])
            first = at + 1
        at = closing(text, at) if text[at] in "([{" else at + 1
    parts = [part.rpartition("=")[2] for part in [*parts, text[first:]]]
    return len(parts) - len({_value(part) for part in parts}) if len(parts) > 1 else 0


def _value(part: str) -> Values | str:
    try:
        return evaluate(part)
    except Unreadable:
        return part


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
