"""Answers in typeset signs are read as LaTeX; letters and digits of other alphabets are not."""

import pytest

from offleash import tasks
from offleash.core import Problem
from offleash.tasks.math import DATA_SETS, MathTask
from offleash.tasks.math.extract import extract
from offleash.tasks.math.normal import normal, plain
from offleash.tasks.math.signs import MAX_ROOTS, latex

SYMBOLIC, NUMERIC = MathTask(DATA_SETS["math-500"]), MathTask(DATA_SETS["math-500"], verifier="numeric")
# The gold, answers that are right, answers that are wrong.
SIGNS = [
    (r"\frac{1}{2}", ["½", "1⁄2", "¹⁄₂"], ["¾", "1½", "²½"]),
    (r"\frac{7}{2}", ["3½", "3 1/2", "3 ½"], ["3⅓", "31/2"]),
    (r"\frac{31}{2}", ["31/2"], ["3 1/2", "3½"]),
    (r"2\sqrt{2}", ["2√2", "2√{2}", "√8", "2 sqrt(2)"], ["2√3", "√2", "√2²"]),
    (r"\sqrt[3]{2}", ["∛2"], ["∜2", "√2", "3√2"]),
    (r"\sqrt{2+\sqrt{3}}", ["√(2+√3)", "√{2+√3}"], ["√2+√3", "√(2−√3)"]),
    (r"\frac{\sqrt{3}}{2}", ["√3/2", "√(3)/2", "√3÷2"], ["√(3/2)"]),
    ("x^{2}-1", ["x²−1", "x² – 1"], ["x³−1", "x²+1", "x₂−1", "х²−1"]),
    ("x^{-12}", ["x⁻¹²"], ["x¹²", "x⁻¹"]),
    ("x_{1}", ["x₁"], ["x₂", "x¹"]),
    (r"90^\circ", ["90°"], ["80°", "9°"]),
    (r"\frac{3\pi}{2}", ["3π/2", "1.5π", "3pi/2"], ["3π", "3n/2", "3π/2²"]),
    ("-3", ["−3", "–3"], ["3", "—3"]),
    ("6", ["2×3", "2·3", "2⋅3", "12÷2", "6€", "£6"], ["2+3", "2·4", "б"]),
    (r"x \le 3", ["x ≤ 3", "3 ≥ x", "x⩽3"], ["x ≥ 3", "x<3"]),
    (r"(-\infty,3)", ["(−∞, 3)"], ["(∞,3)", "(−∞,3]"]),
    (r"1 \pm \sqrt{2}", ["1 ± √2"], ["1 + √2", "2 ± √2"]),
    ("10000", ["10\u202f000", "10\u00a0000", "10⁴"], ["10³", "104"]),
]  # fmt: skip
LOOK_ALIKE = [
    ("x", "х"),
    ("3", "з"),
    ("0", "О"),
    ("42", "٤٢"),
    ("42", "４２"),
    ("5", "⑤"),
    ("2", "Ⅱ"),
    ("5", "𝟓"),
    ("2", "²"),
]


@pytest.mark.parametrize("task", [SYMBOLIC, NUMERIC], ids=["symbolic", "numeric"])
def test_typeset_signs_are_read_and_still_judged(task):
    pairs = [(g, a, ok) for g, good, bad in SIGNS for ok, answers in ((True, good), (False, bad)) for a in answers]
    problems = [(Problem("math-500", "1", "?", g, 1, "test"), f"\\boxed{{{a}}}") for g, a, _ in pairs]
    verdicts = tasks.verify_all(task, problems)
    assert not [p for p, v in zip(pairs, verdicts, strict=True) if (v.correct is True) != p[2]]


@pytest.mark.parametrize("task", [SYMBOLIC, NUMERIC], ids=["symbolic", "numeric"])
@pytest.mark.parametrize(("gold", "answer"), LOOK_ALIKE)
def test_what_only_looks_like_it_is_not_it(task, gold, answer):
    assert task.verify(Problem("math-500", "1", "?", gold, 1, "test"), f"\\boxed{{{answer}}}").correct is not True


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("it is 3½.", "3½"), ("it is 3 ½", "3 ½"), ("so ½ of it", "½"), ("that is 10² of them", "10²"), ("√16 is it", "√16"),
        ("I have 3 1/2 left", "3 1/2"), ("it is 9/12 3/4", "3/4"), ("it is 42 thousand.", "42 thousand"), ("a 7 dozen", "7"),
    ],
)  # fmt: skip
def test_the_last_number_has_its_signs(text, answer):
    assert extract(text, number=True).answer == answer


def test_golds_in_signs_are_golds():
    problem = Problem("own", "1", "?", "x²−½", 1, "test")
    for task in (SYMBOLIC, NUMERIC):
        assert task.verify(problem, r"\boxed{x^2-\frac{1}{2}}").correct is True
        assert task.verify(problem, "\\boxed{x²−½}").answer == "x²−½"


def test_a_question_in_signs_is_copied_all_the_same():
    problem = Problem("math-500", "1", r"Simplify $x^{2}\cdot x$.", "x^3")
    assert SYMBOLIC.verify(problem, "\\boxed{x²·x}").format == "copied"


def test_roots_in_rows_are_left_alone():
    assert latex("√" * MAX_ROOTS + "2").count(r"\sqrt{") == MAX_ROOTS
    assert latex("√" * (MAX_ROOTS + 1) + "2").count("√") == MAX_ROOTS + 1
    assert latex("√") == r"\sqrt{}" and latex("√(2") == r"\sqrt{(2}"


def test_one_way_to_write():
    assert plain("$x = 2 > 1$.") == "x=2>1" and plain(r"\(5\)") == plain("5") == plain(r"\textbf{5}")
    assert normal("3>x \\geq 1") == "1 \\le x < 3" and normal("3 > x < 4") == "3 > x < 4"
    assert plain("2.5 hours") == "2.5" and plain("15 cm²") == "15" and plain("2 pi") == r"2\pi"
    assert plain("3 xy") == "3xy"
