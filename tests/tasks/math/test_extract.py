r"""Answers in completions: \boxed{...}, ####, the last number."""

import time

import pytest

from offleash.tasks.math.extract import extract, integer
from offleash.tasks.math.normal import plain


@pytest.mark.parametrize(
    ("text", "answer", "form"),
    [
        (r"\boxed{5}", "5", "boxed"),
        (r"first \boxed{1}, no: \boxed{2}.", "2", "boxed"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}", "boxed"),
        (r"\boxed {x}", "x", "boxed"),
        (r"\fbox{7}", "7", "boxed"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}", "boxed"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right.", "boxed"),
        (r"\boxed{a \\ b}", r"a \\ b", "boxed"),
        ("7 + 2\n#### 1,234\n", "1,234", "hashes"),
        (r"#### 3 and \boxed{4}", "4", "boxed"),
        ("it is 12, no 13.", "13", "number"),
        ("so $1,234.50 in all.", "1,234.50", "number"),
        ("about -5 degrees", "-5", "number"),
        ("x = .5", ".5", "number"),
        ("it costs 3.", "3", "number"),
        ("The answer is 1/2.", "1/2", "number"),
        ("it is 10^2", "10^2", "number"),
        ("1e2 of them", "1e2", "number"),
        ("that is \u22123", "-3", "number"),
        ("so 5-2", "2", "number"),
        ("it is 7" + " " * 200_000, "7", "number"),
        ("10^6 is 1000000", "1000000", "number"),
        ("It is 70 000.", "70 000", "number"),
        (r"It is 1\,234\,567.5 m", r"1\,234\,567.5", "number"),
        ("in 2024 there were 5 0001", "0001", "number"),
        ("from 2024 to 5 000", "5 000", "number"),
    ],
)
def test_what_is_the_answer(text, answer, form):
    assert extract(text, number=True)[:2] == (answer, form)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no number and no"),
        ("none at all", "no number and no"),
        (r"\boxed{}", "an empty answer"),
        (r"\boxed{ }", "an empty answer"),
        (r"\boxed{5", "a box that does not close"),
        (r"\boxed{1} then \boxed{2", "a box that does not close"),
        (r"\boxed{" + "1" * 600 + "}", "more than 500 characters"),
        ("1" * 600, "more than 500 characters"),
    ],
)
def test_why_there_is_none(text, reason):
    found = extract(text, number=True)
    assert found.form == "none" and found.answer == "" and reason in found.reason


def test_a_number_counts_only_where_every_gold_is_one():
    assert extract("so 5", number=False).form == "none"


@pytest.mark.parametrize(
    "text",
    [
        "{" * 10**6,
        "\\boxed{" * 200_000,
        "\\boxed{" + "{" * 10**6,
        "1," * 500_000,
        "####" * 250_000,
        "9" * 10**6,
        "\\" * 10**6,
    ],
    ids=["brackets", "boxes", "a box of brackets", "commas", "hashes", "digits", "backslashes"],
)
def test_a_million_characters_are_quick(text):
    start = time.monotonic()
    extract(text, number=True)
    assert time.monotonic() - start < 1.0


def test_plain_keeps_the_meaning():
    assert plain(r"\left( 3, \dfrac{\pi}{2} \right)") == plain(r"$(3,\frac{\pi}{2})$")
    assert plain(r"11,\! 111") == plain("11,111")
    assert plain(r"\leftarrow") == r"\leftarrow" and plain(r"a \\ b") == r"a\\b"
    assert plain(r"\sin   x") == plain(r"\sin x") != plain(r"\sinx") and plain("x y") == "x y" and plain("2 x") == "2x"
    assert plain("5 2") == plain(r"5\,2") == "5 2" != plain("52")


@pytest.mark.parametrize(
    ("answer", "value"), [("1/2", None), ("1e3", None), ("٣", None), ("7.50", None), ("+7.0", 7), ("0", 0)]
)
def test_integers(answer, value):
    assert integer(answer) == value
