"""The household's rules, its solver against an exhaustive one, and the blind player's chance."""

from __future__ import annotations

import json
from collections import deque

import numpy as np
import pytest

from offleash.core import rng
from offleash.tasks.worlds import HOUSEHOLD
from offleash.tasks.worlds.household import LEVELS, _canonical, _house, _things
from offleash.tasks.worlds.household_game import CLEAN, HELD, Household, Layout
from offleash.tasks.worlds.household_solver import exact_chance, progress, solve, staged_chance

SMALL = {
    "rooms": ["kitchen", "study"],
    "receptacles": [("table 1", 0), ("sink 1", 0), ("fridge 1", 1)],
    "objects": [("apple 1", 2), ("cup 1", 0)],
    "goal": ["apple", CLEAN, "table", 1],
}


def home(**changes: object) -> Household:
    return Household(Layout.read(SMALL | changes))


def exhaustive(game: Household) -> int | None:
    """Length of a shortest solution over every valid command."""
    seen, waiting = {game.initial()}, deque([(game.initial(), 0)])
    while waiting:
        state, depth = waiting.popleft()
        if game.solved(state):
            return depth
        for command in game.commands(state):
            after = game.act(state, command).state
            if after not in seen:
                seen.add(after)
                waiting.append((after, depth + 1))
    return None


def test_a_day_in_the_household() -> None:
    game = home()
    state = game.initial()
    said = []
    for command in [
        "go to study", "go to fridge 1", "take apple 1 from fridge 1", "open fridge 1", "take apple 1 from fridge 1", "close fridge 1",
        "cool apple 1 with fridge", "go to sink 1", "go to kitchen", "go to sink 1", "CLEAN  apple 1 with sink 1", "inventory",
        "go to table 1", "take cup 1 from table 1", "put apple 1 on table 1", "look",
    ]:  # fmt: skip
        state, observation, valid = game.act(state, command)
        said.append((observation, valid))
    assert [text for text, valid in said if valid] == [
        "You are in the study. You see a fridge 1.",
        "You go to the fridge 1. The fridge 1 is closed.",
        "You open the fridge 1. In the fridge 1 you see an apple 1.",
        "You take the apple 1 from the fridge 1.",
        "You close the fridge 1.",
        "You cool the apple 1 with the fridge 1.",
        "You are in the kitchen. You see a table 1 and a sink 1.",
        "You go to the sink 1. In the sink 1 you see nothing.",
        "You clean the apple 1 with the sink 1.",
        "You carry a clean cool apple 1.",
        "You go to the table 1. On the table 1 you see a cup 1.",
        "You put the apple 1 on the table 1.",
        "You are at the table 1. On the table 1 you see a clean cool apple 1 and a cup 1.",
    ]
    assert {text for text, valid in said if not valid} == {"Nothing happens."}
    assert game.solved(state)


@pytest.mark.parametrize(
    "command",
    ["go to kitchen", "go to fridge 1", "open table 1", "take apple 1 from fridge 1", "take cup 1 from table 1", "put cup 1 in table 1",
     "clean cup 1 with sink", "take cup 1 in table 1", "open cup 1", "go to cup 1", "heat", "go to", "put cup 1 on", ""],
)  # fmt: skip
def test_what_cannot_be_done_changes_nothing(command: str) -> None:
    game = home()
    assert game.act(game.initial(), command) == (game.initial(), "Nothing happens.", False)


def test_hot_and_cool_undo_each_other() -> None:
    game = home(receptacles=[("microwave 1", 0), ("fridge 1", 0)], objects=[("egg 1", HELD)])
    state = game.initial()
    for command, marks in (
        ("go to microwave 1", 0),
        ("heat egg 1 with microwave", 2),
        ("go to fridge 1", 2),
        ("cool egg 1 with fridge 1", 4),
    ):
        state = game.act(state, command).state
        assert state.marks == (marks,)


@pytest.mark.parametrize("level", [1, 2])
def test_no_solution_is_shorter_than_the_solver_s(level: int) -> None:
    generator = rng.stream("solver", level)
    spec = LEVELS[level]._replace(rooms=level, receptacles=4, objects=3)
    lengths = []
    for _ in range(12):
        house = _house(spec, generator)
        game = Household(Layout.read(house | {"objects": _things(spec, house["goal"][0], generator)}))
        found = solve(game)
        assert (None if found is None else len(found)) == exhaustive(game)
        lengths.append(-1 if found is None else len(found))
    assert len(set(lengths)) > 2


def test_two_things_are_brought_one_after_the_other() -> None:
    game = home(objects=[("apple 1", 2), ("apple 2", 2)], goal=["apple", 0, "table", 2])
    found = solve(game)
    assert found is not None and len(found) == exhaustive(game) == 13
    assert solve(game, most=12) is None
    assert solve(home(objects=[("cup 1", 0)])) is None


def test_levels_are_lengths_of_shortest_solutions() -> None:
    for level, spec in LEVELS.items():
        problem = HOUSEHOLD.generate(("level",), level, "train")
        game = HOUSEHOLD.game(problem)
        assert spec.shortest[0] <= len(game.gold()) <= spec.shortest[1] <= spec.max_steps
        state = game.initial()
        for command in game.gold():
            assert not game.solved(state)
            state, _, valid = game.act(state, command)
            assert valid
        assert game.solved(state)


def test_the_order_and_numbers_of_parts_do_not_change_the_split() -> None:
    content = json.loads(json.dumps(SMALL))
    turned = {
        "rooms": ["kitchen", "study"],
        "receptacles": [["sink 3", 0], ["fridge 1", 1], ["table 2", 0]],
        "goal": content["goal"],
    }
    assert _canonical(content) == _canonical(turned)
    assert _canonical(content) != _canonical(content | {"rooms": ["study", "kitchen"]})
    assert _canonical(content) != _canonical(content | {"goal": ["cup", CLEAN, "table", 1]})


def test_the_blind_player_s_chance_is_what_sampling_finds() -> None:
    game = home(
        rooms=["kitchen"],
        receptacles=[("table 1", 0), ("shelf 1", 0)],
        objects=[("cup 1", 1)],
        goal=["cup", 0, "table", 1],
    )
    exact = exact_chance(game, 12, most_states=100)
    assert exact is not None and 0.1 < exact < 0.9
    staged = staged_chance(game, 12, particles=4000)
    assert staged == staged_chance(game, 12, particles=4000) == pytest.approx(exact, rel=0.1)
    assert exact_chance(game, 12, most_states=2) is None
    # By hand: go to the shelf, take, go to the table, put; each the one right command of those that are valid.
    ways = [len(game.commands(s)) for s in (game.initial(),)]
    assert exact_chance(game, 3, most_states=100) == 0.0 and ways == [4]
    product = 1.0
    state = game.initial()
    for command in game.gold():
        product /= len(game.commands(state))
        state = game.act(state, command).state
    assert exact_chance(game, 4, most_states=100) == pytest.approx(product)


@pytest.mark.slow
def test_the_estimate_in_stages_is_unbiased_for_rare_successes() -> None:
    """Two cups, of which few blind players bring both: the mean over 40 estimates that differ in their numbers."""
    shelves = [("table 1", 0), ("shelf 1", 0)]
    game = home(
        rooms=["kitchen"], receptacles=shelves, objects=[("cup 1", 1), ("cup 2", 1)], goal=["cup", 0, "table", 2]
    )
    exact = exact_chance(game, 12, most_states=10_000)
    assert exact is not None and 1e-4 < exact < 0.02
    found = []
    for i in range(40):
        # The room's name changes nothing but the random numbers.
        other = home(
            rooms=[f"room{i}"], receptacles=shelves, objects=[("cup 1", 1), ("cup 2", 1)], goal=["cup", 0, "table", 2]
        )
        found.append(staged_chance(other, 12, particles=200))
    assert abs(np.mean(found) - exact) < 4 * np.std(found) / np.sqrt(len(found))
    assert min(found) > 0


def test_progress_grows_along_a_solution() -> None:
    problem = HOUSEHOLD.generate(("progress",), 4, "train")
    game = HOUSEHOLD.game(problem)
    state, seen = game.initial(), []
    for command in game.gold():
        seen.append(progress(game, state))
        state = game.act(state, command).state
    assert seen == sorted(seen) and seen[0] == 0 and progress(game, state) == 6
