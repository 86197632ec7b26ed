r"""Numbers that can be written in several ways: groups of three digits, repeating decimals, degrees in a sine, per cent."""

from __future__ import annotations

import re

from offleash.tasks.math.latex_numbers import Unreadable, evaluate

_THOUSANDS = re.compile(r"(?<![\w.,^}\\])(?<!frac )([0-9]{1,3})((?:(?:\\[,;: !]|\s)+[0-9]{3})+)(?![0-9])(?!\s*/)")
_REPEATING = re.compile(r"(?<![0-9,])([0-9]{1,12})\.([0-9]{0,12})\\(?:overline|bar)\s*\{([0-9]{1,12})\}")
_DEGREES = re.compile(
    r"(\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])(?:\^\{?[0-9]\}?)?\s*(?:\\left)?[({]?\s*)([0-9]+(?:\.[0-9]+)?)\s*"
    r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))"
)
_PERCENT = re.compile(
    r"([0-9]*\\[dt]?frac\{[0-9]+\}\{[0-9]+\}|[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:\\[,;: ]|[\s~])*"
    r"(?:\\?%|\\(?:text|mbox|mathrm|textrm)\{\s*(?:percent|per cent)\s*\}|(?:percent|per cent)(?![A-Za-z]))"
)


def numbers(answer: str) -> str:
    r"""An answer whose numbers are written in one way.

    >>> numbers(r"276\,000"), numbers("5 2"), numbers(r"4.1\overline{6}"), numbers(r"\sin 30^\circ")
    ('276000', '5 2', '\\frac{375}{90}', '\\sin \\frac{30 \\pi}{180}')
    """
    answer = _THOUSANDS.sub(lambda m: m[1] + re.sub(r"[^0-9]", "", m[2]), answer)
    answer = _REPEATING.sub(_fraction, answer)
    return _DEGREES.sub(r"\1\\frac{\2 \\pi}{180}", answer)


def _fraction(match: re.Match[str]) -> str:
    start, all_digits = match[1] + match[2], match[1] + match[2] + match[3]
    return f"\\frac{{{int(all_digits) - int(start)}}}{{{'9' * len(match[3])}{'0' * len(match[2])}}}"


def readings(gold: str, answer: str) -> list[tuple[str, str]]:
    r"""Pairs of gold and answer without per cent signs; an answer is right where one of them is.

    Where one side alone has the sign, the other may count in hundredths or not: 42 % is 42 and 0.42. A gold between -1 and 1
    is taken at its word: for 1/2, 50 % is right and 0.5 % is not.

    >>> readings("42", r"42\%"), readings("0.5", r"50\%")
    ([('42', '\\frac{42}{100}'), ('42', '42')], [('0.5', '\\frac{50}{100}')])
    """
    first, second = bool(_PERCENT.search(gold)), bool(_PERCENT.search(answer))
    if first and second:
        return [(_bare(gold), _bare(answer))]
    if first:
        return [(_hundredths(gold), answer), (_bare(gold), answer)]
    if second:
        found = [(gold, _hundredths(answer)), (gold, _bare(answer))]
        return found[:1] if _small(gold) else found
    return [(gold, answer)]


def _bare(text: str) -> str:
    return _PERCENT.sub(r"\1", text)


def _hundredths(text: str) -> str:
    return _PERCENT.sub(lambda m: f"\\frac{{{m[1].replace(',', '')}}}{{100}}", text)


def _small(gold: str) -> bool:
    try:
        return all(0 < abs(value) < 1 for value in evaluate(gold))
    except Unreadable:
        return False
