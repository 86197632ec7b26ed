r"""What would take a verifier seconds: towers of powers, deep nesting, sums to a million. Refused unread, by cheap looks at the text.

The golds of GSM8K and MATH-500 have at most 53 characters, brackets two deep, and powers up to 8. A bound does not hold where
the gold itself is beyond one: there the time limit decides, as it does for what these looks do not see.
"""

from __future__ import annotations

import re

from offleash.tasks.math.latex_numbers import Unreadable, evaluate

MAX_LENGTH = 250
MAX_DEPTH = 6
MAX_EXPONENT = 10_000
MAX_EXPANDED = 20
"""The power of a sum with letters: (x+y+z)^20 has 231 terms."""
MAX_FACTORIAL = 1000
MAX_CHOOSE = 10_000
MAX_TERMS = 1000
MAX_BARS = 12
_NAME = r"\\(?:(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|ln|log|exp|sqrt)(?![a-zA-Z])"
_NESTED = re.compile(rf"{_NAME}[({{]*" * 2 + _NAME)
_GROWS = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]|[\^!]")
_UNKNOWN = re.compile(r"(?<![\\a-zA-Z])[a-df-hj-zA-Z]")
_LONG = re.compile(r"[0-9]{2,}")
_UNFINISHED = re.compile(r"\\(?:i*int|oint|lim)(?![a-zA-Z])")


def beyond(text: str) -> str:
    r"""Why a text is not read, or "".

    Args:
        text: an answer as `extract.plain` gives it.

    >>> beyond("9^{9^{9}}"), beyond(r"2^{10}")
    ('an exponent above 10000', '')
    """
    if len(text) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} characters"
    if _depth(text) > MAX_DEPTH or text.count("|") > MAX_BARS:
        return f"brackets more than {MAX_DEPTH} deep"
    if re.search(r"[-+]{3}", text):
        return "signs in a row"
    if _NESTED.search(text):
        return "functions of functions of functions"
    if _UNFINISHED.search(text):
        return "an integral or a limit that is not worked out"
    return _numbers(text)


def _depth(text: str) -> int:
    depth = deepest = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _numbers(text: str) -> str:
    for match in re.finditer(r"\^", text):
        end, exponent = _argument(text, match.end())
        if text[end : end + 1] == "^":
            return "a power of a power without braces"
        if _above(exponent, MAX_EXPONENT):
            return f"an exponent above {MAX_EXPONENT}"
        base = text[_opening(text, match.start()) : match.start()]
        if base[-1:] in (")", "]", "}") and _GROWS.search(base) and _above(exponent, MAX_EXPANDED):
            return f"a sum or power to a power above {MAX_EXPANDED}"
    for match in re.finditer("!", text):
        if _above(text[_opening(text, match.start()) : match.start()], MAX_FACTORIAL):
            return f"a factorial above {MAX_FACTORIAL}"
    for match in re.finditer(r"\\[dt]?binom(?![a-zA-Z])", text):
        if _above(_argument(text, match.end())[1], MAX_CHOOSE):
            return f"a binomial above {MAX_CHOOSE}"
    if re.search(r"\\(?:sum|prod)(?![a-zA-Z])", text) and any(int(n) > MAX_TERMS for n in _LONG.findall(text)):
        return f"a sum or product to more than {MAX_TERMS}"
    return ""


def _above(text: str, limit: int) -> bool:
    """Whether a number is above a limit; what has letters is not, what is a number and cannot be had is."""
    if _UNKNOWN.search(text):
        return False
    try:
        return any(abs(value) > limit for value in evaluate(text))
    except Unreadable:
        return bool(_LONG.search(text) or re.search(r"[\^!]", text))


def _argument(text: str, start: int) -> tuple[int, str]:
    """What stands behind a power or a binomial, and where it ends: a group, a command, or the digits."""
    match = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\\[a-zA-Z]+|.)?", re.DOTALL).match(text, start)
    end = match.end() if match else start
    if text[start : start + 1] in "{([" and start < len(text):
        depth = 0
        for end in range(start + 1, len(text) + 1):
            depth += (text[end - 1] in "([{") - (text[end - 1] in ")]}")
            if depth == 0:
                break
    return end, text[start:end]


def _opening(text: str, end: int) -> int:
    """Where the operand begins that ends before `end`: a number, a sign, or a bracket."""
    if text[:end][-1:] not in (")", "]", "}"):
        digits = re.search(r"(?:[0-9.]+|.?)$", text[:end], re.DOTALL)
        return digits.start() if digits else end
    depth = 0
    for at in range(end - 1, -1, -1):
        depth += (text[at] in ")]}") - (text[at] in "([{")
        if depth == 0:
            return at
    return 0
