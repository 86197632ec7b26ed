"""Beliefs, against minds that hold minds: each sees the moves it is there for, and imagines what the others see."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

import pytest

from offleash.core import Problem, rng
from offleash.tasks.families.belief import BELIEF, SIZES, Story, beliefs, canonical

PROMPT = re.compile(r"mind ([a-d]{3,4})([1-9]) (\S\S(?: \S\S)*)\?([0-9]|[a-d]{2,4})=")


def drawn(level: int, count: int, split: str = "test") -> list[Problem]:
    return [BELIEF.generate(("belief", i), level, split) for i in range(count)]


@dataclass
class Mind:
    """Where one thinks the thing is, and what one thinks of the others' minds."""

    box: str = ""
    others: dict[str, Mind] = field(default_factory=dict)

    def see(self, box: str, who: set[str], depth: int) -> None:
        """A move before the eyes of these."""
        self.box = box
        if depth:
            for person in who:
                self.others.setdefault(person, Mind()).see(box, who, depth - 1)

    def ask(self, chain: str) -> str:
        """The box of a chain."""
        return self.others[chain[0]].ask(chain[1:]) if chain else self.box


def world(prompt: str) -> tuple[Mind, list[str], str]:
    """The story of a prompt played; what is true is a mind that sees all. Also who saw each move, and the question."""
    found = PROMPT.fullmatch(prompt)
    assert found
    people, box, events, question = found.groups()
    truth, there, seen = Mind(), set(people), [f"{box}={people}"]
    truth.see(box, there, 4)
    for who, what in map(tuple, events.split(" ")):
        if who == "-":
            there.remove(what)  # KeyError for one who is not there
        elif who == "+":
            assert what in people and what not in there
            there.add(what)
        else:
            assert who in there and what in "123456789"
            truth.see(what, there, 4)
            seen.append(f"{what}={''.join(sorted(there))}")
    return truth, seen, question


@pytest.mark.parametrize("level", BELIEF.levels)
def test_answers_are_what_the_minds_hold(level: int) -> None:
    for problem in drawn(level, 30):
        truth, seen, question = world(problem.prompt)
        people = problem.prompt.split(" ")[1][:-1]
        chain = "" if question.isdigit() else question
        assert len(chain) == (level if level > 1 else 0) and len(people) == SIZES[level].people
        wanted = [""] if level == 0 else ["", *people]
        wanted += [chain[i:] for i in range(len(chain) - 2, -1, -1)]
        assert problem.answer == "".join(truth.ask(each) for each in wanted), problem.prompt
        steps = list(people) if level == 1 else [chain[i:] for i in range(len(chain) - 1, -1, -1)]
        assert BELIEF.operations(problem) == seen + [f"{each}={truth.ask(each)}" for each in steps]
        assert level < 2 or truth.ask(chain) != truth.ask("")  # looking where it is does not do
        assert level == 0 or len(set(problem.answer)) >= 3


@pytest.mark.parametrize("level", [2, 4])
def test_every_belief_of_every_order_is_exposed(level: int) -> None:
    for problem in drawn(level, 5):
        truth, _, _ = world(problem.prompt)
        table = beliefs(problem)
        people = problem.meta["people"]
        assert len(table) == sum(1 for n in range(len(people) + 1) for _ in itertools.permutations(people, n))
        assert table == {chain: truth.ask(chain) for chain in table}


def test_sally_and_anne() -> None:
    # a sees it put into 1 and leaves; b moves it to 2; a comes back.
    meta = {"people": "ab", "box": "1", "events": ["-a", "b2", "+a"], "chain": "ba"}
    problem = Problem("belief", "1", "mind ab1 -a b2 +a?ba=", "2121", 2, "test", meta)
    assert beliefs(problem) == {"": "2", "a": "1", "b": "2", "ab": "1", "ba": "1"}
    assert BELIEF.verify(problem, "2121").correct is True
    assert BELIEF.verify(problem, "1=ab;2=b;a=1;ba=1>2121").format == "seen"
    assert BELIEF.performed(problem, "1=ba;2=ab;a=1;ba=2>2121") == ["1=ab", "a=1"]
    assert BELIEF.performed(problem, "t=2;a=1;b=2;ba=1>2121") == ["a=1", "ba=1"]
    assert BELIEF.performed(problem, "2=b;ab=1;ba=1>2121") == ["2=b", "ba=1"]  # "ab" is not "ba"
    for wrong in ("2221", "2122", "212", "21211", "2 1 2 1", "it is not in 2121", "t=2>", "2121>2121", "0121", ""):
        assert BELIEF.verify(problem, wrong).correct is False, wrong


def test_the_example_of_the_documentation() -> None:
    truth, seen, _ = world("mind abc5 -b a2 -a c7 +b b4?ba=")
    assert "".join(map(truth.ask, ("", "a", "b", "c", "ba"))) == "42445"
    assert seen == ["5=abc", "2=ac", "7=c", "4=bc"]


def test_of_all_boxes_for_what_agrees_one_choice_is_right_as_the_guess_says() -> None:
    for level in (0, 2):
        problem = drawn(level, 1)[0]
        kinds = sorted(set(problem.answer))
        every = [
            problem.answer.translate(str.maketrans("".join(kinds), "".join(boxes)))
            for boxes in itertools.permutations("123456789", len(kinds))
        ]
        right = sum(BELIEF.verify(problem, text).correct is True for text in every)
        assert BELIEF.guess(problem) == pytest.approx(right / len(every)) and right == 1


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_boxes_are_as_likely_wherever_they_stand(level: int) -> None:
    # What the guess rests on: the boxes of a table are drawn at random, whatever the story.
    answers = [problem.answer for problem in drawn(level, 180, "pretrain")]
    for place in (0, -1):
        counts = [sum(answer[place] == box for answer in answers) for box in "123456789"]
        assert sum((count - 20) ** 2 / 20 for count in counts) < 26.1  # chi-squared with 8 degrees: one in a thousand


def test_names_of_persons_and_boxes_do_not_decide_the_split() -> None:
    generator = rng.stream("renamed persons")
    contents = set()
    for problem in drawn(3, 20):
        story = Story(problem.meta["people"], problem.meta["box"], tuple(problem.meta["events"]))
        others = "".join("abc"[i] for i in generator.permutation(3))
        boxes = "".join("123456789"[i] for i in generator.permutation(9))
        table = str.maketrans("abc123456789", others + boxes)
        renamed = Story("abc", story.box.translate(table), tuple(event.translate(table) for event in story.events))
        assert canonical(renamed) == canonical(story)
        contents.add(canonical(story))
    assert len(contents) == 20
