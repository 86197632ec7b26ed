"""What holds for every procedural family: golds in every format, spoilt ones, hostile texts, shares, splits, other processes."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import time
from collections import Counter

import pytest

from offleash import tasks
from offleash.core import InputError, Problem, rng
from offleash.tasks.families import ALPHABET, Procedural
from offleash.tasks.families.family import MAX_CHARS, SHARES

FAMILIES = [task for task in map(tasks.get, tasks.names()) if isinstance(task, Procedural)]
UNIQUE = [family for family in FAMILIES if family.name != "rewriting"]
"""Those with one right answer; rewriting is judged against a reference."""


def named(family: Procedural) -> str:
    return family.name


def drawn(family: Procedural, level: int, count: int, split: str = "test") -> list[Problem]:
    return [family.generate(("families", i), level, split) for i in range(count)]


every = pytest.mark.parametrize("family", FAMILIES, ids=named)
unique = pytest.mark.parametrize("family", UNIQUE, ids=named)


def hostile(problem: Problem, golds: list[str], key: str, count: int) -> list[str]:
    """Texts that are no answers to this problem, made of what its answers are made of, of its prompt, and of look-alikes."""
    pieces = [
        *ALPHABET, *golds, problem.prompt, problem.prompt[:-1], "１２", "٣", "²", "𝟙", "ａ", "ｂ", "а", "\u200b", "\u202e", "\x00", "\ud800",
        "1e999", "nan", "inf", "-0", "00", "9" * 40, "(" * 30, ")" * 30, ";" * 20, ">" * 20, "=" * 20, "\n", "\\boxed{", "{}", "%s", "None",
    ]  # fmt: skip
    generator = rng.stream("hostile families", key)
    return [
        "".join(pieces[i] for i in generator.integers(len(pieces), size=int(generator.integers(1, 9)))) + "!"
        for _ in range(count)
    ]


@every
def test_it_offers_what_a_family_has_to(family: Procedural) -> None:
    assert isinstance(family, tasks.Task) and isinstance(family, tasks.HasPlanning)
    assert isinstance(family, tasks.HasOperations)
    assert len(family.levels) >= 3 and family.main_level in family.levels and family.about
    assert len(family.formats) >= 2 and sum(family.format_shares.values()) == pytest.approx(1.0)
    assert max(family.format_shares.values()) >= 1.5 * min(family.format_shares.values())  # skewed
    assert len(ALPHABET) == len(set(ALPHABET)) <= 64


def test_the_first_word_of_a_prompt_tells_the_family() -> None:
    words = {family.name: {p.prompt.split()[0] for p in drawn(family, family.main_level, 5)} for family in FAMILIES}
    assert all(len(found) == 1 for found in words.values())
    assert len(set.union(*words.values())) == len(FAMILIES)


@every
def test_gold_is_accepted_in_every_format_and_performs_what_is_needed(family: Procedural) -> None:
    for level in family.levels:
        for problem in drawn(family, level, 6):
            needed, best = family.operations(problem), 0
            assert needed and len(set(needed)) == len(needed)
            for form in family.format_shares:
                text = family.gold_in(problem, form)
                verdict = family.verify(problem, text)
                assert verdict.correct is True and verdict.reason == "" and verdict.format == form, (problem, text)
                assert set(problem.prompt + text) <= set(ALPHABET) and len(text) < MAX_CHARS
                done = family.performed(problem, text)
                assert set(done) <= set(needed) and len(set(done)) == len(done)
                best = max(best, len(done))
                spans = family.planning(problem, text)
                assert all(0 <= a < b <= len(text) for a, b in spans) and spans == sorted(spans)
            assert best == len(needed), (problem, "no format performs all operations")


@every
def test_a_step_that_is_spoilt_is_not_performed(family: Procedural) -> None:
    problem = drawn(family, family.main_level, 1)[0]
    needed = family.operations(problem)
    form = max(family.format_shares, key=lambda form: len(family.performed(problem, family.gold_in(problem, form))))
    text = family.gold_in(problem, form)
    lost = 0
    for i, letter in enumerate(text):
        other = (
            "7" if letter.isdigit() and letter != "7" else "8" if letter.isdigit() else "z" if letter != "z" else "y"
        )
        lost += len(family.performed(problem, text[:i] + other + text[i + 1 :])) < len(needed)
    assert lost >= len(needed)


@unique
def test_a_gold_whose_answer_is_spoilt_is_refused(family: Procedural) -> None:
    for problem, other in itertools.pairwise(drawn(family, family.main_level, 8)):
        for form in family.format_shares:
            text = family.gold_in(problem, form)
            assert text.endswith(problem.answer)
            before, last = text[: -len(problem.answer)], problem.answer[-1]
            swapped = "0" if last.isdigit() and last != "0" else "1" if last.isdigit() else "a" if last != "a" else "b"
            for spoilt in (
                before + problem.answer[:-1] + swapped,
                before + problem.answer + last,
                before + problem.answer[:-1],
                before + other.answer,
                text + "!",
                problem.prompt + text,
            ):
                if spoilt not in (text, ""):
                    assert family.verify(problem, spoilt).correct is False, (problem, spoilt)


def check_hostile(family: Procedural, count: int) -> None:
    problem = drawn(family, family.main_level, 1)[0]
    golds = [family.gold_in(problem, form) for form in family.format_shares]
    other = drawn(family, family.main_level, 2)[1]
    for text in hostile(problem, golds, family.name, count):
        verdict = family.verify(problem, text)
        # All end with a sign that no format has: whatever passes has not been read to its end.
        assert verdict.correct is False and verdict.reason and len(verdict.answer) <= MAX_CHARS, text
        assert math.isfinite(verdict.reward)
        family.planning(problem, text), family.performed(problem, text)
    for text in (problem.prompt, "".join(golds), golds[0] + "\x00", golds[0].translate(dict(zip(range(48, 58), "０１２３４５６７８９", strict=True))) + "\u200b", family.gold_in(other, next(iter(family.format_shares)))):  # fmt: skip
        assert family.verify(problem, text).correct is False, text


@unique
def test_hostile_texts(family: Procedural) -> None:
    check_hostile(family, 200)


@pytest.mark.slow
@unique
def test_ten_thousand_hostile_texts(family: Procedural) -> None:
    check_hostile(family, 10_000)


@every
def test_the_longest_texts_take_no_time(family: Procedural) -> None:
    problem = drawn(family, family.main_level, 1)[0]
    gold = family.gold(problem)
    longest = [
        "(" * 10**6,
        "9" * 10**5,
        gold * 10**4,
        "a=" * 128,
        "1+" * 127 + "1;",
        ";>" * 128,
        "=" * MAX_CHARS,
        "[" * MAX_CHARS,
    ]
    start = time.process_time()
    for text in longest:
        verdict = family.verify(problem, text)
        assert verdict.correct is not True or family.name == "rewriting"
        family.planning(problem, text), family.performed(problem, text)
    assert time.process_time() - start < 0.5


@every
def test_traces_are_in_the_formats_with_their_shares(family: Procedural) -> None:
    count = 400
    traces = family.traces(("shares",), family.levels[0], "pretrain", count)
    found = Counter(family.read(text).format for _, text in traces)
    for form, share in family.format_shares.items():
        assert abs(found[form] - count * share) < 4.5 * math.sqrt(count * share * (1 - share)), found
    assert sum(found.values()) == count and "none" not in found


@every
def test_unknown_levels_splits_and_formats_are_named(family: Procedural) -> None:
    with pytest.raises(InputError, match="no level 77"):
        family.generate((0,), 77, "test")
    with pytest.raises(InputError, match="dev"):
        family.traces((0,), family.levels[0], "dev", 1)
    with pytest.raises(InputError, match="no format 'prose'; formats: "):
        family.gold_in(drawn(family, family.levels[0], 1)[0], "prose")


def test_verdicts_and_problems_are_the_same_in_another_process() -> None:
    code = (
        "from offleash import tasks\nfrom offleash.core import rng\n"
        "from offleash.tasks.families import Procedural\n"
        "for task in map(tasks.get, tasks.names()):\n"
        "    if isinstance(task, Procedural):\n"
        "        problem = task.generate(('process',), task.main_level, 'test')\n"
        "        texts = [task.gold_in(problem, form) for form in task.format_shares] + ['7', 'abc', '1=2;>3']\n"
        "        print(rng.digest(repr(problem), *[repr(task.verify(problem, text)) for text in texts]).hex())\n"
    )
    here = []
    for family in FAMILIES:
        problem = family.generate(("process",), family.main_level, "test")
        texts = [family.gold_in(problem, form) for form in family.format_shares] + ["7", "abc", "1=2;>3"]
        here.append(rng.digest(repr(problem), *[repr(family.verify(problem, text)) for text in texts]).hex())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == here


@unique
def test_chance_at_256_is_at_most_a_half_at_the_main_level(family: Procedural) -> None:
    guesses = [family.guess(problem) for problem in drawn(family, family.main_level, 24)]
    assert all(0 < guess < 1 for guess in guesses)
    assert sum(1 - (1 - guess) ** 256 for guess in guesses) / len(guesses) <= 0.5


@pytest.mark.prove  # one in twenty draws is of the probe split
@every
def test_splits_share_no_question_in_ten_thousand_draws(family: Procedural) -> None:
    prompts = {split: {p.prompt for p in drawn(family, family.main_level, 2500, split)} for split in SHARES}
    for a, b in itertools.combinations(prompts, 2):
        assert not prompts[a] & prompts[b]
