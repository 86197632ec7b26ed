"""Answers that have the gold's number in them and say another thing, and texts that would take seconds."""

import time

import pytest

from offleash import tasks
from offleash.core import Problem
from offleash.tasks.math import DATA_SETS, MathTask
from offleash.tasks.math.bounds import beyond
from offleash.tasks.math.normal import plain
from offleash.tasks.math.refused import refused

SYMBOLIC, NUMERIC = MathTask(DATA_SETS["math-500"]), MathTask(DATA_SETS["math-500"], verifier="numeric")
WRONG = {
    "42": [
        r"\neq 42", r"\not= 42", r"\ne 42", "> 42", "< 42", r"\ge 42", r"\lt 42", "x > 42", r"x \ne 42", "!= 42", "≠ 42", r"\neg 42",
        r"\notin 42", r"\not 42", "41=42", "6*8 = 42", r"\text{not } 42", "not 42", r"\text{at least } 42", r"\text{more than }42",
        r"\text{twice }42", r"\text{minus }42", r"42 \text{ thousand}", r"42\text{ million}", r"42\,\text{million}", "42 mil", "42 bn",
        r"42 \mathrm{ billion}", r"\$42 \text{ million}", "42 million", "42 million dollars", "42k", r"42 \text{ squared}",
        r"42 \text{ and a half}", r"42\text{ or more}", r"42\text{ is wrong}", r"42 \text{ factorial}", "42 pi", "42 xy", r"\sim 42", r"\nmid 42",
        r"\text{the square of }42", r"\text{thirteen and }42", "42x", "42!",
    ],
    "1.5": ["1.5 million", "1.5 or 2", "1.6 dollars"],
    "(1,2)": [r"\{1,2\}", "(2,1)", "[1,2]"],
    r"\{1,2\}": ["(1,2)", "[1,2]", r"\{1,3\}"],
    "11_2": ["11_3", "11_{4}", "4"],
    "1,2": ["x=1, x=3", "1 and 3", "1"],
    "5x - 7y + 11z + 4 = 0": ["0", "5x - 7y + 11z + 5 = 0", "5x+4=0"],
}  # fmt: skip
RIGHT = {
    "42": [
        "x = 42", "= 42", r"\approx 42", "x = y = 42", r"6 \cdot 7 = 42", "a + b = 42", r"42 \text{ cm}", "42 dollars", r"42\%",
        "42 percent", r"42\text{ cm}^2", "42 cm^2", r"42 \text{ square feet}", r"\$42", r"\text{Area} = 42\text{ cm}^2", "42.0", r"\textbf{42}",
        "{42}", "{ {42} }", "a + b = 42.", "x = 42,", r"42\,",
    ],
    r"(3,\frac{\pi}{2}]": [r"{(3,\frac{\pi}{2}]}"],
    r"\text{east}": [r"{\text{east}}"],
    "{1}+{2}": ["3"],
    "42000": [r"42 \text{ thousand}", "42 thousand dollars", "0.042 million", "42,000"],
    "1.5": ["1.5 dollars", "3/2 hours", r"\$1.50"],
    "36": ["3 dozen", "3 dozens of eggs"],
    "1,2": ["1 and 2", "x = 1 or x = 2", r"x_1 = 1, x_2 = 2", r"\{2,1\}"],
    "5x - 7y + 11z + 4 = 0": ["5x - 7y + 11z = -4", "10x - 14y + 22z + 8 = 0"],
    "y = 2x + 3": ["2x+3", "y - 2x = 3", "y=3+2x"],
    "1<x<2": ["2>x>1"],
    "-5": [r"\text{x} = -5"],
}  # fmt: skip
HOSTILE = [
    "9^9^9^9^9^9", "9^{9^{9^{9^{9}}}}", "10^{10^{10}}", "2^{99999999}", "999999^{999999}", "10^{-99999999}", "(2^{9999})^{9999}", "0.1^{99999999}",
    "10^{e^{99}}", "(10^5)!", "100000!", "9!!!!!!", "((9!)!)!", "99999999999!", r"\gcd(9^{99999},3)", r"\binom{99999999}{44444444}",
    r"\binom{10^{9}}{10^{8}}", "(x+1)^{9999}", "(x+y+z)^{500}", r"\sum_{i=1}^{9999} \frac{1}{i!}", r"\prod_{i=1}^{9999} i", "(" * 10**5,
    r"\int e^{x^2} \sin(x)^{20} dx", r"\lim_{x\to 0} \frac{\sin x}{x}", "(" * 200 + "1" + ")" * 200, "{" * 200 + "1",
    r"\frac{" * 60 + "1" + "}{2}" * 60, r"\sqrt{" * 70 + "2" + "}" * 70, "x^" * 100 + "2", "2^" * 100 + "2", "|" * 200 + "1", "-" * 200 + "1",
    r"\sin(" * 6 + "1" + ")" * 6, r"\log" * 50 + "2", "9" * 480, "1+" * 240 + "1", "1/(1+" * 40 + "x" + ")" * 40, "√" * 400 + "2", "½" * 300,
]  # fmt: skip
FINE = [
    r"\frac{\sqrt{10+2\sqrt{5}}}{4}", "2^{1000}", "7^{2023}", "100!", r"\binom{2023}{5}", "(x+1)^{20}", "(-1)^{999}", r"\left(\frac{2}{3}\right)^{100}",
    r"\{(1,\frac{1}{2}),(2,\sqrt{3+\sqrt{2}})\}", "x^{n^{2}}", r"\sin(\cos(x))", r"|x-1|+|x+1|", r"\sum_{k=1}^{10} k", r"90^\circ", "n!", "(n-1)!",
    r"\sqrt{2+\sqrt{2+\sqrt{2}}}", "10^{100}", "e^{x^{2}}", r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}",
]  # fmt: skip


def verdicts(task, cases):
    pairs = [(gold, answer) for gold, answers in cases.items() for answer in answers]
    asked = [(Problem("math-500", "1", "?", gold, 1, "test"), f"so \\boxed{{{answer}}}") for gold, answer in pairs]
    return [(*pair, v.correct) for pair, v in zip(pairs, tasks.verify_all(task, asked), strict=True)]


@pytest.mark.parametrize("task", [SYMBOLIC, NUMERIC], ids=["symbolic", "numeric"])
def test_what_says_another_thing_is_wrong(task):
    assert not [found for found in verdicts(task, WRONG) if found[2] is True]
    assert sum(correct is None for _, _, correct in verdicts(task, WRONG)) <= (0 if task is SYMBOLIC else 5)


@pytest.mark.parametrize("task", [SYMBOLIC, NUMERIC], ids=["symbolic", "numeric"])
def test_what_says_the_same_is_right(task):
    assert not [found for found in verdicts(task, RIGHT) if found[2] is not True]


def test_the_verdict_says_why():
    problem = Problem("math-500", "1", "?", "42", 1, "test")
    verdict = SYMBOLIC.verify(problem, r"\boxed{x > 42}")
    assert (verdict.correct, verdict.answer, verdict.format) == (False, "x > 42", "boxed")
    assert verdict.reason == "an inequality, where the gold is none"
    assert SYMBOLIC.verify(problem, r"\boxed{9^{9^{9^{9}}}}").reason == "an exponent above 10000"


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("x > 42", "42 < x"), ("x \\ne 3", "x \\neq 3"), (r"\text{not enough}", r"\text{not enough}."), ("(1,2)", "(1,3)"),
        ("9^{9^{9^{9}}}", "9^{9^{9^{9}}}+0"), (r"\text{minus one}", "minus one"),
    ],
)  # fmt: skip
def test_nothing_is_refused_that_the_gold_has_as_well(gold, answer):
    assert not refused(gold, answer)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_what_would_take_seconds_is_refused_at_once(text, monkeypatch):
    monkeypatch.setattr(MathTask, "_judge", lambda self, asked: pytest.fail("a verifier was asked") if asked else {})
    problem = Problem("math-500", "1", "?", "x+1", 1, "test")
    start = time.process_time()
    verdict = SYMBOLIC.verify(problem, f"\\boxed{{{text}}}")
    assert time.process_time() - start < 0.05
    assert verdict.correct is False and verdict.reason


@pytest.mark.parametrize("text", FINE)
def test_what_people_write_is_within_the_bounds(text):
    assert not beyond(plain(text))
