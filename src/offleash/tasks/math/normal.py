"""Answers as the verifiers read them: one way to write what can be written in several."""

from __future__ import annotations

import re
from functools import lru_cache

from offleash.tasks.math.dress import TEXT, undressed
from offleash.tasks.math.notation import numbers
from offleash.tasks.math.signs import closing, latex

_SCALES = {
    "dozen": "12", "hundred": "10^{2}", "thousand": "10^{3}", "million": "10^{6}", "mil": "10^{6}", "mn": "10^{6}",
    "billion": "10^{9}", "bn": "10^{9}", "trillion": "10^{12}",
}  # fmt: skip
_SCALE = re.compile(
    r"(?<=[0-9])(?:\\[,;:! ]|\s|~)*(\\(?:text|mbox|mathrm|textrm)\{(?:\\[,;: ]|\s|~)*)?"
    rf"({'|'.join(_SCALES)})s?(?![A-Za-z])"
)
_MIXED = re.compile(r"(?<![0-9A-Za-z.,/^_{}] )(?<![0-9A-Za-z.,/^_])([0-9]+)\s+([0-9]+)/([0-9]+)(?![0-9.])")
_SCIENTIFIC = re.compile(r"(?<![A-Za-z0-9.])([0-9]+(?:\.[0-9]+)?)[eE]([-+]?[0-9]{1,3})(?![0-9.])")
_END = re.compile(r"(?<!\\)[.,;]+\s*$")
_STATED = re.compile(r"^\s*\$?\s*(?:=|\\approx(?![a-zA-Z]))\s*(?!=)")
_FALL = re.compile(r"(>|\\geq?(?![a-zA-Z]))")
_RISE_OR_EQUAL = re.compile(r"[<=]|\\(?:leq?|lt|gt)(?![a-zA-Z])")
_NAMED = re.compile(r"^\s*\\(?:text|mbox|mathrm|textrm)\{[^{}=]*\}\s*=(?!=)")
_WORD = re.compile(r"(?<![\\A-Za-z])(sqrt|pi|infinity)(?![A-Za-z])")
_SIGNS = {"sqrt": "√", "pi": "π", "infinity": "∞"}
_TIMES_I = re.compile(r"(?<=[0-9)}])\s*(?:\\cdot|\\times|\*)\s*i(?![A-Za-z])")
"""Math-verify takes the i of `4 \\cdot i` for a letter, that of `4i` for the root of -1."""
_FRACTION = re.compile(r"\\(?:nicefrac|sfrac|cfrac)(?![a-zA-Z])")
_LIST_WORD = re.compile(rf"{TEXT}\{{\s*,\s*(?:and|or)\s*\}}")
_IN_BASE = re.compile(r"\(([0-9A-Z]+)\)(?=_)")
_NO_UNIT = (
    "hundred|thousand|million|mil|mn|billion|bn|trillion|dozen|percent|percentage|squared|cubed|factorial|mod|and|or|to|is|not|no"
    "|pi|sqrt|sin|cos|tan|log|exp|theta|alpha|beta|gamma|lambda|phi|over|times(?= )|plus|minus|infinity|half|third|quarter|abc|xyz"
)
_UNIT = re.compile(
    r"^(\\?\$?[-+]?(?:[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+| \\times (?:10\^\{[0-9]+\}|12))?|\\frac\{[0-9]+\}\{[0-9]+\}))(?:\\[,;: ]|\s)+"
    rf"(?!.*\b(?:{_NO_UNIT})\b)\(?(?:of )?(?:[mgLs](?=/)|cm|mm|km|kg|mg|ml|ft|in|lb|oz|hr|yd|mi|[A-Za-z]{{3,20}})(?: [A-Za-z]{{2,20}})?"
    r"(?:(?:/| per )[A-Za-z]{1,20})?\)?"
    r"(?:\^\{?[23]\}?)?$"
)
"""A number and one or two plain words: `18 dollars`. Words that change the number are none."""
_NO_SPACE = re.compile(r"((?<=[a-zA-Z]) (?=[a-zA-Z])|(?<=[0-9]) (?=\.?[0-9]))|\s+")
"""A space between letters may be a name's, and between a command and a letter it ends the command; `5 2` is no 52."""


def normal(answer: str) -> str:
    r"""An answer in one plain LaTeX: typeset signs, sizes in words, mixed numbers; without = before, a unit behind, braces around.

    >>> normal("½"), normal("= 42."), normal("3 1/2"), normal("3 million")
    ('\\frac{1}{2}', '42', '3\\frac{1}{2}', '3 \\times 10^{6}')
    >>> normal("2>x>1")
    '1 < x < 2'
    >>> normal(r"42 \text{ thousand dollars}")
    '42 \\times 10^{3} \\text{ dollars}'
    """
    answer = undressed(latex(_WORD.sub(lambda m: _SIGNS[m[1]], answer)))
    answer = _STATED.sub("", _NAMED.sub("", _unbraced(_END.sub("", answer))))
    answer = _LIST_WORD.sub(", ", answer).replace("~", " ").replace(r"\degree", r"^{\circ}")
    answer = numbers(_IN_BASE.sub(r"\1", _TIMES_I.sub("i", _FRACTION.sub(r"\\frac", answer))))
    answer = _MIXED.sub(r"\1\\frac{\2}{\3}", answer)
    answer = _SCALE.sub(lambda m: rf" \times {_SCALES[m[2]]} " + (m[1] or "").rstrip(), answer)
    return _rising(scientific(_UNIT.sub(r"\1", answer.strip())))


@lru_cache(maxsize=16_384)
def plain(answer: str) -> str:
    r"""An answer without what does not change its meaning: spaces, dollars, \left and \right, the size of a fraction.

    >>> plain(r"$\left( 3, \dfrac{\pi}{2} \right)$.")
    '(3,\\frac{\\pi}{2})'
    """
    answer = normal(answer).strip().rstrip(".")
    answer = re.sub(r"(?<!\\)\\[()]|\\?\$", "", answer)
    answer = re.sub(r"\\(?:left|right|bigl?|bigr?|Bigl?|Bigr?)(?![a-zA-Z])", "", answer)
    answer = re.sub(r"\\[dt]frac(?![a-zA-Z])", r"\\frac", answer)
    answer = re.sub(r"(?<=[0-9])(?:\\[,;: ]|\s)+(?=\.?[0-9])", " ", answer)
    answer = re.sub(r"\s+", " ", re.sub(r"(?<!\\)\\[!,;: ]", "", answer))
    return _NO_SPACE.sub(lambda m: m[1] or "", answer)


def _unbraced(answer: str) -> str:
    """Without braces around the whole, which templates leave: {{42}}."""
    answer = answer.strip()
    while answer[:1] == "{" and answer[-1:] == "}" and closing(answer, 0) == len(answer):
        answer = answer[1:-1].strip()
    return answer


def _rising(answer: str) -> str:
    """A chain like 2 > x > 1 as 1 < x < 2; math-verify compares the links in their order."""
    pieces = _FALL.split(answer)
    if len(pieces) != 5 or _RISE_OR_EQUAL.search(answer):
        return answer
    high, first, middle, second, low = pieces
    turned = ["<" if sign == ">" else r"\le" for sign in (second, first)]
    return f"{low.strip()} {turned[0]} {middle.strip()} {turned[1]} {high.strip()}"


def scientific(answer: str) -> str:
    r"""An answer whose numbers like 4.5e33 are powers of ten: in LaTeX that e would be Euler's.

    >>> scientific("4.5e33"), scientific("1E-3"), scientific("2e^3")
    ('4.5 \\times 10^{33}', '1 \\times 10^{-3}', '2e^3')
    """
    return _SCIENTIFIC.sub(lambda m: f"{m[1]} \\times 10^{{{m[2].lstrip('+')}}}", answer)
