"""math-verify in its worker, and the numeric verifier: what each accepts, in which order, and where they differ."""

import pytest

from offleash import tasks
from offleash.core import Problem
from offleash.tasks import isolation
from offleash.tasks.math import DATA_SETS, MathTask, numeric, symbolic
from offleash.tasks.math import task as module

SYMBOLIC, NUMERIC = MathTask(DATA_SETS["math-500"]), MathTask(DATA_SETS["math-500"], verifier="numeric")


def problem(gold: str) -> Problem:
    return Problem("math-500", "1", "?", gold, 1, "test")


def boxed(task: MathTask, gold: str, answer: str) -> bool | None:
    verdict = task.verify(problem(gold), f"so \\boxed{{{answer}}}")
    assert verdict.verifier_version == task.verifier_version and (verdict.correct is not True or verdict.answer == gold)
    return verdict.correct


SAME = [
    (r"\frac{1}{2}", "0.5"), (r"\frac{7}{2}", r"3\frac{1}{2}"), (r"\sqrt{8}", r"2\sqrt{2}"), ("p - q", "-q + p"),
    ("10{,}000", "10000"), ("x^2+2x+1", "(x+1)^2"), ("1,2", "2, 1"), (r"\{1,2\}", "2,1"), ("x > 1", "1 < x"), ("3", "x = 3"),
    ("x = 3", "3"), (r"90^\circ", "90"), (r"5\text{ cm}", "5"), (r"\text{east}", "east"), ("2^{10}", "1024"),
    (r"\left(3, \frac{\pi}{2}\right)", r"(3, 0.5\pi)"), ("[1,2)", "[1, 2)"), (r"\frac{\pi}{4}", r"\arctan 1"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1\\2 \end{pmatrix}"), (r"\log_2 8", "3"), ("10!", "3628800"),
    ("4.5e33", r"4.5 \times 10^{33}"), ("0.001", "1e-3"), (r"2e^3", r"2\exp(3)"),
]  # fmt: skip
DIFFERENT = [
    ("1", "2"), ("(1,2)", "(2,1)"), ("[1,2)", "[1,2]"), ("1,2", "1"), ("1", "1,2"), (r"\frac{1}{3}", "0.33"), ("x + 1", "x - 1"),
    ("x", "y"), (r"\text{east}", "west"), ("5", r"5\pi"), (r"\sqrt{2}", "2"), ("x > 1", "x < 1"), ("-3", "3"), ("1", r"\infty"),
    ("4.5e33", "4.5"), ("4.5e33", r"4.5 \times 10^{32}"),
]  # fmt: skip


@pytest.mark.parametrize("task", [SYMBOLIC, NUMERIC], ids=["symbolic", "numeric"])
@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_one_meaning_is_accepted(task, gold, answer):
    assert boxed(task, gold, answer) is True


@pytest.mark.parametrize("task", [SYMBOLIC, NUMERIC], ids=["symbolic", "numeric"])
@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_another_meaning_is_refused(task, gold, answer):
    assert boxed(task, gold, answer) is False


def test_the_gold_comes_first():
    """An answer that is an interval is right where the gold is an inequality; an inequality for an interval is not."""
    assert symbolic.judge("1 < x < 2", "(1,2)")[0] is True
    assert symbolic.judge("(1,2)", "1 < x < 2")[0] is False
    assert boxed(SYMBOLIC, "1 < x < 2", "(1,2)") is True and boxed(SYMBOLIC, "(1,2)", "1 < x < 2") is False


def test_where_the_two_verifiers_differ_is_known():
    differ = [("11001_2", "25"), (r"\pi", "3.14159"), ("1<x<2", "(1,2)")]
    assert [(numeric.judge(g, a), symbolic.judge(g, a)[0]) for g, a in differ] == [
        (True, False),
        (True, False),
        (False, True),
    ]


def test_answers_of_one_meaning_share_their_canonical_form():
    wrong = [
        SYMBOLIC.verify(problem("7"), f"\\boxed{{{a}}}").answer
        for a in (r"\frac{1}{2}", "0.5", r"\frac{2}{4}", "x=0.5")
    ]
    assert wrong == ["1/2"] * 4


@pytest.mark.parametrize("gold", ["", "{", r"\frac{1", "\\", "?"])
def test_an_unreadable_gold_is_known_as_such(gold):
    assert not symbolic.readable(gold)


def test_a_verifier_that_is_killed_is_undecided(monkeypatch):
    monkeypatch.setattr(module, "JUDGE", f"{__file__}:hang")
    monkeypatch.setattr(module, "LIMITS", isolation.Limits(seconds=0.3, wall_seconds=2.0))
    task = MathTask(DATA_SETS["math-500"])
    verdicts = tasks.verify_all(
        task, [(problem("x"), r"\boxed{y}"), (problem("x"), r"\boxed{x}"), (problem("x"), "no box")]
    )
    assert [v.correct for v in verdicts] == [None, True, False]
    assert verdicts[0].reason == "timeout" and verdicts[0].reward == 0.0 and verdicts[0].format == "boxed"


def hang(gold: str, answer: str) -> None:
    while True:
        pass


def test_a_tower_of_powers_does_not_hang(monkeypatch):
    monkeypatch.setattr(module, "LIMITS", isolation.Limits(seconds=0.5, wall_seconds=10.0))
    assert boxed(SYMBOLIC, "1", "9^{9^{9^{9^{9}}}}") is not True
    assert boxed(NUMERIC, "1", "9^{9^{9^{9^{9}}}}") is not True


def test_the_version_names_what_verdicts_depend_on():
    assert symbolic.version().startswith("math-3+math-verify-") and "sympy-" in symbolic.version()
    assert SYMBOLIC.verifier_version != NUMERIC.verifier_version and SYMBOLIC.name == NUMERIC.name
