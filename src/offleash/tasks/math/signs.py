"""Typeset signs as LaTeX: ½, √2, x², 90°, π. Letters of other alphabets that look like ours, and other digits, stay as they are."""

from __future__ import annotations

import re

_PLAIN = {
    "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "λ": r"\lambda ", "φ": r"\phi ",
    "ω": r"\omega ", "σ": r"\sigma ", "μ": r"\mu ", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ",
    "±": r"\pm ", "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∞": r"\infty ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "°": r"^{\circ}", "⁄": "/",
    "\u2212": "-", "–": "-", "€": r"\$", "£": r"\$", "¥": r"\$", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
}  # fmt: skip
_FRACTIONS = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5), "⅘": (4, 5),
    "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
}  # fmt: skip
_TABLE = str.maketrans(_PLAIN | {sign: f"\\frac{{{a}}}{{{b}}}" for sign, (a, b) in _FRACTIONS.items()})
FRACTIONS, RAISED, LOWERED = "".join(_FRACTIONS), "⁰¹²³⁴⁵⁶⁷⁸⁹", "₀₁₂₃₄₅₆₇₈₉"
_DIGITS = str.maketrans(RAISED + LOWERED + "⁺⁻ⁿ", "0123456789" * 2 + "+-n")
_STACKED = re.compile(f"([{RAISED}]+)⁄([{LOWERED}]+)")
_RAISED = re.compile(f"[⁺⁻]?(?:[{RAISED}]+|ⁿ)")
_LOWERED = re.compile(f"[{LOWERED}]+")
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
MAX_ROOTS = 20
"""Root signs in a text with more are left as they are, which no verifier reads: the work grows with their square."""
_UNDER_ROOT = re.compile(r"[0-9]+(?:\.[0-9]+)?|\\[a-zA-Z]+|[a-zA-Z]")


def latex(text: str) -> str:
    r"""A text whose typeset signs are LaTeX; text of ASCII is returned as it is.

    >>> latex("½"), latex("2√3"), latex("x²−1"), latex("√(x+1)"), latex("٣")
    ('\\frac{1}{2}', '2\\sqrt{3}', 'x^{2}-1', '\\sqrt{x+1}', '٣')
    """
    if text.isascii():
        return text
    text = _STACKED.sub(lambda m: f"\\frac{{{m[1].translate(_DIGITS)}}}{{{m[2].translate(_DIGITS)}}}", text)
    text = _RAISED.sub(lambda m: f"^{{{m[0].translate(_DIGITS)}}}", text)
    text = _LOWERED.sub(lambda m: f"_{{{m[0].translate(_DIGITS)}}}", text)
    return _roots(text.translate(_TABLE))


def _roots(text: str) -> str:
    """With a root sign's operand in braces; from the last root to the first, so that roots under roots are done before."""
    if sum(map(text.count, _ROOTS)) > MAX_ROOTS:
        return text
    for at in range(len(text) - 1, -1, -1):
        if text[at] in _ROOTS:
            under = text[at + 1 :].lstrip()
            end = _operand(under)
            bracket = under[:end][:1] + under[:end][-1:] in ("()", "{}")
            inner = under[1 : end - 1] if bracket else under[:end]
            text = f"{text[:at]}{_ROOTS[text[at]]}{{{inner}}}{under[end:]}"
    return text


def _operand(text: str) -> int:
    """Where the first operand of a text ends: a number, a letter, a bracket, or a command with its arguments."""
    match = _UNDER_ROOT.match(text)
    end = match.end() if match else 0
    command = text.startswith("\\")
    while text[end : end + 1] in ("{", "[", "(") and (command or not match):
        end = closing(text, end)
        if not command:
            break
    return end


def closing(text: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`; the end of a text where none does."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] in "([{") - (text[at] in ")]}")
        if depth == 0:
            return at + 1
    return len(text)
