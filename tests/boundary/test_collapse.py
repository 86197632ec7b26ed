"""Collapse diagnostics: formats and their drift, repetition, duplicates, lengths, early answers, missing computation."""

from __future__ import annotations

import math
import re
import time
import tracemalloc

import numpy as np
import pytest

from offleash.boundary import (
    answer_repetition,
    classify_format,
    constant_answer,
    diagnose,
    duplicate_share,
    find_loop,
    first_answer,
    format_drift,
    format_shares,
    length_ratio,
    loop_share,
    missing_computation,
    operations_written,
    repeated_grams,
    repeated_share,
    words,
)
from offleash.boundary.collapse import _OPERATOR, ANSWER, FORMATS
from offleash.boundary.repetition import _WORD, GRAM, Loop, _distances, _speaks
from offleash.core import InputError

# --------------------------------------------------------------------------------------------------------- format


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Let us define f and deflate the sum. By definition it is undefined.", "prose"),  # the trap: "def" is in it
        ("We def (not) know", "prose"),
        ("def solve(x):\n    return x", "code"),
        ("First a plan.\n  def  f_1(a, b):\n", "code"),
        ("```python\nprint(1)\n```", "code"),
        ("<think>hm</think> 4", "tagged"),
        (r"so the answer is \boxed{4}", "boxed"),
        ("Step 1: add.\nStep 2: multiply.", "steps"),
        ("1. add\n2. multiply", "steps"),
        ("- add\n- multiply", "bullets"),
        ("(3 + 4) * 5 = 35", "formula"),
        (" \n", "empty"),
        ("", "empty"),
    ],
)
def test_formats(text: str, name: str) -> None:
    assert classify_format(text) == name


PATTERNS = {**FORMATS, "answer": ANSWER, "operator": _OPERATOR, "word": _WORD}
RUNS = ["\n", " ", "\t", "\r\n", "\n ", " \n", "(", ")", "[", "]", "{", "}", "`", "```\n", "-", "- ", "*", "1", "1 ", "1.\n", "1,",
        "a", "\\", "<", "def ", "def\n", "step ", "answer ", "\\boxed ", "1 + ", "#"]  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_is_quadratic_in_a_run(name: str) -> None:
    """Twice the run takes twice the CPU time, and less than three times, up to the time of looking at each character once."""
    pattern, size = PATTERNS[name], 100_000
    every = re.compile(r"[^\0]")

    def cost(pattern: re.Pattern[str], text: str) -> float:
        began = time.process_time()
        pattern.findall(text) if name in ("operator", "word") else pattern.search(text)
        return time.process_time() - began

    for run in RUNS:
        one, two = (run * (n // len(run)) + "x" for n in (size, 2 * size))
        for attempt in range(5):  # others may take the processor meanwhile
            spare = 0.0
            if attempt:
                began = time.process_time()
                every.findall(two)
                spare = time.process_time() - began
            if cost(pattern, two) < 3 * cost(pattern, one) + spare:
                break
        else:
            raise AssertionError(f"{name}: {run!r}")


def test_shares_and_drift_by_hand() -> None:
    assert format_shares(["a", "b", "a", "a"]) == {"a": 0.75, "b": 0.25}
    same = format_drift(["a", "b"] * 20, ["b", "a"] * 20)
    assert same.distance == 0 and same.p == 1 and 0 < same.by_chance < 0.2
    apart = format_drift(["a"] * 20, ["b"] * 30)
    assert apart.distance == 1 and apart.p < 0.001 and apart.samples == (20, 30)
    assert format_drift(["a"] * 60 + ["b"] * 40, ["a"] * 30 + ["c"] * 70).distance == pytest.approx(0.7)


def test_drift_has_its_size_and_sees_a_change() -> None:
    """p <= .05 in 5% of unchanged pairs (standard error of 400: 1.1%), in nearly all of a shift of 15 points."""
    generator = np.random.default_rng(0)
    names = np.array(["a", "b", "c"])
    alarms = found = 0
    for seed in range(400):
        before, after = (generator.choice(names, 300, p=[0.6, 0.3, 0.1]).tolist() for _ in range(2))
        alarms += format_drift(before, after, seed=seed, replicates=400).p <= 0.05
        moved = generator.choice(names, 300, p=[0.45, 0.45, 0.1]).tolist()
        found += format_drift(before, moved, seed=seed, replicates=400).p <= 0.05
    assert 0.02 <= alarms / 400 <= 0.085 and found / 400 > 0.9


def test_trap_formats_that_hang_on_the_problem() -> None:
    """Each problem has its format and the second model has more samples of the one: no drift within problems."""
    before, owners = ["a"] * 40 + ["b"] * 10, ["p"] * 40 + ["q"] * 10
    after, others = ["a"] * 10 + ["b"] * 40, ["p"] * 10 + ["q"] * 40
    assert format_drift(before, after).p < 0.01
    within = format_drift(before, after, owners, others)
    assert within.p == 1 and within.by_chance == pytest.approx(within.distance)


def test_format_drift_refuses() -> None:
    for arguments, message in (
        (([], ["a"]), "before: no sample"),
        ((["a"], []), "after: no sample"),
        ((["a"], ["a"], ["p"]), "one is missing; give the problems of both sides"),
        ((["a"], ["a"], ["p"], ["p", "q"]), "problems_after: 2 for 1 of after"),
    ):
        with pytest.raises(InputError, match=message):
            format_drift(*arguments)


# --------------------------------------------------------------------------------------------- answers, duplicates


def test_answer_repetition_by_hand() -> None:
    """Pairs that agree: problem p 3 of 6 (three 7s of four), problem q 0 of 1."""
    got = answer_repetition(["7", "7", "7", "8", None, "1", "9"], ["p", "p", "p", "p", "q", "q", "alone"])
    assert got.value == pytest.approx((0.5 + 0) / 2) and got.n == 2 and got.low < 0.25 < got.high
    assert answer_repetition([None, None], ["p", "p"]).value == 1
    assert "no problem has two" in answer_repetition(["7"], ["p"]).reason
    assert constant_answer(["40", "40", None, "3"]) == ("40", 0.5)
    assert math.isnan(constant_answer([None])[1])


def test_duplicates() -> None:
    texts = ["a  b", "a b", "a b", "c", "a b"]
    problems = ["p", "p", "p", "q", "q"]
    assert duplicate_share(texts, problems).value == pytest.approx((1 / 3 + 0) / 2)
    assert duplicate_share(texts, problems, normalise=True).value == pytest.approx((2 / 3 + 0) / 2)
    assert duplicate_share(texts).value == pytest.approx(2 / 5) and math.isnan(duplicate_share(texts).low)


# ------------------------------------------------------------------------------------------------------ repetition

LOOPS = [
    "Let me check. " * 30,
    "So x = 4. Wait, that is not right, let me try again. " * 6,
    "First 3 + 4 = 7, then " + "7 * 5 = 35, so " * 12 + "the answer is 35",
    "the the the the the the the the the the the the the the the the the the the the the the the the the",
    "We know that a > b. " + "Therefore a > b and hence b < a. " * 5,
]
ENUMERATIONS = [
    ", ".join(str(i) for i in range(200)),
    " ".join(
        f"Case {i}: we check whether {i} divides 360, and it {'does' if 360 % i == 0 else 'does not'}."
        for i in range(1, 60)
    ),
    "\n".join(f"Step {i}: multiply by {i} to get {math.factorial(i)}." for i in range(1, 15)),
    "; ".join(f"{a} + {b} = {a + b}" for a in range(1, 8) for b in range(1, 8)),
    "| n | n^2 |\n|---|---|\n" + "\n".join(f"| {i} | {i * i} |" for i in range(40)),
    "a, b, c, d, e, f, g. Monday, Tuesday, Wednesday. Monday, Tuesday, Wednesday.",
    "----------------------------------------------------------------",
    "no, no, no! That is wrong.",
    "",
]


@pytest.mark.parametrize("text", LOOPS)
def test_planted_loops_are_flagged(text: str) -> None:
    found = find_loop(words(text))
    assert found is not None and found.repeats >= 4 and found.span >= 24
    assert repeated_share(words(text)) > 0.4


@pytest.mark.parametrize("text", ENUMERATIONS)
def test_legitimate_enumerations_are_not(text: str) -> None:
    assert find_loop(words(text)) is None


def test_random_texts_with_and_without_a_planted_loop() -> None:
    generator = np.random.default_rng(0)
    for _ in range(100):
        tokens = [f"w{i}" for i in generator.integers(0, 300, 400)]
        assert find_loop(tokens) is None
        period, start = int(generator.integers(1, 40)), int(generator.integers(0, 300))
        repeats = int(generator.integers(max(4, -(-24 // period)), 40))
        block = [f"w{i}" for i in generator.permutation(300)[:period]]  # no shorter period inside
        found = find_loop(tokens[:start] + block * repeats + tokens[start:])
        assert found is not None and found.period == period and abs(found.start - start) <= 2
        assert found.repeats == pytest.approx(repeats, abs=2 / period + 0.01)


def loop_by_definition(tokens: list[str], least_repeats: int, least_span: int) -> Loop | None:
    """Every distance between two equal grams is tried, and every run of agreements is measured."""
    codes = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    ids, found = np.array([codes[token] for token in tokens], dtype=np.int64), None
    for period in _distances(ids, max(1, min(GRAM, least_span - least_span // least_repeats))):
        same, start = [*(ids[period:] == ids[:-period]).tolist(), False], None
        for i, agrees in enumerate(same):
            if agrees and start is None:
                start = i
            elif not agrees and start is not None:
                span = i - start + period
                enough = span >= max(least_span, least_repeats * period) and (found is None or span > found.span)
                if enough and any(_speaks(token) for token in tokens[start : start + period]):
                    found = Loop(start, period, span / period, span)
                start = None
    return found


def test_find_loop_is_its_definition() -> None:
    generator, loops = np.random.default_rng(0), 0
    for _ in range(1500):
        size, alphabet = int(generator.integers(0, 120)), int(generator.integers(1, 6))
        tokens = [["a", "b", "-", "|", "c"][i] for i in generator.integers(0, alphabet, size)]
        if generator.random() < 0.5:
            period = int(generator.integers(1, 12))
            tokens = tokens[:20] + tokens[20 : 20 + period] * int(generator.integers(1, 12)) + tokens[20:]
        least = {"least_repeats": int(generator.integers(2, 6)), "least_span": int(generator.integers(1, 40))}
        found = find_loop(tokens, **least)
        assert found == loop_by_definition(tokens, **least)
        loops += found is not None
    assert 300 < loops < 1200


def test_distances_too_long_for_a_loop_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templated text: the same phrases at hundreds of distances, of which only those below a quarter of the text can be loops."""
    looked = []
    from offleash.boundary import repetition

    plain = repetition._runs
    monkeypatch.setattr(repetition, "_runs", lambda same, least: looked.append(len(same)) or plain(same, least))
    generator = np.random.default_rng(0)
    phrase = [f"t{i}" for i in range(10)]
    tokens = [w for _ in range(200) for w in (*phrase, *(f"w{i}" for i in generator.integers(0, 10**6, 3)))]
    tokens += [f"u{i}" for i in range(6000)] + phrase  # far from the last
    assert find_loop(tokens) is None and looked and min(looked) >= len(tokens) * 3 / 4


def test_trap_a_share_of_grams_confuses_enumeration_and_loop() -> None:
    template = " ".join(f"Now we carefully check whether the next candidate in our list works: {i}." for i in range(40))
    assert repeated_share(words(template)) > 0.3 and find_loop(words(template)) is None


def test_repetition_numbers() -> None:
    assert repeated_share(list("abcabc"), 3) == pytest.approx(1 / 4) and math.isnan(repeated_share([1, 2], 8))
    assert find_loop([7] * 30) is not None and find_loop([7] * 20) is None  # token ids; below the least span
    assert find_loop(list("ab" * 20), least_repeats=21) is None
    got = loop_share([LOOPS[0], "fine", "fine, too", LOOPS[1]], ["p", "p", "q", "q"])
    assert got.value == 0.5 and got.n == 2
    short = repeated_grams(["too short", LOOPS[0]])
    assert short.n == 1 and "1 of 2 samples left out" in short.method
    for bad, message in (
        (lambda: repeated_share([1], 0), "n: 0 is no length"),
        (lambda: find_loop([1], least_repeats=1), "least_repeats: 1"),
    ):
        with pytest.raises(InputError, match=message):
            bad()


# ---------------------------------------------------------------------------------------------------------- length


def test_length_ratio_by_hand() -> None:
    got = length_ratio([10, 20, 30], [5, 10, 15])
    assert {q: e.value for q, e in got.items()} == pytest.approx({0.1: 0.5, 0.5: 0.5, 0.9: 0.5})
    assert length_ratio([510.7], [45.7])[0.5].value == pytest.approx(0.0895, abs=1e-4)
    assert "the 0.5 quantile of the lengths before is 0" in length_ratio([0, 0, 0], [1, 2, 3])[0.5].reason


def test_trap_lengths_on_a_step_between_whole_numbers() -> None:
    """Half of the problems answer in 23 tokens and half in 24, and B is longer once: plain quantiles gave 1.021 with [1.000, 1.000]."""
    owners, short = [str(i) for i in range(100) for _ in range(8)], np.repeat(np.arange(100) < 50, 8)
    before = np.where(short, 23, 24)
    after = before.copy()
    after[0] = 24
    got = length_ratio(before, after, owners, owners, quantiles=(0.5,))[0.5]
    assert 1 <= got.low <= got.value <= got.high < 1.01
    cut = np.where(np.arange(1000) < 400, np.arange(1000) % 200 + 100, 1024)  # 60% ended by the token limit
    assert length_ratio(np.full(1000, 512), cut)[0.5].value == pytest.approx(2, abs=1e-6)


@pytest.mark.slow
def test_value_lies_in_its_interval() -> None:
    generator = np.random.default_rng(1)
    for seed in range(80):
        problems, each, top = (
            int(generator.integers(2, 40)),
            int(generator.integers(1, 20)),
            int(generator.integers(2, 6)),
        )
        owners = [str(i) for i in range(problems) for _ in range(each)]
        step = np.repeat(generator.integers(0, top, problems), each) + 20
        half = np.where(np.repeat(np.arange(problems) < problems // 2, each), 10, 1000)
        once = half.copy()
        once[generator.integers(0, len(once))] = 1000
        wide = np.repeat(generator.integers(1, 1000, (2, problems)), each, axis=1)
        noise = generator.integers(20, 20 + top, (2, problems * each))
        given = (owners, owners) if seed % 3 else (None, None)
        for x, y in ((step, step + (generator.random(len(step)) < 0.98)), (half, once), wide, noise):
            for got in length_ratio(x, y, *given, quantiles=(0.1, 0.5, 0.9), seed=seed, replicates=200).values():
                assert got.low - 1e-9 <= got.value <= got.high + 1e-9, (seed, got)


def test_length_ratio_in_flat_memory() -> None:
    """100 problems of 1,024 samples: 3.2 MB of lengths and owners, replicates of at most a million weights; it took 820 MB for 128."""
    generator = np.random.default_rng(0)
    owners = np.repeat([f"{i:03d}" for i in range(100)], 1024).tolist()
    level = generator.normal(4, 0.5, (100, 1))
    x, y = (np.round(np.exp(generator.normal(level, 0.3, (100, 1024)))).ravel() for _ in range(2))
    tracemalloc.start()
    length_ratio(x, y, owners, owners)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_one_problem_alone_has_no_interval_of_lengths() -> None:
    got = length_ratio([10, 20, 30], [5, 10, 15], ["p"] * 3, ["p"] * 3)[0.5]
    assert got.value == pytest.approx(0.5) and math.isnan(got.low) and "alone has no interval" in got.method


@pytest.mark.slow
def test_length_interval_covers_whole_numbers() -> None:
    """40 problems of 8 samples that take 20 to 26 tokens, alike on both sides: the ratio is 1. Standard error of 120 sets: 2%."""
    generator = np.random.default_rng(0)
    owners, held = [f"{i:02d}" for i in range(40) for _ in range(8)], 0
    for seed in range(120):
        level = generator.normal(23, 1, (40, 1))
        x, y = (np.round(generator.normal(level, 1, (40, 8))).ravel() for _ in range(2))
        got = length_ratio(x, y, owners, owners, quantiles=(0.5,), seed=seed, replicates=400)[0.5]
        held += got.low <= 1 <= got.high
    assert held / 120 >= 0.95 - 2 * 0.02


@pytest.mark.slow
def test_length_interval_covers() -> None:
    """Ratio of medians of log-normal lengths, 200 samples; and of 40 problems of 8, where the bootstrap of a median is
    conservative (98% to 99%). Standard error of 300 sets: 1.3%."""
    generator = np.random.default_rng(0)
    held = grouped = 0
    owners = [f"{i:02d}" for i in range(40) for _ in range(8)]
    for seed in range(300):
        x, y = np.exp(generator.normal(4, 0.5, 200)), np.exp(generator.normal(4 + math.log(0.8), 0.6, 200))
        got = length_ratio(x, y, quantiles=(0.5,), seed=seed, replicates=400)[0.5]
        held += got.low <= 0.8 <= got.high
        level = generator.normal(4, 0.5, (40, 1))
        x, y = (np.exp(level + generator.normal(shift, 0.3, (40, 8))).ravel() for shift in (0.0, math.log(0.8)))
        got = length_ratio(x, y, owners, owners, quantiles=(0.5,), seed=seed, replicates=400)[0.5]
        grouped += got.low <= 0.8 <= got.high
    assert 0.91 <= held / 300 <= 0.985 and grouped / 300 >= 0.91


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([], [1], "before: shape .0,.; give the length of each sample"),
        ([1], [math.nan], "after: nan at position 0"),
        ([-1], [1], "before: -1.0 at position 0"),
    ],
)
def test_length_ratio_refuses(before: list[float], after: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        length_ratio(before, after)
    with pytest.raises(InputError, match=r"quantiles: .1\.0."):
        length_ratio([1.0], [1.0], quantiles=[1.0])
    with pytest.raises(InputError, match="give the problems of both sides"):
        length_ratio([1.0], [1.0], ["p"])


# ------------------------------------------------------------------------------------------- answers, computation


def test_first_answer() -> None:
    late, early = "x" * 90 + r"\boxed{4} ", r"\boxed{4}" + "x" * 91
    got = first_answer([late, early, "none here"])
    assert got.value == pytest.approx(0.45) and got.n == 2 and "1 of 3 samples left out" in got.method
    assert first_answer(["The answer is 4."]).value == pytest.approx(4 / 16)
    assert first_answer(["none"]).reason == "it is undefined in every sample"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("3 + 4 = 7", 1), ("(3+4)*5 = 35", 2), ("12 / 4 - 1", 2), ("2 × 3 ÷ 4 − 1", 3), (r"\frac{1}{2} + \frac{3}{4}", 3),
        (r"2 \cdot 3 \times 4", 2), ("2^10 ** 2", 2), ("a well-known result - 40", 0), ("-5", 0), ("3 * -2", 1), ("", 0),
        ("$5 * $3", 1),
    ],
)  # fmt: skip
def test_operations_written(text: str, count: int) -> None:
    assert operations_written(text) == count


def test_missing_computation() -> None:
    got = missing_computation(["3 + 4 = 7; 7 * 5 = 35", "35", "3 + 4", "1+1+1+1+1"], [2, 2, 2, 2])
    assert got.value == pytest.approx((0 + 1 + 0.5 + 0) / 4) and got.low < got.value < got.high
    for needed, message in (
        ([2], "needed: 1 for 2 of texts"),
        ([2, 0], "needed: 0 at position 1; give a whole number"),
    ):
        with pytest.raises(InputError, match=message):
            missing_computation(["a", "b"], needed)


def test_diagnose_gives_what_the_input_allows() -> None:
    texts, problems = ["the answer is 4", "the answer is 5", LOOPS[0], "3 + 4"], ["p", "p", "q", "q"]
    got = diagnose(texts, problems, answers=["4", "5", None, "7"], needed=[1, 1, 1, 1])
    assert set(got) == {
        "duplicates", "duplicates_normalised", "repeated_grams", "loops", "first_answer", "answer_repetition",
        "missing_computation",
    }  # fmt: skip
    assert got["loops"].value == 0.25 and got["missing_computation"].value == 0.75
    assert set(diagnose(texts)) == set(got) - {"answer_repetition", "missing_computation"}
    with pytest.raises(InputError, match="texts: no sample"):
        diagnose([])
    with pytest.raises(InputError, match="problems: 1 for 4 of texts"):
        diagnose(texts, ["p"])
