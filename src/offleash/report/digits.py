"""Numbers as text, with the digits their uncertainty supports and no more."""

from __future__ import annotations

import math

UNDEFINED = "–"


def decimals(low: float, high: float, most: int = 4) -> int:
    """How many decimals a value with this interval deserves, by the Particle Data Group's rule.

    The half-width keeps two digits where they read 10 to 35 and one where they read more, so that rounding moves neither the
    value nor the interval by more than a small part of the interval.

    >>> decimals(0.10, 0.14), decimals(0.70, 0.84), decimals(0.7, 2.5)
    (3, 2, 1)
    """
    half = (high - low) / 2
    if not math.isfinite(half) or half <= 0:
        return 3
    exponent = math.floor(math.log10(half))
    leading = half / 10.0**exponent
    return max(0, min(most, -exponent + (1 if leading < 3.55 else 0)))


def number(value: float | None, low: float | None, high: float | None) -> str:
    """The value alone, rounded as its interval asks; a dash where it is undefined."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return _fixed(value, _places(low, high))


def band(value: float, low: float, high: float) -> tuple[str, str]:
    """A signed value and its interval, with as many digits as show on which side of zero the interval ends.

    >>> band(0.104, 0.0021, 0.206)
    ('+0.104', '+0.002 to +0.206')
    """
    places = decimals(low, high)
    while places < 4 and any(end and round(end, places) == 0 for end in (low, high)):
        places += 1
    return _fixed(value, places, True), f"{_fixed(low, places, True)} to {_fixed(high, places, True)}"


def interval(low: float | None, high: float | None) -> str:
    """The interval alone, its ends rounded as the value is; empty where it is undefined.

    >>> interval(0.1003, 0.1447), interval(-0.11, 0.14)
    ('0.100–0.145', '−0.11 to 0.14')
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    places = _places(low, high)
    joint = " to " if low < 0 else "–"
    return f"{_fixed(low, places)}{joint}{_fixed(high, places)}"


def plain(value: float | None, digits: int = 3) -> str:
    """A number without an interval, to so many significant digits.

    >>> plain(0.034217), plain(1234.5), plain(None)
    ('0.0342', '1,230', '–')
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(0, places)}f}"


def _places(low: float | None, high: float | None) -> int:
    return 3 if low is None or high is None else decimals(low, high)


def _fixed(value: float, places: int, signed: bool = False) -> str:
    text = f"{value:{'+' if signed else ''}.{places}f}"
    if float(text) == 0:
        text = f"{0:.{places}f}"
    return text.replace("-", "−")
