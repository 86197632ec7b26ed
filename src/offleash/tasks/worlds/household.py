"""A household of rooms, receptacles and objects, in the spirit of ALFWorld (M. Shridhar et al., arXiv 2010.03768).

    Your task is to: put a clean apple in a fridge.          > go to kitchen
    You are in the hall. ...                                 You are in the kitchen. You see a table 1 and a fridge 1.

Levels are lengths of the shortest solution that knows where everything is (`household_solver`); a player has to look. The rules
and texts are our own, no data of ALFWorld is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from offleash.core import InputError, rng
from offleash.tasks.splits import split_of
from offleash.tasks.worlds.household_game import CLEAN, COOL, HOT, KINDS, Household, Layout
from offleash.tasks.worlds.rules import SHARES, Drawn, check_names


class Level(NamedTuple):
    """How problems of a level are drawn; `shortest` are the least and most commands of a shortest solution."""

    rooms: int
    receptacles: int
    objects: int
    shortest: tuple[int, int]
    max_steps: int
    wanted: int = 1
    treated: bool = True
    """Whether goals may ask for something clean, hot or cool."""


LEVELS = {
    1: Level(rooms=1, receptacles=4, objects=3, shortest=(4, 5), max_steps=15, treated=False),
    2: Level(rooms=1, receptacles=6, objects=5, shortest=(6, 7), max_steps=20),
    3: Level(rooms=2, receptacles=8, objects=8, shortest=(8, 9), max_steps=30),
    4: Level(rooms=3, receptacles=10, objects=10, shortest=(10, 12), max_steps=40, wanted=2),
    5: Level(rooms=4, receptacles=12, objects=12, shortest=(13, 16), max_steps=50, wanted=2),
}
_ROOMS = ("kitchen", "bathroom", "bedroom", "study")
_OBJECTS = ("apple", "bowl", "cup", "egg", "mug", "plate", "potato", "tomato")
_PROPERTIES = (0, CLEAN, HOT, COOL)


class HouseholdRules:
    """The rules of the household."""

    name = "household"
    about = "put a thing where it is asked for, clean, hot or cold, in a house of closed places"
    version = "1"
    levels = tuple(LEVELS)
    instructions = (
        "Commands: look; inventory; go to ROOM; go to PLACE; open PLACE; close PLACE; take THING from PLACE; put THING in PLACE; "
        "clean THING with sink; heat THING with microwave; cool THING with fridge. One command a line."
    )

    def draw(self, key: tuple[str | int, ...], level: int, split: str) -> Drawn:
        """See `Rules.draw`."""
        check_names(self, level, split)
        spec = LEVELS[level]
        generator = rng.stream("household", *key, level, split)
        for _ in range(20_000):
            house = _house(spec, generator)
            if split_of("household", json.dumps(_canonical(house)), SHARES) != split:
                continue
            for _ in range(5):
                content = house | {"objects": _things(spec, house["goal"][0], generator)}
                game = Household(Layout.read(content))
                shortest = game.shortest(most=spec.shortest[1])
                if shortest is not None and len(shortest) >= spec.shortest[0]:
                    return Drawn(content, game.opening(), spec.max_steps)
        raise InputError(f"level {level}: no household problem found in split {split!r} for key {key}; try another")

    def game(self, content: Mapping[str, Any]) -> Household:
        """See `Rules.game`."""
        kept = ("rooms", "receptacles", "objects", "goal")
        return _game(json.dumps({name: content[name] for name in kept}))


@lru_cache(maxsize=256)
def _game(content: str) -> Household:
    return Household(Layout.read(json.loads(content)))


def _house(spec: Level, generator: np.random.Generator) -> dict[str, Any]:
    """Rooms with their places, and a goal."""
    rooms = [_ROOMS[i] for i in generator.permutation(len(_ROOMS))[: spec.rooms]]
    wanted = _PROPERTIES[int(generator.integers(len(_PROPERTIES)))] if spec.treated else 0
    tool = {CLEAN: ["sink"], HOT: ["microwave"], COOL: ["fridge"]}.get(wanted, [])
    names = list(KINDS)
    kinds = tool + [names[i] for i in generator.integers(len(names), size=spec.receptacles - len(tool))]
    kinds = [kinds[i] for i in generator.permutation(len(kinds))]
    # Every room has a place: they are dealt out in turn.
    places = [(f"{kind} {kinds[: i + 1].count(kind)}", i % spec.rooms) for i, kind in enumerate(kinds)]
    thing, place = _OBJECTS[int(generator.integers(len(_OBJECTS)))], kinds[int(generator.integers(len(kinds)))]
    return {"rooms": rooms, "receptacles": places, "goal": [thing, wanted, place, spec.wanted]}


def _things(spec: Level, wanted: str, generator: np.random.Generator) -> list[tuple[str, int]]:
    """Objects in their places: just enough of the wanted kind, or one more."""
    others = [kind for kind in _OBJECTS if kind != wanted]
    drawn = generator.integers(len(others), size=spec.objects - spec.wanted).tolist()
    kinds = [wanted] * spec.wanted + [others[i] for i in drawn]
    if generator.random() < 0.2:
        kinds[-1] = wanted
    where = generator.integers(spec.receptacles, size=spec.objects).tolist()
    return [(f"{kind} {kinds[: i + 1].count(kind)}", where[i]) for i, kind in enumerate(kinds)]


def _canonical(house: Mapping[str, Any]) -> list[Any]:
    """What the prompt shows of a household, without order and numbers: the goal, the rooms, what is in the first room.

    Whatever differs beyond this is in the same split: no prompt of one split occurs in another.
    """
    first = sorted(name.split()[0] for name, room in house["receptacles"] if room == 0)
    return [list(house["goal"]), sorted(house["rooms"]), house["rooms"][0], first]
