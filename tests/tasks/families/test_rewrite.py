"""Rewriting, against a list of everything that may be said, made from the prompt alone."""

from __future__ import annotations

import itertools
import re

import pytest

from offleash import tasks
from offleash.core import Problem
from offleash.tasks.families import rewrite
from offleash.tasks.families.rewrite import FILLERS, REWRITE

LINES = [rewrite.ADJECTIVES, rewrite.PERSONS, rewrite.VERBS, rewrite.THINGS]
GROUPS = [re.split("[ |]", line) for lines in LINES for line in lines.split("\n") if line]
"""The words of each meaning; the last one is the heavy one."""


def drawn(level: int, count: int, split: str = "test") -> list[Problem]:
    return [REWRITE.generate(("rewrite", i), level, split) for i in range(count)]


def sayings(prompt: str) -> tuple[set[str], set[str]]:
    """Of all sentences with the meaning of a prompt, heavy words or not: the right ones, and the others."""
    found = re.fullmatch(r"plain (\d\d):([a-z ]+)=", prompt)
    assert found
    places = []
    for word in found[2].split():
        if word not in FILLERS:
            places.append([word] if word == "the" else next(group for group in GROUPS if word in group))
    every = {" ".join(words) for words in itertools.product(*places)}
    heavy = {group[-1] for group in GROUPS}
    right = {text for text in every if len(text) <= int(found[1]) and not heavy & set(text.split())}
    return right, every - right


EXAMPLE = Problem("rewriting", "1", "plain 29:the very moneyed medic got the vessel=", "the rich medic got the boat", 2, "test", {
    "words": ["moneyed", "medic", "got", "vessel"], "source": "the very moneyed medic got the vessel", "limit": 29})  # fmt: skip


def test_no_word_has_two_meanings() -> None:
    words = [*FILLERS, "the", *(word for group in GROUPS for word in group)]
    assert len(words) == len(set(words)) and all(len(group) >= 3 for group in GROUPS)


@pytest.mark.parametrize("level", REWRITE.levels)
def test_the_right_texts_are_those_and_no_others(level: int) -> None:
    for problem in drawn(level, 8):
        right, wrong = sayings(problem.prompt)
        assert right and all(REWRITE.verify(problem, text).correct is True for text in right)
        assert not any(REWRITE.verify(problem, text).correct for text in wrong)
        assert problem.answer in right and len(problem.answer) == min(map(len, right))
        for form in REWRITE.format_shares:
            for i in range(4):
                verdict = REWRITE.verify(problem, REWRITE.gold_in(problem, form, (i,)))
                assert verdict.answer in right and verdict.correct is True and verdict.format == form


def test_levels_leave_less_and_less_open() -> None:
    shares = []
    for level in REWRITE.levels:
        fitting = [sayings(problem.prompt)[0] for problem in drawn(level, 20)]
        every = [len(rewrite.rewritings(tuple(problem.meta["words"]))) for problem in drawn(level, 20)]
        shares.append(sum(len(right) / n for right, n in zip(fitting, every, strict=True)) / 20)
    assert shares[0] == 1 > shares[1] > shares[2] > 0


def test_the_guess_is_the_share_of_right_ones_among_all_sentences() -> None:
    problem = drawn(3, 1)[0]
    kinds = [[word for g in GROUPS if g[0] in lines.split() for word in g[:-1]] for lines in LINES]
    listed = sayings(problem.prompt)[0]
    size = len(kinds[0]) * len(kinds[1]) * len(kinds[2]) * len(kinds[3])
    assert REWRITE.guess(problem) == pytest.approx(len(listed) / size)
    # And there is no right sentence beyond those listed: of any two places, with the reference's words at the others.
    words = problem.answer.split()
    chosen = [words[1], words[2], words[3], words[5]]
    for free in itertools.combinations(range(4), 2):
        for fill in itertools.product(*(kinds[i] if i in free else [chosen[i]] for i in range(4))):
            text = "the {} {} {} the {}".format(*fill)
            assert REWRITE.verify(problem, text).correct is (text in listed)


def test_a_code_means_the_sentence_it_makes() -> None:
    for problem in drawn(2, 10):
        code = REWRITE.gold_in(problem, "code")
        text = problem.meta["source"]
        for edit in code.split(";"):
            old, _, new = edit.lstrip("-").partition("/")
            text, count = re.subn(rf"\b{old}\b ?", f"{new} " if new else "", text)
            assert count == 1
        assert REWRITE.verify(problem, code).answer == text.strip()
        for i in range(len(code.split(";"))):
            fewer = ";".join(code.split(";")[:i] + code.split(";")[i + 1 :])
            assert REWRITE.verify(problem, fewer).correct is False


def test_the_example_of_the_documentation() -> None:
    source = "the very moneyed medic got the vessel"
    meta = {"words": ["moneyed", "medic", "got", "vessel"], "source": source, "limit": 27}
    problem = Problem("rewriting", "1", f"plain 27:{source}=", "the rich medic got the boat", 2, "test", meta)
    golds = ("the rich medic got the boat", "very=;moneyed=rich;vessel=boat>the rich medic got the ship")
    for text, form in zip((*golds, "-very;moneyed/rich;vessel/boat"), REWRITE.format_shares, strict=True):
        assert f'"{text}"' in str(rewrite.__doc__)
        verdict = REWRITE.verify(problem, text)
        assert verdict.correct is True and verdict.format == form


def test_faults_are_named_and_a_wrong_text_earns_up_to_a_half() -> None:
    verdicts = {
        text: REWRITE.verify(EXAMPLE, text)
        for text in (
            "the very rich medic got the boat",
            "the rich medic got the vessel",
            "the rich medic got the car",
            "the rich medic got boat",
            "the wealthy doctor bought the ship",
            "boat the got medic rich the",
            "xyz",
            "The rich medic got the boat",
        )
    }
    reasons = [verdict.reason for verdict in verdicts.values()]
    assert reasons[:7] == [
        "the filler very is left",
        "the heavy word vessel is left",
        "car does not say what is said there",
        "5 words, not 6",
        "34 characters, more than 29",
        "boat does not say what is said there",
        "1 words, not 6",
    ]
    rewards = [verdict.reward for verdict in verdicts.values()]
    assert rewards[0] == 3 / 7 and rewards[1] == rewards[2] == 5 / 12 and rewards[4] == 0.5
    assert rewards[5] < rewards[3] and rewards[6] == rewards[7] == 0
    assert all(verdict.correct is False for verdict in verdicts.values())
    assert REWRITE.verify(EXAMPLE, "the rich doctor got the boat").reward == 1


def test_the_reference_follows_the_reasoning() -> None:
    assert isinstance(REWRITE, tasks.HasReference)
    for problem in drawn(3, 10):
        text = REWRITE.gold_in(problem, "steps")
        reasoning = REWRITE.reasoning(problem, text)
        assert text.startswith(reasoning) and reasoning.endswith(">") and ">" not in text[len(reasoning) :]
        assert REWRITE.verify(problem, reasoning + REWRITE.reference(problem)).correct is True
        assert REWRITE.reasoning(problem, REWRITE.gold_in(problem, "direct")) == ""


def test_any_plain_word_carries_out_a_step() -> None:
    assert REWRITE.operations(EXAMPLE) == ["very=", "moneyed=rich", "vessel=boat"]
    assert REWRITE.performed(EXAMPLE, "very=;moneyed=wealthy;vessel=car>x") == ["very=", "moneyed=rich"]
    assert REWRITE.performed(EXAMPLE, "-very;vessel/ship") == ["very=", "vessel=boat"]
    assert REWRITE.performed(EXAMPLE, "very=just;moneyed=>x") == []
    assert REWRITE.planning(EXAMPLE, "very=;vessel=boat>the boat") == [(0, 4), (6, 12)]
    assert REWRITE.planning(EXAMPLE, "-very;vessel/ship") == [(0, 5), (6, 12)]


def test_what_is_said_decides_the_split() -> None:
    found: dict[tuple[str, ...], set[str]] = {}
    for level, split in itertools.product(REWRITE.levels, ("pretrain", "train", "probe", "test")):
        for problem in drawn(level, 50, split):
            meaning = tuple(next(g[0] for g in GROUPS if word in g) for word in problem.meta["words"])
            found.setdefault(meaning, set()).add(split)
    assert all(len(splits) == 1 for splits in found.values()) and len(found) < 50 * 4 * len(REWRITE.levels)
