r"""What an answer wears: colours, fonts, `The answer is`, a currency before, an ordinal's ending; and letters in \text."""

from __future__ import annotations

import re

TEXT = r"\\(?:text|mbox|mathrm|textrm)"
_INSIDE = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"
_WRAPPED = re.compile(
    r"\\(textbf|textit|texttt|textsf|emph|mathbf|mathsf|mathtt|mathit|boldsymbol|bm|underline|textcolor\s*\{[^{}]*\})\s*"
    + _INSIDE
)
_SWITCH = re.compile(
    r"\\(?:color\s*\{[^{}]*\}|(?:bf|bfseries|boldmath|rm|it|itshape|sf|tt|tiny|small|normalsize|large|Large|LARGE|huge|Huge"
    r"|displaystyle|textstyle)(?![a-zA-Z]))\s*"
)
_SPACE = re.compile(r"\\(?:q?quad|(?:thin|en|med|thick)space)(?![a-zA-Z])")
_LETTER = re.compile(r"\\(text|mbox|mathrm|textrm|operatorname|mathnormal)\s*\{\s*(?:([a-zA-Z])|(\\(?:infty|pi)))\s*\}")
UNITS = "msgLlKNJWVAhFC"
"""Letters that are units behind a number: `9.8\\text{ m}`. Any other is a letter, `4\\mathrm{i}` above all."""
_SIGN = re.compile(rf"(?:{TEXT}|(?<![\^_A-Za-z}}\]]))\{{\s*([-+])\s*\}}")
_SAID = r"(?:the )?(?:final |correct )?answer\s*(?:is\s*:?|:|=)"
_CURRENCY = r"(?:USD|EUR|GBP|CAD|AUD|INR|US\\?\$|Rs\.?)"
_BEFORE = re.compile(
    rf"^\s*(?:{TEXT}\{{\s*{_SAID}\s*\}}|{_SAID})\s*|^\s*(?:{TEXT}\{{\s*{_CURRENCY}\s*\}}|{_CURRENCY})\s*(?=[-+.0-9\\])",
    re.IGNORECASE,
)
_ORDINAL = re.compile(rf"^(\s*[0-9][0-9,]*)(?:\^?\{{?\s*{TEXT}\{{\s*)?(?:st|nd|rd|th)\}}{{0,2}}\s*$")
_FULL_STOP = re.compile(rf"({TEXT}\{{[^{{}}]*[^{{}}.])\.\s*\}}\s*$")


def undressed(answer: str) -> str:
    r"""An answer without its dress.

    >>> undressed(r"\textcolor{red}{42}"), undressed(r"{-}3"), undressed(r"\text{Answer: }42"), undressed("42nd")
    ('42', '-3', '42', '42')
    >>> undressed(r"3+4\mathrm{i}"), undressed(r"5\text{ m}")
    ('3+4 i', '5\\text{ m}')
    """
    for _ in range(3):  # one in the other
        answer = _WRAPPED.sub(_inside, answer)
    answer = _LETTER.sub(_letter, _SWITCH.sub("", _SPACE.sub(" ", answer)))
    answer = _BEFORE.sub("", _SIGN.sub(r"\1", answer))
    return _FULL_STOP.sub(r"\1}", _ORDINAL.sub(r"\1", answer))


def _inside(match: re.Match[str]) -> str:
    r"""What a command is around; words stay text, so that `42\emph{ cm}` keeps its unit."""
    words = re.fullmatch(r"[A-Za-z. ]{2,}", match[2]) and match[1].startswith(("text", "emph"))
    return f"\\text{{{match[2]}}}" if words else match[2]


def _letter(match: re.Match[str]) -> str:
    unit = match[1] in ("text", "mbox", "mathrm", "textrm") and match[2] and match[2] in UNITS
    if unit and re.search(r"(?:[0-9)}]|\\circ)(?:\\[,;: ]|[\s~])*$", match.string[: match.start()]):
        return match[0]
    return f" {match[2] or match[3]}"
