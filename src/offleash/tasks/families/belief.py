"""Who believes what is where (theory of mind; the orders 0 to 4 are the levels).

    prompt  "mind abc5 -b a2 -a c7 +b b4?ba="
        direct  "42445"
        seen    "5=abc;2=ac;7=c;4=bc;a=2;ba=5>42445"
        code    "t=4;a=2;b=4;c=4;ba=5>42445"

A thing is put into box 5, and a, b and c see it. Then "-b": b leaves the room; "a2": a, who has to be there, moves it to box
2; "+b": b is back, and does not look into the boxes. Who is in the room sees who moves what, and who else sees it. So "ba",
what b believes that a believes, is the last box into which it was moved before the eyes of both: what one did not see, one
does not think of.

The answer is the table of beliefs: where the thing is, where each person believes it to be, and, of the chain asked about, what
its last two, three, ... persons believe of each other. At order 0 ("?0=") it is where the thing is, no more; at order 1
("?1=") no chain is asked about. One box could be guessed (order 0 is a control); the table cannot: it names at least three.
Boxes are named at random, each used once: `guess` is the exact chance of one who knows which beliefs agree, but not the boxes.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import NamedTuple

import numpy as np

from offleash.core import Problem
from offleash.tasks.base import register
from offleash.tasks.families.family import MAX_CHARS, Drawn, Format, Procedural, StepOf

BOXES = "123456789"
DISTINCT = 3
"""Boxes that a table names at least, above order 0."""


class Story(NamedTuple):
    """The persons, the box at the beginning, and events: "-b", "+b", "a2"."""

    people: str
    box: str
    events: tuple[str, ...]


class Size(NamedTuple):
    """Of the stories of a level."""

    people: int
    events: int
    moves: tuple[int, int]
    """Fewest and most."""


SIZES = {
    0: Size(3, 7, (2, 4)),
    1: Size(3, 10, (3, 5)),
    2: Size(3, 10, (3, 5)),
    3: Size(3, 10, (3, 5)),
    4: Size(4, 10, (4, 5)),
}


def sights(story: Story) -> list[tuple[str, str]]:
    """Each box that the thing was put into, in order, and who saw it."""
    there = set(story.people)
    found = [(story.box, story.people)]
    for event in story.events:
        who, what = event[0], event[1]
        if who == "-":
            there.discard(what)
        elif who == "+":
            there.add(what)
        else:
            found.append((what, "".join(sorted(there))))
    return found


def belief(seen: list[tuple[str, str]], chain: str) -> str:
    """The box of a chain of persons ("ba": b believes that a believes); "" is where the thing is."""
    return next(box for box, who in reversed(seen) if set(chain) <= set(who))


def asked(story: Story, order: int, chain: str) -> list[str]:
    """The chains whose boxes make the answer, in its order."""
    if order == 0:
        return [""]
    return ["", *story.people, *(chain[-i:] for i in range(2, order + 1))]


def beliefs(problem: Problem) -> dict[str, str]:
    """The ground truth: the box of every chain of different persons, of all orders; "" is where the thing is."""
    story = story_of(problem)
    seen = sights(story)
    orders = range(len(story.people) + 1)
    chains = ("".join(chain) for order in orders for chain in itertools.permutations(story.people, order))
    return {chain: belief(seen, chain) for chain in chains}


def story_of(problem: Problem) -> Story:
    """The story of a problem."""
    return Story(problem.meta["people"], problem.meta["box"], tuple(problem.meta["events"]))


def canonical(story: Story) -> str:
    """A story without the names of persons and boxes: persons are named in the order in which they act."""
    names: dict[str, str] = {}
    found = []
    for event in story.events:
        who, what = event[0], event[1]
        person = what if who in "-+" else who
        name = names.setdefault(person, str(len(names)))
        found.append(name if person == who else who + name)
    return f"{len(story.people)} {' '.join(found)}"


def _story(size: Size, generator: np.random.Generator) -> Story | None:
    """As many random events as the level has; None where too few of them are moves."""
    people = "abcd"[: size.people]
    boxes = [BOXES[i] for i in generator.permutation(len(BOXES))]
    box, there, events, moves = boxes.pop(), set(people), list[str](), 0
    picks = generator.integers(size.people, size=size.events).tolist()
    kinds = generator.random(size.events).tolist()
    for pick, kind in zip(picks, kinds, strict=True):
        person = people[pick]
        if person not in there:
            there.add(person)
            events.append("+" + person)
        elif kind < 0.5 and moves < size.moves[1]:
            moves += 1
            events.append(person + boxes.pop())
        else:
            there.discard(person)
            events.append("-" + person)
    return Story(people, box, tuple(events)) if moves >= size.moves[0] else None


def _direct(problem: Problem, generator: np.random.Generator) -> str:
    return problem.answer


def _seen(problem: Problem, generator: np.random.Generator) -> str:
    return ";".join(BELIEF.operations(problem)) + ">" + problem.answer


def _code(problem: Problem, generator: np.random.Generator) -> str:
    return ";".join(_named(problem)) + ">" + problem.answer


def _named(problem: Problem) -> list[str]:
    chains = asked(story_of(problem), problem.level, problem.meta["chain"])
    return [f"{chain or 't'}={box}" for chain, box in zip(chains, problem.answer, strict=True)]


_STEP = r"(?:[1-9]=[a-d]{1,4}|[a-d]{1,4}=[1-9])"


class Belief(Procedural):
    """The family. A level is the order of belief that is asked for; see `SIZES` for the stories."""

    name = "belief"
    levels = tuple(SIZES)
    main_level = 2
    about = "who believes what is where: a table of beliefs, up to the level's order"
    formats = (
        Format("direct", 0.6, _direct, re.compile(r"(?P<answer>[1-9]{1,8})")),
        Format("seen", 0.3, _seen, re.compile(rf"[1-9]=[a-d]{{1,4}}(?:;{_STEP})*>(?P<answer>[1-9]{{1,8}})")),
        Format("code", 0.1, _code, re.compile(r"t=[1-9](?:;[a-d]{1,4}=[1-9])*>(?P<answer>[1-9]{1,8})")),
    )

    def draw(self, level: int, generator: np.random.Generator) -> Drawn | None:
        """See `Procedural.draw`: only stories whose answer names boxes enough; then the deepest belief is false."""
        story = _story(SIZES[level], generator)
        if story is None:
            return None
        chain = "".join(story.people[i] for i in generator.permutation(len(story.people))[:level]) if level > 1 else ""
        seen = sights(story)
        answer = "".join(belief(seen, each) for each in asked(story, level, chain))
        if level and len(set(answer)) < DISTINCT:
            return None
        prompt = f"mind {story.people}{story.box} {' '.join(story.events)}?{chain or level}="
        meta = {"people": story.people, "box": story.box, "events": list(story.events), "chain": chain}
        return Drawn(prompt, answer, canonical(story), meta)

    def operations(self, problem: Problem) -> list[str]:
        """See `HasOperations.operations`: who saw each move, as "2=ac"; then beliefs along the chain, as "a=2", "ba=5".

        At order 1, where there is no chain, the belief of each.
        """
        story, chain = story_of(problem), problem.meta["chain"]
        seen = sights(story)
        chains = list(story.people) if problem.level == 1 else [chain[-i:] for i in range(1, len(chain) + 1)]
        return [*(f"{box}={who}" for box, who in seen), *(f"{each}={belief(seen, each)}" for each in chains)]

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: the boxes of a table that names so many, drawn at random, each once."""
        return 1 / math.perm(len(BOXES), len(set(problem.answer)))

    def steps_of(self, problem: Problem, text: str) -> list[StepOf]:
        """See `Procedural.steps_of`; in which order those who saw a move are named does not matter."""
        found = []
        for step in super().steps_of(problem, text[:MAX_CHARS]):
            box, _, who = step.operation.rpartition("=")
            found.append(step._replace(operation=f"{box}={''.join(sorted(who))}"))
        return found


BELIEF = Belief()
register(BELIEF)
