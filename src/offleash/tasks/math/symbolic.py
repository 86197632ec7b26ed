"""The verifier: math-verify's parse and verify. Runs in a worker (`isolation`), so its own timeouts are off.

Those timeouts are alarms: in a thread they raise, and a loop in C code does not see them. `verify(gold, answer)` is not
symmetric: an answer x = 3 is right where the gold is 3 and where it is x = 3, but which side is cut to its right-hand side
depends on which is the gold.
"""

from __future__ import annotations

import importlib.metadata
import logging
from functools import cache, lru_cache
from typing import Any

from offleash.tasks.math.normal import normal
from offleash.tasks.math.notation import readings

MAX_CANONICAL = 200


@cache
def version() -> str:
    """Of the verifier, with the packages that its verdicts depend on."""
    packages = ("math-verify", "latex2sympy2_extended", "sympy")
    return "+".join(["math-3", *(f"{name}-{importlib.metadata.version(name)}" for name in packages)])


def judge(gold: str, answer: str) -> tuple[bool, str]:
    """Whether an answer is the gold, and the canonical form of what it is; both are LaTeX without dollars. Called in a worker."""
    from math_verify import verify

    # The gold first.
    if any(verify(_parse(a), _parse(b), timeout_seconds=None) for a, b in readings(normal(gold), normal(answer))):
        return True, gold
    try:
        return False, canonical(answer)
    except Exception:  # noqa: BLE001 - it is decided; only its name is not
        return False, answer[:MAX_CANONICAL]


def readable(gold: str) -> bool:
    """Whether a gold parses as mathematics and is accepted against itself. Called in a worker."""
    from math_verify import verify

    parsed = _parse(gold)
    # What does not parse stays as text; a gold that is text alone would be compared letter by letter.
    return any(not isinstance(part, str) for part in parsed) and verify(parsed, _parse(gold), timeout_seconds=None)


def canonical(answer: str) -> str:
    """A form that answers of one meaning share: exact for numbers, else as sympy orders the expression."""
    import sympy  # type: ignore[import-untyped]

    parsed = [part for part in _parse(answer) if not isinstance(part, str)]
    if not parsed:
        return answer[:MAX_CANONICAL]
    found: Any = parsed[0]
    if isinstance(found, sympy.Eq) and found.lhs.is_Symbol:
        found = found.rhs
    if isinstance(found, sympy.Float):
        found = sympy.Rational(str(found))
    if getattr(found, "is_number", False) and not found.is_Rational:
        found = found.evalf(12)
    return str(found)[:MAX_CANONICAL]


@lru_cache(maxsize=4096)
def _parse(answer: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # says at every call that its timeouts are off
    # No ExprExtractionConfig: it would look for a number in what is no LaTeX, and find the 42 of `> 42`.
    targets = (LatexExtractionConfig(boxed_match_priority=0),)
    return list(parse("\\boxed{" + normal(answer) + "}", targets, parsing_timeout=None))
