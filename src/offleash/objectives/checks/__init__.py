"""What every objective must hold, as functions of a preset: a row added by a user inherits them all.

    for name in applicable(preset):
        CHECKS[name].run(preset)        # raises AssertionError that says what does not hold

Checks compare in float64 on small random batches made by `example`. Closed-form values are in the tests, not here:
they are written down a second time, in plain Python.
"""

from offleash.objectives.checks import claimed, expectation, invariance, robustness  # noqa: F401  (registers them)
from offleash.objectives.checks.base import CHECKS, Check, applicable
from offleash.objectives.checks.example import Example, example, gradient

__all__ = ["CHECKS", "Check", "Example", "applicable", "example", "gradient"]
