"""Numbers with plain words for a unit, and formulas that are copied from the question."""

from __future__ import annotations

import pytest

from offleash.core import Problem
from offleash.tasks.math.extract import Extracted
from offleash.tasks.math.task import _at_once, _form


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        ("18 dollars", True), ("18 new eggs", True), (r"\$18 dollars", True), (r"18\ dollars", True), ("17 dollars", False),
        ("18 or 19", None), ("18 thousand", None), ("18 apples and 3 pears", False), ("18 is not it", False),
        ("18 cubed", False), ("18x", None), ("18 dollars or 19", False),
    ],
)  # fmt: skip
def test_plain_words_behind_an_integer_are_its_unit(answer: str, correct: bool | None) -> None:
    judged = _at_once("18", Extracted(answer, "boxed"))
    assert (judged.correct if judged else None) is correct


@pytest.mark.parametrize(
    ("question", "gold", "answer", "form"),
    [
        ("Compute $99^2+99+1$ in your head.", "9901", "99^2+99+1", "copied"),
        ("Compute $99^2+99+1$ in your head.", "9901", "9901", "boxed"),
        ("Which is larger, $2^3$ or $3^2$?", "3^2", "3^2", "boxed"),  # the gold as written
        ("What is $-5$ times two?", "-10", "-5", "boxed"),  # a sign is no operation
        (r"Simplify $\frac{9}{2}$.", "4.5", r"\frac{9}{2}", "copied"),
    ],
)
def test_what_is_copied_from_the_question_has_a_format_of_its_own(
    question: str, gold: str, answer: str, form: str
) -> None:
    problem = Problem("math-500", "1", question, gold)
    assert _form(problem, Extracted(answer, "boxed")) == form
