"""Errors a user can act on. The command line prints them as one line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OffleashError(Exception):
    """The run failed for a reason worth one clear line (exit code 1)."""


class InputError(OffleashError):
    """What the user gave cannot be used: names the field and the mend (exit code 2)."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An InputError for a misspelt name that proposes the closest known one, whatever its case.

    >>> print(unknown_name("objective", "GROPO", ["grpo", "nsr"]))
    unknown objective 'GROPO'; did you mean 'grpo'? (known: grpo, nsr)
    """
    options = sorted(known)
    lowered = {option.lower(): option for option in options}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    hint = f"; did you mean {lowered[close[0]]!r}?" if close else ""
    return InputError(f"unknown {kind} {name!r}{hint} (known: {', '.join(options)})")
