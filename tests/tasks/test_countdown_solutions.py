"""Listing every solution without brackets."""

from __future__ import annotations

import itertools
import time

import pytest

from offleash.core import InputError
from offleash.tasks import HasSolutions, get
from offleash.tasks.countdown_solutions import flat_solutions
from offleash.tasks.verifiers.arithmetic import ExpressionError, parse


def by_trying(numbers: tuple[int, ...], target: int) -> list[str]:
    found = set()
    for order in itertools.permutations(numbers):
        for operators in itertools.product("+-*/", repeat=len(numbers) - 1):
            text = str(order[0]) + "".join(f"{op}{x}" for op, x in zip(operators, order[1:], strict=True))
            try:
                if parse(text).value == target:
                    found.add(text)
            except ExpressionError:
                continue
    return sorted(found)


@pytest.mark.parametrize(
    ("numbers", "target"), [((2, 3), 6), ((1, 1, 5), 5), ((3, 5, 7, 12), 69), ((2, 4, 8, 16), 1), ((7, 7), 50)]
)
def test_the_list_is_that_of_trying_all(numbers: tuple[int, ...], target: int) -> None:
    assert flat_solutions(numbers, target) == by_trying(numbers, target)


def test_the_verifier_accepts_each_of_them() -> None:
    task = get("countdown")
    assert isinstance(task, HasSolutions)
    for i in range(3):
        problem = task.generate((i,), 5, "test")
        texts = task.solutions(problem)
        assert texts and all(task.verify(problem, text).correct for text in texts)


def test_too_many_numbers() -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="7 of them"):
        flat_solutions((1, 2, 3, 4, 5, 6, 7), 100)
    assert time.monotonic() - start < 1
