"""Every text without brackets that solves a countdown problem."""

from __future__ import annotations

import itertools
import math

import numpy as np

from offleash.core import InputError
from offleash.tasks.verifiers.arithmetic import ExpressionError, parse

LARGEST = 6
"""Numbers whose expressions are enumerated: six give 720 x 1,024 of them, seven 5,040 x 4,096."""


def flat_solutions(numbers: tuple[int, ...], target: int) -> list[str]:
    """The distinct texts `a op b op c ...` over all the numbers whose exact value is the target, in order.

    Raises:
        InputError: more than LARGEST numbers.
    """
    size = len(numbers)
    if size > LARGEST:
        raise InputError(f"numbers: {size} of them; expressions are enumerated for at most {LARGEST}")
    order_MN = np.array(sorted(set(itertools.permutations(numbers))), dtype=np.float64)
    operators = list(itertools.product("+-*/", repeat=size - 1))
    found = []
    for chosen in operators:
        value_M = _values(order_MN, chosen)
        # Floating point only sifts; what is kept is decided in rationals.
        for row in np.flatnonzero(np.abs(value_M - target) < 1e-6 * max(1.0, abs(target))):
            text = str(int(order_MN[row, 0])) + "".join(
                f"{op}{int(x)}" for op, x in zip(chosen, order_MN[row, 1:], strict=True)
            )
            if _exactly(text, target):
                found.append(text)
    return sorted(set(found))


def _values(order_MN: np.ndarray, operators: tuple[str, ...]) -> np.ndarray:
    """Values of `a op b op ...` with * and / before + and -, for each order of the numbers."""
    total_M, term_M = np.zeros(len(order_MN)), order_MN[:, 0].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        for i, operator in enumerate(operators, start=1):
            if operator == "*":
                term_M = term_M * order_MN[:, i]
            elif operator == "/":
                term_M = term_M / order_MN[:, i]
            else:
                total_M = total_M + term_M
                term_M = order_MN[:, i] if operator == "+" else -order_MN[:, i]
    return np.nan_to_num(total_M + term_M, nan=math.inf, posinf=math.inf, neginf=math.inf)


def _exactly(text: str, target: int) -> bool:
    try:
        return parse(text).value == target
    except ExpressionError:
        return False
