"""LaTeX expressions as numbers: parsed here and evaluated at three fixed points, without sympy, to a bounded depth.

Variables stand for fixed irrational numbers, so expressions of one meaning have the same three values.
"""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Callable

from offleash.core import rng

POINTS = 3
MAX_DEPTH = 40
Values = tuple[complex, ...]
"""An expression's value at each point."""

_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|[a-zA-Z]|[-+*/^_!(){}\[\]|]")
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    r"\sin": cmath.sin, r"\cos": cmath.cos, r"\tan": cmath.tan, r"\ln": cmath.log, r"\exp": cmath.exp,
    r"\cot": lambda x: 1 / cmath.tan(x), r"\sec": lambda x: 1 / cmath.cos(x), r"\csc": lambda x: 1 / cmath.sin(x),
    r"\arcsin": cmath.asin, r"\arccos": cmath.acos, r"\arctan": cmath.atan, r"\log": cmath.log10,
}  # fmt: skip
_CONSTANTS = {r"\pi": math.pi, "e": math.e, "i": 1j}
_TIMES = {"*", r"\cdot", r"\times"}
_OVER = {"/", r"\div"}
_CLOSE = {"(": ")", "[": "]", "{": "}", "|": "|"}
_FRACTION = {r"\frac", r"\dfrac", r"\tfrac"}


class Unreadable(ValueError):
    """The text is not an expression this parser knows."""


def evaluate(text: str) -> Values:
    """The values of an expression at the points; Unreadable where it is none, or has no finite value."""
    parser = _Parser(text)
    try:
        value = parser.sum(0)
    except (ZeroDivisionError, OverflowError, ValueError) as error:
        raise Unreadable(str(error)) from error
    if parser.at != len(parser.tokens):
        raise Unreadable(f"{parser.tokens[parser.at]!r} is left over")
    if not all(cmath.isfinite(v) for v in value):
        raise Unreadable("no finite value")
    return value


class _Parser:
    """Recursive descent; every descent counts its depth."""

    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)
        self.at = 0
        if sum(map(len, self.tokens)) != len(re.sub(r"\s", "", text)):
            raise Unreadable("a character that is no mathematics")

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise Unreadable(f"{expected or 'something'} is missing")
        self.at += 1
        return token

    def sum(self, depth: int) -> Values:
        if depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH}")
        sign = -1.0 if self.peek() == "-" else 1.0
        if self.peek() in ("-", "+"):
            self.take()
        total = _each(lambda a: sign * a, self.product(depth))
        while self.peek() in ("+", "-"):
            sign = 1.0 if self.take() == "+" else -1.0
            total = _each(lambda a, b, s=sign: a + s * b, total, self.product(depth))
        return total

    def product(self, depth: int) -> Values:
        value = self.power(depth)
        while token := self.peek():
            if token in _TIMES:
                self.take()
                value = _each(lambda a, b: a * b, value, self.signed(depth))
            elif token in _OVER:
                self.take()
                value = _each(lambda a, b: a / b, value, self.signed(depth))
            elif token in ("+", "-", ")", "]", "}", "|") or token in (r"\}", r"\)"):
                break
            else:
                value = _each(lambda a, b: a * b, value, self.power(depth))
        return value

    def signed(self, depth: int) -> Values:
        """A factor that may have a sign, after an operator: 2*-3."""
        if self.peek() != "-":
            return self.power(depth)
        self.take()
        return _each(lambda a: -a, self.power(depth))

    def power(self, depth: int) -> Values:
        value = self.atom(depth)
        while self.peek() in ("^", "!"):
            if self.take() == "!":
                value = _each(lambda a: _factorial(a), value)
            elif self.peek() != "{" or self.tokens[self.at : self.at + 3] != ["{", r"\circ", "}"]:
                if self.peek() == r"\circ":
                    self.take()
                else:
                    value = _each(lambda a, b: a**b, value, self.argument(depth))
            else:
                self.at += 3
        return value

    def argument(self, depth: int) -> Values:
        """What stands after a power, a fraction or a root: a group, or one token (of a number, its first digit)."""
        token = self.peek()
        if token.isdigit() and len(token) > 1:
            self.tokens[self.at : self.at + 1] = [token[0], token[1:]]
        if token == "-":
            self.take()
            return _each(lambda a: -a, self.argument(depth + 1))
        return self.atom(depth + 1)

    def atom(self, depth: int) -> Values:
        if depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH}")
        token = self.take()
        if token in _CLOSE:
            value = self.sum(depth + 1)
            self.take(_CLOSE[token])
            return _each(lambda a: complex(abs(a)), value) if token == "|" else value
        if token[0].isdigit() or token[0] == ".":
            return self.number(token, depth)
        if token in _FRACTION:
            return _each(lambda a, b: a / b, self.argument(depth), self.argument(depth))
        if token == r"\sqrt":
            return self.root(depth)
        if token == r"\binom":
            return _each(_choose, self.argument(depth), self.argument(depth))
        if token in _FUNCTIONS:
            return self.function(token, depth)
        if token in _CONSTANTS:
            return (complex(_CONSTANTS[token]),) * POINTS
        if re.fullmatch(r"[a-zA-Z]|\\(?:alpha|beta|gamma|theta|phi|lambda|omega|sigma|mu)", token):
            return self.variable(token)
        raise Unreadable(f"{token!r} is unknown")

    def number(self, token: str, depth: int) -> Values:
        if self.peek() == "_":  # digits in another base
            self.take()
            base = self.argument(depth)[0]
            if not token.isdigit() or base.imag or not 2 <= base.real <= 36:
                raise Unreadable("a subscript that is no base")
            return (complex(int(token, int(base.real))),) * POINTS
        whole = (complex(float(token)),) * POINTS
        if token.isdigit() and self.peek() in _FRACTION and self.tokens[self.at + 1 : self.at + 2] != ["("]:
            mark = self.at
            part = self.power(depth + 1)
            digits = [t for t in self.tokens[mark + 1 : self.at] if t not in "{}"]
            if len(digits) == 2 and all(t.isdigit() for t in digits):  # 3 1/2 is a mixed number, not a product
                return _each(lambda a, b: a + b, whole, part)
            self.at = mark
        return whole

    def root(self, depth: int) -> Values:
        order = (complex(2.0),) * POINTS
        if self.peek() == "[":
            self.take()
            order = self.sum(depth + 1)
            self.take("]")
        return _each(_root, self.argument(depth), order)

    def function(self, token: str, depth: int) -> Values:
        base = power = None
        while self.peek() in ("^", "_"):
            if self.take() == "^":
                power = self.argument(depth)
            else:
                base = self.argument(depth)
        value = _each(_FUNCTIONS[token], self.power(depth + 1))
        if base:
            value = _each(lambda a, b: a / cmath.log10(b), value, base)
        return _each(lambda a, b: a**b, value, power) if power else value

    def variable(self, token: str) -> Values:
        if self.peek() == "_":
            self.take()
            start = self.at
            self.argument(0)
            token += "".join(self.tokens[start : self.at]).strip("{}")  # x_1 is x_{1}
        return tuple(complex(0.5 + 2 * rng.fraction("variable", token, point)) for point in range(POINTS))


def _each(function: Callable[..., complex], *operands: Values) -> Values:
    return tuple(complex(function(*values)) for values in zip(*operands, strict=True))


def _factorial(value: complex) -> complex:
    if value.imag or value.real != int(value.real) or not 0 <= value.real <= 170:
        raise Unreadable("a factorial of what is no small integer")
    return complex(math.factorial(int(value.real)))


def _choose(n: complex, k: complex) -> complex:
    if n.imag or k.imag or n.real != int(n.real) or k.real != int(k.real) or not 0 <= k.real <= n.real <= 1000:
        raise Unreadable("a binomial of what are no small integers")
    return complex(math.comb(int(n.real), int(k.real)))


def _root(value: complex, order: complex) -> complex:
    if value.imag == 0 and value.real < 0 and order.imag == 0 and order.real % 2 == 1:
        return -((-value) ** (1 / order))
    return value ** (1 / order)
