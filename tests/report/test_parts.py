"""The small parts: digits, shades, looks, choices of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offleash.report import completions, digits, figures, grid
from offleash.report.looks import looks
from offleash.report.reading import Sample


@pytest.mark.parametrize(
    ("value", "low", "high", "text", "ends"),
    [
        (0.13412, 0.1203, 0.1493, "0.134", "0.120–0.149"),
        (0.8203, 0.74, 0.89, "0.82", "0.74–0.89"),
        (1.0, 0.975, 1.0, "1.000", "0.975–1.000"),
        (float("nan"), float("nan"), float("nan"), "–", ""),
        (None, None, None, "–", ""),
        (0.5, None, None, "0.500", ""),
    ],
)
def test_numbers_have_the_digits_their_interval_supports(value, low, high, text, ends):
    assert digits.number(value, low, high) == text
    assert digits.interval(low, high) == ends


@given(st.floats(-1, 1), st.floats(1e-6, 1))
def test_rounding_stays_small_against_the_interval(value, half):
    shown = float(digits.number(value, value - half, value + half).replace("−", "-"))
    assert abs(shown - value) <= max(half / 2, 1e-4)


def test_a_band_shows_its_side_of_zero():
    value, ends = digits.band(0.1, 0.0021, 0.2)
    assert ends.startswith("+0.002") and value == "+0.100"


@given(st.integers(1, 4096).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_shades_tell_never_from_rarely(pair):
    c, n = pair
    shade = grid.shade(c, n, n)
    assert (shade == 0) == (c == 0) and 0 <= shade <= grid.SHADES
    assert grid.shade(n, n, n) == grid.SHADES


def test_arms_beyond_the_colours_differ_by_dash():
    found = looks([f"arm {i}" for i in range(11)]).values()
    assert len({(look.colour, look.dash, look.marker) for look in found}) == 11
    assert next(look.colour for look in found) == "var(--arm-0)"


def sample(index: int, text: str, correct: bool | None, reason: str = "") -> Sample:
    return Sample("p", index, text, 3, "stop", correct, "", reason)


def test_texts_show_frequent_ones_and_different_failures():
    drawn = [sample(i, "same", False, "equals 3, not 4") for i in range(5)]
    drawn += [sample(5, "other", False, "equals 5, not 4"), sample(6, "odd", False, "cannot read it")]
    drawn += [sample(7, "yes", True), sample(8, "wait", None, "timed out")]
    found = completions.texts(drawn)
    assert [entry["text"] for entry in found] == ["yes", "same", "odd", "wait"]
    assert completions.note(found[1]) == "equals 3, not 4; drawn 5 times"
    assert completions.note(found[3]) == "not decided; timed out"


def test_control_characters_are_made_visible():
    shown = completions.visible("\x1b[31mred\x00\u202eabc\nnext")
    assert shown == "␛[31mred␀\\u202eabc\nnext"


def test_every_colour_of_a_figure_is_the_pages_own():
    from offleash.report.page import _source

    style = _source("style.css")
    for look in looks([str(i) for i in range(12)]).values():
        assert look.colour[4:-1] + ":" in style


def test_an_arms_path_begins_at_the_base_and_leaves_its_interval_to_it():
    def point(step, x):
        ends = {"value": x, "low": x - 0.1, "high": x + 0.1}
        return {"step": step, "pass_at_1": ends, "pass_at_k": ends}

    facts = {"baseline": "base", "k": 8, "arms": {"base": [point(None, 0.2)], "A": [point(5, 0.3), point(None, 0.4)]}}
    figure = figures.frontier(facts, looks(["base", "A"]))
    assert figure is not None
    base, arm = figure["data"]
    assert arm["x"] == [0.2, 0.3, 0.4] and base["x"] == [0.2]
    assert arm["error_x"]["array"] == pytest.approx([0.0, 0.1, 0.1]) and base["error_y"]["array"] == pytest.approx(
        [0.1]
    )
