"""The expression parser: agreement with Python's own on valid text, and calm on hostile text."""

import ast
import operator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offleash import tasks
from offleash.tasks.verifiers.arithmetic import ExpressionError, parse

_OPS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def by_python(text: str) -> Fraction:
    """A second implementation: Python's grammar, walked with Fractions."""

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant):
            return Fraction(node.value)
        assert isinstance(node, ast.BinOp)
        return _OPS[type(node.op)](walk(node.left), walk(node.right))

    return walk(ast.parse(text, mode="eval").body)


EXPRESSIONS = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner, st.booleans()).map(
        lambda t: f"({t[0]}{t[1]}{t[2]})" if t[3] else f"{t[0]}{t[1]}{t[2]}"
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_agrees_with_python(text: str) -> None:
    try:
        expected = by_python(text)
    except ZeroDivisionError:
        with pytest.raises(ExpressionError, match="division by zero"):
            parse(text)
        return
    assert parse(text).value == expected


HOSTILE = [
    "", " ", "(", ")", "()", "1+", "+1", "-1", "1 2", "1(2)", "(1)(2)", "1++2", "1**2", "1//2", "1.5+2", "1e999", "0x10", "1_0",
    "٣+٤", "1+2=3", "__import__('os').system('true')", "{}", "{0.__class__}", "1,2", "1\n+2\x00", "💥", "²", "NaN", "inf",
    "(" * 10**6, "9" * 10**5, "1+" * 10**5 + "1", "((((((1+2", "1)", "3/0", "1/(2-2)",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text)


@settings(max_examples=300)
@given(st.text(max_size=60) | st.text(alphabet="0123456789+-*/() =:", max_size=40))
def test_verify_never_raises_and_never_accepts_noise(text: str) -> None:
    countdown = tasks.get("countdown")
    problem = countdown.make((17, 19, 23, 24, 25), 997, 2)
    verdict = countdown.verify(problem, text)
    assert verdict.correct in (True, False) and (verdict.correct or verdict.reason)
    if verdict.correct:
        assert by_python(text.strip()) == 997
