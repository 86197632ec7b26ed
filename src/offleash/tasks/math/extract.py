r"""The answer in a completion: the last \boxed{...}, what follows the last ####, or the last number. Linear in the text."""

from __future__ import annotations

import re
from typing import NamedTuple

from offleash.tasks.math.signs import FRACTIONS, RAISED

MAX_ANSWER = 500
"""Characters of an answer that is read; longer ones are wrong unread (the longest answer of MATH-500 has 53)."""
MAX_TAIL = 100_000
"""Characters at the end of a completion in which an answer is looked for."""
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_NUMBER = re.compile(
    r"(?:(?<![\w)])[-+])?[√∛∜]?(?:(?<![\w/.,])[0-9]+ [0-9]+/[0-9]+|(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:(?:[ \u00a0\u2009\u202f~]|\\,)[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    rf"(?:[ ]?/[ ]?[0-9]+|\^\{{?[-+]?[0-9]+\}}?|[eE][-+]?[0-9]+|[⁺⁻]?[{RAISED}]+|[ ]?[{FRACTIONS}]|[ ](?:hundred|thousand|million|billion|trillion)\b)?|[{FRACTIONS}])"
)
"""With what belongs to it: `1/2`, `3½`, `10^2` and `1e3` are no 2, 3, 2 and 3, nor is `3 million`; and `5-2` is no -2."""
_HASHES = re.compile(r"####[ \t]*([^\n]+)")


class Extracted(NamedTuple):
    """An answer, and how it was given: `boxed`, `hashes`, `number`; or `none`, with the reason."""

    answer: str
    form: str
    reason: str = ""


def extract(text: str, number: bool) -> Extracted:
    r"""The answer of a completion.

    Args:
        text: the completion.
        number: whether, without a box or ####, the last number counts.

    >>> extract(r"so \boxed{\frac{1}{2}} it is", number=True)
    Extracted(answer='\\frac{1}{2}', form='boxed', reason='')
    >>> extract("16 - 7 = 9 eggs, so 18 dollars.", number=True).answer
    '18'
    """
    tail = text.rstrip()[-MAX_TAIL:].replace("\u2212", "-")  # the sign of typesetting
    found = _boxed(tail)
    if found is None and (hashes := _HASHES.findall(tail)):
        found = Extracted(hashes[-1], "hashes")
    if found is None and number and (numbers := _NUMBER.findall(tail)):
        found = Extracted(numbers[-1], "number")
    if found is None:
        return Extracted("", "none", "no number and no \\boxed{...}" if number else "no \\boxed{...}")
    if found.form == "none":
        return found
    answer = found.answer.strip()
    if not answer:
        return Extracted("", "none", "an empty answer")
    if len(answer) > MAX_ANSWER:
        return Extracted("", "none", f"an answer of more than {MAX_ANSWER} characters")
    return found._replace(answer=answer)


def _boxed(text: str) -> Extracted | None:
    """The content of the last box, by counting braces; None where there is no box."""
    starts = [match.end() for match in _BOX.finditer(text)]
    if not starts:
        return None
    depth, start = 1, starts[-1]
    end = min(len(text), start + MAX_ANSWER + 1)
    for at in range(start, end):
        escaped = text[at - 1] == "\\" and text[at - 2] != "\\"
        if text[at] in "{}" and not escaped:
            depth += 1 if text[at] == "{" else -1
            if depth == 0:
                return Extracted(text[start:at], "boxed")
    too_long = f"an answer of more than {MAX_ANSWER} characters"
    return Extracted("", "none", "a box that does not close" if end == len(text) else too_long)


def integer(answer: str) -> int | None:
    """The integer an answer is, with or without thousands commas; None for anything else.

    >>> integer("1,234"), integer("-07"), integer("$18.00"), integer("1,23")
    (1234, -7, 18, None)
    """
    match = re.fullmatch(
        r"\\?\$?([-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,30}))(?:\.0{1,9})?\.?\$?", answer.strip(), re.ASCII
    )
    return int(match[1].replace(",", "")) if match else None
