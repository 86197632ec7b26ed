"""The second verifier, for audits: answers compared as numbers. It shares no code with math-verify, and knows less LaTeX.

It decides where both sides are numbers, expressions, or tuples, sets, intervals, matrices and equations of such, or words; where
it cannot read one it says None.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from offleash.tasks.math.latex_numbers import Unreadable, Values, evaluate
from offleash.tasks.math.normal import plain
from offleash.tasks.math.notation import readings

VERSION = "numeric-3"
EXACT, DECIMAL = 1e-9, 1e-6
"""Relative tolerances: of expressions, and where a side is written as a decimal."""
_UNITS = re.compile(r"\\(?:text|mbox|mathrm|textrm)\{([^{}]*)\}(?:\^(?:\{[0-9]+\}|[0-9]))?")
_RELATION = re.compile(r"(\\(?:leq?|geq?|neq?|in|lt|gt)(?![a-zA-Z])|[=<>])")
_NAMED = re.compile(r"(?:[A-Za-z]{1,2}|\\[a-z]+)(?:_\w|_\{\w+\})?(?:\([^=()]*\))?(?:=|\\in(?![a-z]))")
"""An equation that gives a name a value."""
_RENAMED = {r"\leq": r"\le", "<": r"\lt", r"\geq": r"\ge", ">": r"\gt", r"\neq": r"\ne"}
_TURNED = {r"\ge": r"\le", r"\gt": r"\lt"}
_MATRIX = re.compile(r"\\begin\{([pbvB]?)(?:matrix|array)\}(?:\{[clr|]*\})?(.*)\\end\{\1(?:matrix|array)\}", re.DOTALL)


class Group(NamedTuple):
    """Several parts in a bracket: `(`, `[`, `(]`, `{` (any order), `matrix`, `union` (any order), or a relation's name."""

    kind: str
    parts: tuple[Read, ...]


Read = Values | Group | str
"""An answer as it is compared: numbers, a group, or words."""


def judge(gold: str, answer: str) -> bool | None:
    """Whether an answer is the gold, both LaTeX without dollars; None where either cannot be read."""
    if plain(gold) == plain(answer):
        return True
    found = [_judge(*pair) for pair in readings(plain(gold), plain(answer))]
    return True if any(found) else None if None in found else False


def _judge(gold: str, answer: str) -> bool | None:
    try:
        tolerance = DECIMAL if re.search(r"\.[0-9]", gold + answer) else EXACT
        right, found = read(gold), read(answer)
        if _equations(right) and not _equations(found) and not _NAMED.match(plain(gold)):
            return False  # 2x + y = 0 is no 0
        return _equal(right, found, tolerance)
    except Unreadable:
        return None


def read(text: str, depth: int = 0) -> Read:
    """The structure of an answer; Unreadable where it has none that is known."""
    if depth > 8:
        raise Unreadable("nested too deeply")
    text = _cleaned(text) if depth == 0 else text.strip()
    if word := re.fullmatch(r"\(?([A-Za-z]{2,}(?: [A-Za-z]+)*|[A-Z])\)?", text):
        return word[1].casefold()
    if matrix := _MATRIX.fullmatch(text):
        rows = [row for row in re.split(r"\\\\", matrix[2]) if row.strip()]
        return Group("matrix", tuple(_group("row", row.split("&"), depth) for row in rows))
    if len(parts := _split(text, (r"\cup",))) > 1:
        return _group("union", parts, depth)
    if len(parts := _split(text, (",", ";"))) > 1:
        return _group("{", parts, depth)  # a list without brackets, in any order
    if len(pieces := _RELATION.split(text)) > 1:
        return _relation(pieces, depth)
    if text.startswith(r"\{") and text.endswith(r"\}"):
        return _group("{", _split(text[2:-2], (",",)), depth)
    if text and text[0] in "([" and text[-1] in ")]" and len(parts := _split(text[1:-1], (",",))) > 1:
        return _group(text[0] + text[-1], parts, depth)
    if r"\infty" in text:
        return text.replace("+", "")
    if r"\pm" in text:
        return Group("{", (read(text.replace(r"\pm", "+"), depth + 1), read(text.replace(r"\pm", "-"), depth + 1)))
    return evaluate(text)


def _cleaned(text: str) -> str:
    text = plain(text).replace(r"\{,\}", "").replace("{,}", "")
    text = re.sub(r"(?<=,)(?:and|or)(?![A-Za-z])|(?<=,)\\(?:text|mbox|mathrm|textrm)\{\s*(?:and|or)\s*\}", "", text)
    text = re.sub(r"\\(?:text|mbox|mathrm|textrm)\{\s*(?:and|or)\s*\}|(?<=[0-9)}])(?:and|or)(?![A-Za-z])", ",", text)
    text = re.sub(r"(?<![0-9])([0-9]{1,3})((?:,[0-9]{3})+)(?![0-9])", lambda m: m[1] + m[2].replace(",", ""), text)
    text = re.sub(r"\\?%|(?<=[0-9])percent(?:age)?|\\degree|\^\{?\\circ\}?", "", text)
    if words := _UNITS.fullmatch(text):
        return words[1].strip()
    if _UNITS.match(text):
        raise Unreadable("words before a number, which may change it")
    return _UNITS.sub("", text).strip()


def _group(kind: str, parts: list[str], depth: int) -> Group:
    return Group(kind, tuple(read(part, depth + 1) for part in parts))


def _relation(pieces: list[str], depth: int) -> Read:
    """a = b, or a chain; what is greater is turned around, so that x > 1 is 1 < x."""
    sides, names = pieces[::2], [_RENAMED.get(name, name) for name in pieces[1::2]]
    if len(set(names)) > 1 and set(names) != {r"\le", r"\lt"}:
        raise Unreadable("a chain of several relations")
    if names[0] in _TURNED:
        sides, names = sides[::-1], [_TURNED[name] for name in names[::-1]]
    return _group(" ".join(names), sides, depth)


def _split(text: str, separators: tuple[str, ...]) -> list[str]:
    """The parts between separators that stand in no bracket."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(text):
        hit = next((s for s in separators if text.startswith(s, at)), "") if depth == 0 else ""
        if hit:
            parts.append(text[start:at])
            start = at = at + len(hit)
            continue
        depth += (text[at] in "([{") - (text[at] in ")]}")
        at += 1
    return [*parts, text[start:]]


def _equal(gold: Read, answer: Read, tolerance: float) -> bool:
    """Two equations by what they say; of an equation on one side only, what stands on its right."""
    first, second = _difference(gold), _difference(answer)
    if first and second:
        ratios = [a / b if b else complex(a == b) for a, b in zip(first, second, strict=True)]
        return ratios[0] != 0 and all(abs(r - ratios[0]) <= tolerance * abs(ratios[0]) for r in ratios)
    if not _equations(gold):
        answer = _bare(answer)
    elif not _equations(answer):
        gold = _bare(gold)
    return _same(gold, answer, tolerance)


def _difference(found: Read) -> Values | None:
    """Of an equation left minus right, at each point."""
    if isinstance(found, Group) and found.kind == "=" and len(found.parts) == 2:
        left, right = found.parts
        if not isinstance(left, Group | str) and not isinstance(right, Group | str):
            return tuple(a - b for a, b in zip(left, right, strict=True))
    return None


def _equations(found: Read) -> bool:
    return isinstance(found, Group) and (_named(found) or (found.kind == "{" and any(map(_equations, found.parts))))


def _named(found: Group) -> bool:
    return set(found.kind.split()) in ({"="}, {r"\in"})


def _bare(found: Read) -> Read:
    """Of x = 3 and x = y = 3 the 3, and of a list of such their numbers."""
    if not isinstance(found, Group):
        return found
    if _named(found):
        return found.parts[-1]
    return Group("{", tuple(map(_bare, found.parts))) if found.kind == "{" else found


def _same(gold: Read, answer: Read, tolerance: float) -> bool:
    if isinstance(gold, Group) and isinstance(answer, Group):
        if gold.kind != answer.kind or len(gold.parts) != len(answer.parts):
            return False
        if gold.kind not in ("{", "union"):
            return all(_same(a, b, tolerance) for a, b in zip(gold.parts, answer.parts, strict=True))
        left = list(answer.parts)
        for part in gold.parts:
            hit = next((i for i, other in enumerate(left) if _same(part, other, tolerance)), None)
            if hit is None:
                return False
            left.pop(hit)
        return True
    if isinstance(gold, str) and isinstance(answer, str):
        if len(gold) <= 3 and gold != answer and sorted(gold) == sorted(answer):
            raise Unreadable("letters that may be a word or a product")
        return gold == answer
    if isinstance(gold, str) or isinstance(answer, str) or isinstance(gold, Group) or isinstance(answer, Group):
        return gold == answer
    return all(abs(a - b) <= tolerance * max(abs(a), abs(b), 1e-6) for a, b in zip(gold, answer, strict=True))
