"""Numbers written in several ways, answers in dress, letters in text; and numbers with more in them than is seen at first."""

import pytest

from offleash import tasks
from offleash.core import Problem
from offleash.tasks.math import DATA_SETS, MathTask
from offleash.tasks.math.notation import numbers, readings
from offleash.tasks.math.refused import refused

SYMBOLIC, NUMERIC = MathTask(DATA_SETS["math-500"]), MathTask(DATA_SETS["math-500"], verifier="numeric")
WRONG = {
    "7": [
        r"5\,2", "5 2", r"5\;2", "5~2", r"5\quad 2", r"3+4\mathrm{i}", r"3+4\text{i}", r"3+4\operatorname{i}", r"7\mathrm{i}", r"7\text{ i}", r"7\text{x}",
        r"7\mathrm{e}", r"7\text{ halves}", r"7\text{ thirds}", "7 tenths", "7 hundredths", "7 degrees below zero", "7,7", r"7\text{$x$}",
        r"7\text{ feet }6\text{ inches}", r"\phantom{7}",
    ],
    "52": [r"5\,2", "5 2", "50 2"],
    "1234": ["123 4", "12 34", "1 23 4"],
    "276": [r"276\,000"],
    "5": [
        r"5\text{ dollars and }50\text{ cents}", "5 hours and 30 minutes", "5 dollars 50 cents", r"5\textbf{ hours and }30\textbf{ minutes}", "5,5", "5, 5.0", "5;5", r"5\text{ and }5",
        "5 and 5", r"\{5,5\}", "[5,5]", "x=5, x=5", r"5\text{ out of }6", "5'",
    ],
    "42": [
        r"42 \text{ (base 5)}", "42 base 5", "42_5", "42_x", "42:1", r"42\%\%", r"\hspace{42}", r"4\phantom{2}", "42''", r"42^{\prime}",
        r"\cancel{42}", r"42\text{ + 1}", r"42\text{x5}", r"42\text{pi}", r"42\textbf{x}", r"42\text{k}", "42 plus 1", r"42\overline{1}",
        r"\text{Answer: }41", r"\textcolor{red}{4}", r"42\text{ }x", "42e5", "042 1", "42nd 3", "42 times 2",
    ],
    r"90^\circ": ["90'"],
    r"\frac{1}{2}": [r"\sin 30", r"0.5\%", r"\cos 30^\circ", r"\sin(60^\circ)", "1:2", "1 half", r"5\%"],
    "1,2,3": ["1, 2, or 4", "1,2,2,3"],
    "3": [r"-3\%"],
    "1.5": [r"15\%"],
    r"\frac{14}{3}": ["4.6", r"4.\overline{7}"],
    "11111_2": ["(11111)_3"],
    "25": ["11001_2"],
    "1": ["infinity"],
}  # fmt: skip
RIGHT = {
    "276000": [r"276\,000", "276 000", "276~000", r"276\;000", r"276\ 000", r"276\,000\text{ dollars}", "276{,}000"],
    "6250": ["6~250", "6 250.0"],
    "1234567": [r"1\,234\,567", "1 234 567"],
    "1234234": ["1,234,234", r"1,234,234\text{ cm}"],
    "3+4i": [r"3+4\mathrm{i}", r"3+4\cdot i", r"3+4\text{i}", r"3+4\operatorname{i}"],
    r"x^2-1": [r"\mathrm{x}^2-1"],
    "42": [
        r"42\text{ K}", r"42\mathrm{m}", r"42\text{ L}", r"\textcolor{red}{42}", r"\color{red}42", r"{\color{red} 42}", r"\underline{42}",
        r"\emph{42}", r"\texttt{42}", r"\bf 42", r"\large 42", r"{\bf 42}", "42nd", r"42^{\text{nd}}", "USD 42", r"\text{USD }42", "42 km/h",
        "42 m/s", r"42\text{ m/s}", r"42\text{ cm2}", r"42\textbf{ cm}", "42 miles per hour", r"\text{Answer: }42", r"\text{The answer is }42",
        "The answer is 42", "Answer: 42.", r"\textbf{Answer: }42", r"42\%", "42 percent", r"42\text{ percent}", "42 quarters", "42 times",
        "42 baseballs", "42 seconds", r"42\quad",
    ],
    "-3": [r"-3\%", "-3 percent", "{-}3", r"\text{-}3"],
    r"90^\circ": [r"90\degree"],
    r"\frac{1}{2}": [
        r"\nicefrac{1}{2}", r"\underline{\frac{1}{2}}", r"\sin 30^\circ", r"\sin(30^{\circ})", r"\sin{30^\circ}", r"\cos 60^\circ",
        r"2\sin^2 30^\circ", r"\sin 30°", r"50\%",
    ],
    r"\frac{\sqrt{3}}{2}": [r"\underline{\frac{\sqrt{3}}{2}}"],
    "11111_2": ["(11111)_2", "(11111)_{2}"],
    r"\text{Evelyn}": [r"\text{Evelyn.}", r"\textit{Evelyn}"],
    r"\frac{14}{3}": [r"4.\overline{6}", r"4.\bar{6}", r"4.6\overline{6}"],
    r"-\frac{1}{3}": [r"-0.\overline{3}"],
    r"\frac{1}{3}": [r"33\frac{1}{3}\%"],
    "1,2,3": ["1, 2, or 3", "1, 2, and 3", r"1, 2 \text{, or } 3"],
    "2,2": ["2,2", "2.0,2"],
    r"\infty": ["infinity", r"\text{infinity}"],
    "0.42": [r"42\%"],
    "1.5": [r"150\%", r"1.5\%"],
    r"42\%": ["42", "0.42", "42 percent"],
    "10,20": [r"10\%, 20\%"],
    r"\log_2 300": [r"\frac{\log 300}{\log 2}"],
    "3:4": ["3 : 4"],
}  # fmt: skip


@pytest.mark.parametrize("task", [SYMBOLIC, NUMERIC], ids=["symbolic", "numeric"])
@pytest.mark.parametrize(("cases", "right"), [(WRONG, False), (RIGHT, True)], ids=["wrong", "right"])
def test_the_verdict_is_on_the_whole_answer(task, cases, right):
    pairs = [(gold, answer) for gold, answers in cases.items() for answer in answers]
    asked = [(Problem("math-500", "1", "?", gold, 1, "test"), f"\\boxed{{{answer}}}") for gold, answer in pairs]
    found = [(*pair, v.correct) for pair, v in zip(pairs, tasks.verify_all(task, asked), strict=True)]
    undecided = (None,) if task is NUMERIC and not right else ()
    assert not [case for case in found if case[2] not in (right, *undecided)]
    assert sum(correct is None for *_, correct in found) <= 2


def test_a_number_of_a_text_is_read_whole():
    gsm8k = MathTask(DATA_SETS["gsm8k"])
    problem = Problem("gsm8k", "1", "?", "70000", 1, "test")
    assert (
        gsm8k.verify(problem, "It is 70 000.").correct is True
        and gsm8k.verify(problem, "It is 70 00.").correct is False
    )


def test_groups_and_decimals():
    assert numbers(r"\frac1 200") == r"\frac1 200" and numbers("1 250/300") == "1 250/300"
    assert numbers(r"0.1\overline{6}") == r"\frac{15}{90}" and numbers(r"1\\ 200") == r"1\\ 200"


def test_per_cent_is_read_in_one_way():
    assert readings("42%", r"42 \%") == [("42", "42")] and readings("42", "x%") == [("42", "x%")]
    assert readings("-0.5", r"-50\%") == [("-0.5", r"-\frac{50}{100}")]


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("42_5", "42_{5}"),
        ("3:4", "3 : 5"),
        ("6'", "7'"),
        ("5,5", "4,4"),
        (r"\text{7 feet 6 inches}", "7 feet 5 inches"),
    ],
)
def test_what_the_gold_has_as_well_is_not_refused(gold, answer):
    assert not refused(gold, answer)
