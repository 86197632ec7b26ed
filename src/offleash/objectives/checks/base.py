"""The table of checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from offleash.objectives.preset import Claims, Preset


@dataclass(frozen=True)
class Check:
    """One property: `run` raises AssertionError where it does not hold; `applies` says which claims it tests."""

    name: str
    says: str
    run: Callable[[Preset], None]
    applies: Callable[[Claims], bool]


CHECKS: dict[str, Check] = {}


def check(
    name: str, says: str, applies: Callable[[Claims], bool] = lambda claims: True
) -> Callable[[Callable[[Preset], None]], Callable[[Preset], None]]:
    """Register a check."""

    def decorate(run: Callable[[Preset], None]) -> Callable[[Preset], None]:
        CHECKS[name] = Check(name, says, run, applies)
        return run

    return decorate


def applicable(preset: Preset) -> list[str]:
    """Names of the checks a row must pass: the general ones, and those of its claims."""
    return [name for name, c in CHECKS.items() if c.applies(preset.claims)]


def hold(condition: bool, message: str) -> None:
    """Raise AssertionError with the message unless the condition holds (also under python -O)."""
    if not condition:
        raise AssertionError(message)


def close(what: str, actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    """Raise AssertionError unless two tensors agree within `tolerance` x (1 + the largest expected number)."""
    hold(actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}")
    if actual.numel() == 0:
        return
    gap = (actual - expected).abs().max().item()
    scale = 1.0 + expected.abs().max().item()
    hold(gap <= tolerance * scale, f"{what}: differs by {gap:.3g} from a scale of {scale:.3g}")
