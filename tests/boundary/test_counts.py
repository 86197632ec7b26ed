"""Counts: every bad input is one line that names the problem, the field and the mend."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from offleash.boundary import Counts, join, load_counts
from offleash.core import InputError


def make(rows: list[tuple[str, int, int]]) -> Counts:
    return Counts.from_rows(rows)


def test_rows_of_any_kind() -> None:
    Row = namedtuple("Row", "id c n undecided")
    expected = [("p", 1, 4), ("q", 0, 3)]
    for rows in (
        expected,
        [{"id": "p", "c": 1, "n": 4, "level": 2}, {"id": "q", "c": 0.0, "n": np.int32(3)}],
        [Row("p", 1, 4, 0), Row("q", 0, 3, 1)],
    ):
        counts = Counts.from_rows(rows)
        assert list(zip(counts.ids, counts.c.tolist(), counts.n.tolist(), strict=True)) == expected
        assert counts.c.dtype == counts.n.dtype == np.int64


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "there is no problem"),
        ([("p", 5, 4)], r"c: problem 'p' has c=5 correct of n=4"),
        ([("p", -1, 4)], r"c: problem 'p' has c=-1"),
        ([("p", 0, 4), ("q", 0, -2)], r"n: problem 'q' has n=-2"),
        ([("p", 0, 4), ("q", 0, 4), ("p", 1, 4)], r"id: problem 'p' occurs more than once"),
        ([("p", 1.5, 4)], r"c: problem 'p' has c=1.5; give a whole number"),
        ([("p", True, 4)], r"c: problem 'p' has c=True"),
        ([("p", None, 4)], r"c: problem 'p' has c=None"),
        ([("p", float("nan"), 4)], r"c: problem 'p' has c=nan"),
        ([("p", 1, float("inf"))], r"n: problem 'p' has n=inf"),
        ([("p", 1, 10**400)], r"n: problem 'p' has n=1000"),
        ([(None, 1, 4)], r"id: None in row 1"),
        ([(1, 2)], r"row 1: 2 values"),
        ([{"id": "p", "correct": 1, "n": 4}], r"c: missing in row 1 \(did you mean the key 'correct'\?\)"),
    ],
)
def test_bad_rows(rows: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Counts.from_rows(rows)


def test_lengths_and_arrays() -> None:
    with pytest.raises(InputError, match="2 ids, 1 c and 2 n"):
        Counts(("p", "q"), np.array([1]), np.array([1, 2]))
    with pytest.raises(InputError, match=r"c: an array of shape \(1, 1\)"):
        Counts(("p",), np.array([[1]]), np.array([1]))
    with pytest.raises(ValueError, match="read-only"):
        make([("p", 1, 4)]).c[0] = 3


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "counts.jsonl"
    path.write_text('{"id": "p", "c": 1, "n": 4}\n\n{"id": 7, "c": 0, "n": 3, "note": "x"}\n')
    counts = load_counts(path)
    assert counts.ids == ("p", "7") and counts.c.tolist() == [1, 0] and counts.n.tolist() == [4, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no lines"),
        ('{"id": "p", "c": 1, "n": 4}\n{"id": "q", "c"', r"counts.jsonl:2: not JSON"),
        ("[1, 2]\n", r"counts.jsonl:1: a JSON list, not an object"),
        ('{"id": "p", "c": 1}\n', r"n: missing in .*counts.jsonl:1"),
        ('{"id": "p", "c": "1", "n": 4}\n', r"c: problem 'p' has c='1'"),
        ('{"id": "p", "c": NaN, "n": 4}\n', r"c: problem 'p' has c=nan"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "counts.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_counts(path)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_counts(tmp_path / "nothing.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load_counts(tmp_path / "b.jsonl")


def test_join_reports_what_it_drops() -> None:
    joined = join(make([("z", 1, 4), ("p", 2, 4), ("q", 3, 4)]), make([("q", 0, 8), ("z", 5, 8), ("x", 1, 8)]))
    assert joined.a.ids == joined.b.ids == ("q", "z")
    assert joined.a.c.tolist() == [3, 1] and joined.b.c.tolist() == [0, 5]
    assert joined.only_a == ("p",) and joined.only_b == ("x",)


def test_join_refuses_disjoint_sides() -> None:
    with pytest.raises(InputError, match="the two sides share no problem"):
        join(make([("p", 1, 4)]), make([("q", 1, 4)]))


def test_at_least_and_sorted() -> None:
    counts = make([("z", 1, 4), ("p", 2, 9)])
    assert counts.sorted().ids == ("p", "z") and counts.at_least(5).ids == ("p",)
    with pytest.raises(InputError, match="no problem has 10 samples"):
        counts.at_least(10)


def test_round_trip_of_the_count_format(tmp_path: Path) -> None:
    rows = [{"id": f"p{i}", "c": i, "n": 10} for i in range(10)]
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    counts = load_counts(path)
    assert [dict(zip(("id", "c", "n"), row, strict=True)) for row in zip(
        counts.ids, counts.c.tolist(), counts.n.tolist(), strict=True)] == rows  # fmt: skip
