"""The household's state and what commands do to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from offleash.tasks.worlds import household_solver
from offleash.tasks.worlds.rules import Acted

CLEAN, HOT, COOL = 1, 2, 4
PROPERTIES = {CLEAN: "clean", HOT: "hot", COOL: "cool"}
KINDS = {
    "table": "on", "shelf": "on", "counter": "on", "sink": "in", "fridge": "in", "microwave": "in", "cabinet": "in", "drawer": "in",
}  # fmt: skip
"""Receptacles, and the word for being there."""
OPENABLE = ("fridge", "microwave", "cabinet", "drawer")
TOOLS = {"clean": ("sink", CLEAN), "heat": ("microwave", HOT), "cool": ("fridge", COOL)}
HELD = -1
NOTHING = "Nothing happens."


class Goal(NamedTuple):
    """`number` objects of a kind, with a property (0 for none), in or on receptacles of a kind."""

    thing: str
    wanted: int
    place: str
    number: int

    def text(self) -> str:
        """The goal in words."""
        adjective = f"{PROPERTIES[self.wanted]} " if self.wanted else ""
        things = (
            f"two {adjective}{self.thing}{'es' if self.thing[-1] == 'o' else 's'}"
            if self.number == 2
            else f"a {adjective}{self.thing}"
        )
        return f"put {things} {KINDS[self.place]} a {self.place}"


class Layout(NamedTuple):
    """What does not change: rooms; receptacles as (name, room); objects as (name, receptacle they start in); the goal."""

    rooms: tuple[str, ...]
    receptacles: tuple[tuple[str, int], ...]
    objects: tuple[tuple[str, int], ...]
    goal: Goal

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Layout:
        """From a problem's JSON."""
        pairs = {name: tuple((str(a), int(b)) for a, b in content[name]) for name in ("receptacles", "objects")}
        return cls(tuple(content["rooms"]), pairs["receptacles"], pairs["objects"], Goal(*content["goal"]))


class State(NamedTuple):
    """Where everything is.

    The player is in a room, `at` a receptacle or in the middle (-1); each object is HELD or in a receptacle, and has been
    treated (bits); receptacles are open (bits).
    """

    room: int
    at: int
    where: tuple[int, ...]
    marks: tuple[int, ...]
    opened: int


class Household:
    """One household. See `rules.Game`."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.place_kind = tuple(name.split()[0] for name, _ in layout.receptacles)
        self.thing_kind = tuple(name.split()[0] for name, _ in layout.objects)
        self._place_of = {name: i for i, (name, _) in enumerate(layout.receptacles)}
        self._thing_of = {name: i for i, (name, _) in enumerate(layout.objects)}
        self._gold: list[str] | None = None

    def initial(self) -> State:
        """In the middle of the first room, everything closed."""
        return State(0, -1, tuple(place for _, place in self.layout.objects), (0,) * len(self.layout.objects), 0)

    def opening(self) -> str:
        """The first observation."""
        rooms = ", ".join(self.layout.rooms)
        return f"Your task is to: {self.layout.goal.text()}.\nThe rooms are: {rooms}.\n{self._room(0)}"

    def solved(self, state: State) -> bool:
        """Whether enough of the wanted objects are where they should be."""
        thing, wanted, place, number = self.layout.goal
        there = 0
        for i, at in enumerate(state.where):
            there += (
                at != HELD
                and self.thing_kind[i] == thing
                and self.place_kind[at] == place
                and state.marks[i] & wanted == wanted
            )
        return there >= number

    def over(self, state: State) -> bool:
        """See `Game.over`."""
        return self.solved(state)

    def reachable(self, state: State) -> bool:
        """Whether the player's hands reach into the receptacle in front of them."""
        return state.at >= 0 and (self.place_kind[state.at] not in OPENABLE or bool(state.opened >> state.at & 1))

    def held(self, state: State) -> int:
        """The object in the player's hand, or -1."""
        return state.where.index(HELD) if HELD in state.where else -1

    def commands(self, state: State) -> list[str]:
        """Every valid command but to go where one is."""
        rooms, places = self.layout.rooms, self.layout.receptacles
        found = ["look", "inventory"]
        found += [f"go to {name}" for i, name in enumerate(rooms) if i != state.room]
        found += [f"go to {name}" for i, (name, room) in enumerate(places) if room == state.room and i != state.at]
        if state.at < 0:
            return found
        name, kind = places[state.at][0], self.place_kind[state.at]
        if kind in OPENABLE:
            found.append(f"{'close' if state.opened >> state.at & 1 else 'open'} {name}")
        held = self.held(state)
        if held >= 0:
            thing = self.layout.objects[held][0]
            found += [f"put {thing} in {name}"] if self.reachable(state) else []
            found += [f"{verb} {thing} with {tool}" for verb, (tool, _) in TOOLS.items() if tool == kind]
        elif self.reachable(state):
            found += [
                f"take {thing} from {name}"
                for i, (thing, _) in enumerate(self.layout.objects)
                if state.where[i] == state.at
            ]
        return found

    def act(self, state: State, command: str) -> Acted:
        """See `Game.act`. Words may be in capitals; `in`, `on` and `into` are the same."""
        words = command.lower().split()[:12]
        text = " ".join(words)
        if text == "look":
            return Acted(state, self._here(state), True)
        if text == "inventory":
            held = self.held(state)
            return Acted(
                state, f"You carry {_a(self._thing(state, held))}." if held >= 0 else "You carry nothing.", True
            )
        if text.startswith("go to "):
            return self._go(state, text[6:])
        if len(words) == 3 and words[0] in ("open", "close"):
            return self._turn(state, words[0] == "open", " ".join(words[1:]))
        if len(words) == 6 and words[0] in ("take", "put"):
            return self._move(state, words[0], words[3], " ".join(words[1:3]), " ".join(words[4:]))
        if len(words) >= 5 and words[0] in TOOLS and words[3] == "with":
            return self._treat(state, words[0], " ".join(words[1:3]), words[4:])
        return Acted(state, NOTHING, False)

    def _go(self, state: State, target: str) -> Acted:
        if target in self.layout.rooms:
            room = self.layout.rooms.index(target)
            if room != state.room:
                return Acted(state._replace(room=room, at=-1), self._room(room), True)
        place = self._place_of.get(target, -1)
        if place >= 0 and self.layout.receptacles[place][1] == state.room and place != state.at:
            there = state._replace(at=place)
            return Acted(there, f"You go to the {target}. {self._inside(there)}", True)
        return Acted(state, NOTHING, False)

    def _turn(self, state: State, opens: bool, target: str) -> Acted:
        place = self._place_of.get(target, -1)
        is_open = bool(state.opened >> max(place, 0) & 1)
        if place < 0 or place != state.at or self.place_kind[place] not in OPENABLE or is_open == opens:
            return Acted(state, NOTHING, False)
        after = state._replace(opened=state.opened ^ (1 << place))
        return Acted(
            after, f"You open the {target}. {self._inside(after)}" if opens else f"You close the {target}.", True
        )

    def _move(self, state: State, verb: str, link: str, thing: str, target: str) -> Acted:
        i, place, held = self._thing_of.get(thing, -1), self._place_of.get(target, -1), self.held(state)
        takes = verb == "take" and link == "from" and held < 0 and i >= 0 and state.where[i] == place
        puts = verb == "put" and link in ("in", "on", "into") and held == i >= 0
        if place < 0 or place != state.at or not self.reachable(state) or not (takes or puts):
            return Acted(state, NOTHING, False)
        where = (*state.where[:i], HELD if takes else place, *state.where[i + 1 :])
        word = "from" if takes else KINDS[self.place_kind[place]]
        return Acted(state._replace(where=where), f"You {verb} the {thing} {word} the {target}.", True)

    def _treat(self, state: State, verb: str, thing: str, tool: list[str]) -> Acted:
        kind, mark = TOOLS[verb]
        i = self._thing_of.get(thing, -1)
        name = self.layout.receptacles[state.at][0] if state.at >= 0 else ""
        if i < 0 or state.where[i] != HELD or self.place_kind[state.at] != kind or " ".join(tool) not in (kind, name):
            return Acted(state, NOTHING, False)
        other = {HOT: COOL, COOL: HOT}.get(mark, 0)
        marks = (*state.marks[:i], state.marks[i] & ~other | mark, *state.marks[i + 1 :])
        return Acted(state._replace(marks=marks), f"You {verb} the {thing} with the {name}.", True)

    def _thing(self, state: State, i: int) -> str:
        adjectives = [word for mark, word in PROPERTIES.items() if state.marks[i] & mark]
        return " ".join([*adjectives, self.layout.objects[i][0]])

    def _room(self, room: int) -> str:
        seen = [name for name, where in self.layout.receptacles if where == room]
        return f"You are in the {self.layout.rooms[room]}. You see {_list(seen)}."

    def _here(self, state: State) -> str:
        if state.at < 0:
            return self._room(state.room)
        return f"You are at the {self.layout.receptacles[state.at][0]}. {self._inside(state)}"

    def _inside(self, state: State) -> str:
        name, kind = self.layout.receptacles[state.at][0], self.place_kind[state.at]
        if not self.reachable(state):
            return f"The {name} is closed."
        seen = [self._thing(state, i) for i, where in enumerate(state.where) if where == state.at]
        return f"{KINDS[kind].capitalize()} the {name} you see {_list(seen)}."

    def shortest(self, most: int) -> list[str] | None:
        """A shortest solution; None where it has more than `most` commands."""
        if self._gold is None:
            self._gold = household_solver.solve(self, most)
        return self._gold if self._gold is not None and len(self._gold) <= most else None

    def gold(self) -> list[str]:
        """A shortest solution."""
        return self.shortest(most=1000) or []

    def chance(self, max_steps: int) -> float:
        """See `household_solver.chance`."""
        return household_solver.chance(self, max_steps)


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _list(names: list[str]) -> str:
    """Names in words: "a cup 1, an egg 1 and a mug 1", or "nothing"."""
    *most, last = [_a(name) for name in names] or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last
