"""Shortest solutions of a household, and what a player who draws commands blindly achieves."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from offleash.core import rng

if TYPE_CHECKING:
    from offleash.tasks.worlds.household_game import Household, State

MOST_STATES = 1500
"""States at a time for which a blind player's chance is computed exactly."""
PARTICLES = 200
"""Episodes of a blind player a stage where it is not."""


def solve(game: Household, most: int = 1000) -> list[str] | None:
    """A shortest list of commands to the goal, by breadth-first search; None where there is none of at most `most`.

    Only commands that can belong to a shortest solution are tried: objects of the wanted kind, their places, the goal's places
    and the tool's. Nothing else changes what these do, and closing or looking changes nothing that helps.
    """
    start = game.initial()
    if game.solved(start):
        return []
    before: dict[State, tuple[State, str] | None] = {start: None}
    waiting = deque([(start, 0)])
    while waiting:
        state, depth = waiting.popleft()
        if depth == most:
            return None
        for command in _useful(game, state):
            after = game.act(state, command).state
            if after in before:
                continue
            before[after] = (state, command)
            if game.solved(after):
                return _path(before, after)
            waiting.append((after, depth + 1))
    return None


def _path(before: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    found = []
    while (step := before[state]) is not None:
        state, command = step
        found.append(command)
    return found[::-1]


def _useful(game: Household, state: State) -> Iterator[str]:
    goal, layout = game.layout.goal, game.layout
    verb, tool = {0: ("", ""), 1: ("clean", "sink"), 2: ("heat", "microwave"), 4: ("cool", "fridge")}[goal.wanted]
    held = game.held(state)
    wanted = [i for i, kind in enumerate(game.thing_kind) if kind == goal.thing]
    if held >= 0:
        targets = {i for i, kind in enumerate(game.place_kind) if kind in (goal.place, tool)}
    else:
        targets = {state.where[i] for i in wanted}
    rooms = {layout.receptacles[i][1] for i in targets}
    yield from (f"go to {layout.rooms[room]}" for room in rooms if room != state.room)
    yield from (f"go to {layout.receptacles[i][0]}" for i in targets if layout.receptacles[i][1] == state.room)
    if state.at not in targets:
        return
    name, kind = layout.receptacles[state.at][0], game.place_kind[state.at]
    if not game.reachable(state):
        yield f"open {name}"
    if held < 0:
        yield from (f"take {layout.objects[i][0]} from {name}" for i in wanted if state.where[i] == state.at)
        return
    if kind == tool:
        yield f"{verb} {layout.objects[held][0]} with {tool}"
    if kind == goal.place:
        yield f"put {layout.objects[held][0]} in {name}"


def chance(game: Household, max_steps: int) -> float:
    """Probability that a player who draws uniformly among the valid commands reaches the goal within `max_steps`.

    Exact where no more than MOST_STATES states are possible at a time, else estimated in stages.
    """
    exact = exact_chance(game, max_steps, MOST_STATES)
    return staged_chance(game, max_steps, PARTICLES) if exact is None else exact


def exact_chance(game: Household, max_steps: int, most_states: int) -> float | None:
    """The same by summing over all ways to play; None where more than `most_states` states are possible at a time."""
    alive: dict[State, float] = {game.initial(): 1.0}
    moves: dict[State, list[State]] = {}
    solved = 0.0
    for _ in range(max_steps):
        following: defaultdict[State, float] = defaultdict(float)
        for state, weight in alive.items():
            if state not in moves:
                moves[state] = [game.act(state, command).state for command in game.commands(state)]
            share = weight / len(moves[state])
            for after in moves[state]:
                following[after] += share
        for state in [state for state in following if game.solved(state)]:
            solved += following.pop(state)
        alive = following
        if len(alive) > most_states:
            return None
    return solved


def progress(game: Household, state: State) -> int:
    """How far along a state is: three for each wanted object in its place, one for holding another, two if it is as wanted."""
    goal = game.layout.goal
    if game.solved(state):
        return 3 * goal.number
    done, held = 0, game.held(state)
    for i, at in enumerate(state.where):
        ready = game.thing_kind[i] == goal.thing and state.marks[i] & goal.wanted == goal.wanted
        done += ready and at >= 0 and game.place_kind[at] == goal.place
    near = int(held >= 0 and game.thing_kind[held] == goal.thing)
    near += near and state.marks[held] & goal.wanted == goal.wanted
    return min(3 * done + near, 3 * goal.number - 1)


def staged_chance(game: Household, max_steps: int, particles: int) -> float:
    """An unbiased estimate by splitting, the same for the same household.

    The chance is a product: of getting one stage of `progress` further in the steps that are left, from where earlier players
    entered the stage. Each factor is the share of `particles` players; a factor of none counts as half a player.
    """
    generator = rng.stream("household chance", repr(game.layout))
    entered: list[tuple[State, int]] = [(game.initial(), 0)]
    product = 1.0
    for stage in range(1, 3 * game.layout.goal.number + 1):
        further = []
        for start in generator.integers(len(entered), size=particles).tolist():
            state, steps = entered[start]
            draws = generator.random(max_steps - steps).tolist()
            while steps < max_steps and progress(game, state) < stage:
                options = game.commands(state)
                state = game.act(state, options[int(draws.pop() * len(options))]).state
                steps += 1
            if progress(game, state) >= stage:
                further.append((state, steps))
        if not further:
            return product * 0.5 / particles
        product *= len(further) / particles
        entered = further
    return product
