"""Linear equations in one unknown.

    prompt  "solve 3x+17=x+771:"      direct   "377"
                                      steps    "2x+17=771;2x=754;x=377>377"
                                      formula  "(771-17)/(3-1)=377"

The unknown is drawn first, uniformly from 100 to 599, and an equation around it; so a blind guess is right one time in 500,
exactly.
"""

from __future__ import annotations

import re

import numpy as np

from offleash.core import Problem
from offleash.tasks.base import register
from offleash.tasks.families.family import Drawn, Format, Procedural, StepOf

LOW, HIGH = 100, 599
_NUMBER = r"(?:0|-?[1-9][0-9]{0,5})"
_STEP = r"[-+]?[0-9]{0,3}x(?:[-+][0-9]{1,6})?=[-+]?(?:[0-9]{0,3}x|[0-9]{1,6})(?:[-+][0-9]{1,6})?"
_ABOVE = rf"{_NUMBER}[-+][0-9]{{1,6}}"
_FORMULA = rf"(?:{_ABOVE}|\({_ABOVE}\)/(?:[0-9]{{1,3}}|\([0-9]{{1,3}}-[0-9]{{1,3}}\)))"
Sides = tuple[int, int, int, int, int]
"""(a, s, b, c, d) of a(x+s)+b = cx+d, with a > c and s = 0 for no bracket."""


def _linear(factor: int, constant: int) -> str:
    """`factor` x + `constant`, without what is 0."""
    unknown = "" if factor == 0 else "x" if factor == 1 else f"{factor}x"
    return f"{unknown}{constant:+d}" if unknown and constant else unknown or str(constant)


def _left(sides: Sides) -> str:
    a, s, b, _, _ = sides
    return _linear(a, b) if s == 0 else f"{a}(x{s:+d})" + (f"{b:+d}" if b else "")


def _sides(problem: Problem) -> Sides:
    a, s, b, c, d = problem.meta["sides"]
    return a, s, b, c, d


def _direct(problem: Problem, generator: np.random.Generator) -> str:
    return problem.answer


def _steps(problem: Problem, generator: np.random.Generator) -> str:
    return ";".join(EQUATIONS.operations(problem)) + ">" + problem.answer


def _formula(problem: Problem, generator: np.random.Generator) -> str:
    a, s, b, c, d = _sides(problem)
    above, below = f"{d}{-(b + a * s):+d}", f"({a}-{c})" if c else str(a)
    return f"{above}={problem.answer}" if a - c == 1 else f"({above})/{below}={problem.answer}"


class Equations(Procedural):
    """The family. x+b=c at level 1; the unknown on both sides at 2, with more to divide by at 3, and in a bracket at 4."""

    name = "equations"
    levels = (1, 2, 3, 4)
    main_level = 2
    about = "the unknown of a linear equation, from 100 to 599"
    formats = (
        Format("direct", 0.6, _direct, re.compile(rf"(?P<answer>{_NUMBER})")),
        Format("steps", 0.3, _steps, re.compile(rf"(?:{_STEP}[;>])+(?<=>)(?P<answer>{_NUMBER})")),
        Format("formula", 0.1, _formula, re.compile(rf"{_FORMULA}=(?P<answer>{_NUMBER})")),
    )

    def draw(self, level: int, generator: np.random.Generator) -> Drawn | None:
        """See `Procedural.draw`. The sides change places half of the time; the split does not see it."""
        x = int(generator.integers(LOW, HIGH + 1))
        d = 0
        while d <= 0:  # again around the same unknown: unknowns stay equally likely
            c = int(generator.integers(1, 8)) if level > 1 else 0
            a = c + (1 if level < 3 else int(generator.integers(2, 10 - c)))
            b = int(generator.integers(1, 20 if level < 3 else 100)) * (1 - 2 * int(generator.integers(2)))
            s = int(generator.integers(1, 100)) * (1 - 2 * int(generator.integers(2))) if level > 3 else 0
            # With nothing to subtract an operation would be missing: draw again.
            d = a * (x + s) + b - c * x if b + a * s else 0
        sides: Sides = (a, s, b, c, d)
        left, right = _left(sides), _linear(c, d)
        shown = f"{left}={right}" if generator.random() < 0.5 else f"{right}={left}"
        return Drawn(f"solve {shown}:", str(x), f"{left}={right}", {"sides": sides})

    def operations(self, problem: Problem) -> list[str]:
        """See `HasOperations.operations`: multiply out, collect the unknowns, subtract, divide; each as the equation it gives."""
        a, s, b, c, d = _sides(problem)
        n, constant = a - c, b + a * s
        expand = [f"{_linear(a, constant)}={_linear(c, d)}"] if s else []
        collect = [f"{_linear(n, constant)}={d}"] if c else []
        subtract = [f"{n}x={d - constant}"] if n > 1 else []
        return [*expand, *collect, *subtract, f"x={problem.answer}"]

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: every unknown from 100 to 599 is as likely."""
        return 1 / (HIGH - LOW + 1)

    def steps_of(self, problem: Problem, text: str) -> list[StepOf]:
        """See `Procedural.steps_of`; a formula is one step, which plans all and carries out the division."""
        if formula := re.match(rf"({_FORMULA})=({_NUMBER})", text):
            return [StepOf(0, formula.end(1), formula.end(), f"x={formula[2]}")]
        return super().steps_of(problem, text)


EQUATIONS = Equations()
register(EQUATIONS)
