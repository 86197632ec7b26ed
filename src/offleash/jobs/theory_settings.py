"""What the settings of a study may be, and what `--help` says of them."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from offleash.core import InputError
from offleash.theory import STUDIES, load

COUNTS = ("steps", "seeds", "patience", "coarse_seeds")
SHARES = ("rarest", "good", "luck")
POSITIVE = ("rate", "rates", "betas")
DISTRIBUTIONS = ("start", "base", "prior", "hard", "easy")
THREE = ("hard", "easy")
"""Solve, guess and other."""


def check(settings: Any) -> None:
    """Refuse what no study can use.

    Raises:
        InputError: names the field, its value and what to give.
    """
    for f in fields(settings):
        value = getattr(settings, f.name)
        several = value if isinstance(value, tuple) else (value,)
        if not several:
            raise InputError(
                f"{f.name}: is empty; give at least one number, such as {f.name}=[{_example(settings, f)}]"
            )
        if f.name in COUNTS and value < 1:
            raise InputError(f"{f.name}: is {value}; give a whole number of at least 1")
        if f.name in ("group", "groups") and min(several) < 2:
            raise InputError(f"{f.name}: is {value}; groups need at least 2 rollouts")
        if f.name in POSITIVE and not min(several) > 0:
            raise InputError(f"{f.name}: is {value}; give numbers above 0")
        if f.name in SHARES and not 0 < value < 1:
            raise InputError(f"{f.name}: is {value}; give a number between 0 and 1")
        if f.name == "accuracy" and not all(0 < x < 1 for x in several):
            raise InputError(f"accuracy: is {value}; give numbers between 0 and 1")
        if f.name in THREE and len(several) != 3:
            raise InputError(f"{f.name}: {len(several)} numbers; give three: the shares of solve, guess and other")
        if f.name in DISTRIBUTIONS and (min(several) <= 0 or abs(sum(several) - 1) > 1e-9):
            raise InputError(
                f"{f.name}: is {value}; give probabilities above 0 that sum to 1 (these sum to {sum(several):g})"
            )
    if hasattr(settings, "right") and not 0 < settings.right < settings.answers:
        raise InputError(
            f"right: is {settings.right} of {settings.answers} answers; at least one right and one wrong one"
        )
    if hasattr(settings, "vocab") and settings.vocab < 3:
        raise InputError(f"vocab: is {settings.vocab}; give at least 3 answers")


def _example(settings: Any, field: Any) -> str:
    return ", ".join(f"{x:g}" for x in field.default)


def short_of(settings: Any) -> dict[str, int]:
    """The counts of the study's defaults that these settings stay below; what failed then was not tried in full."""
    default = type(settings)()
    return {
        f.name: getattr(default, f.name)
        for f in fields(settings)
        if f.name in COUNTS and getattr(settings, f.name) < getattr(default, f.name)
    }


def describe(name: str) -> str:
    """The settings of a study with their defaults, a line each."""
    made = load(name).Settings
    said = dict(re.findall(r"^\s{8}(\w+): (.+)$", made.__doc__ or "", re.MULTILINE))
    width = max(len(f.name) for f in fields(made))
    lines = [
        f"  {f.name.ljust(width)}  {said.get(f.name, '').rstrip('.')} (default {_plain(f.default)})"
        for f in fields(made)
    ]
    return "\n".join([f"{name}: {STUDIES[name]}", *lines])


def _plain(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
