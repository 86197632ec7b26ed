"""The repair world: its language, its faults, its chance baseline."""

from __future__ import annotations

import itertools

import pytest

from offleash import tasks
from offleash.core import rng
from offleash.tasks.worlds import REPAIR
from offleash.tasks.worlds.repair import HIDDEN, LEVELS, SHOWN, Repair
from offleash.tasks.worlds.repair_language import LineError, edits, parse_line, run

RIGHT = tuple(map(parse_line, ("x = a * 2", "y = x max b", "return y - 1")))
WRONG = (RIGHT[0], parse_line("y = x min b"), RIGHT[2])


def test_programs_do_what_python_does() -> None:
    generator = rng.stream("language")
    for i in range(20):
        problem = REPAIR.generate(("python", i), 1 + i % 4, "train")
        lines = problem.meta["meant"]
        body = [line.replace("return ", "r = ") for line in lines]
        for a, b in generator.integers(-20, 20, size=(5, 2)).tolist():
            space = {"a": a, "b": b}
            for line in body:
                target, left, operator, right = line.replace(" =", "").split()
                space[target] = eval(
                    f"{operator}({left}, {right})" if operator in ("max", "min") else f"{left} {operator} {right}",
                    {"max": max, "min": min},
                    space,
                )
            assert run(tuple(map(parse_line, lines)), a, b) == space["r"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x = a",
        "x = a / b",
        "x = a + 1000",
        "x = -1 + a",
        "X = a + b",
        "xyz = a + b",
        "return a",
        "return = a + b",
        "x = a + b; y",
        "x == a + b",
        "x = é + b",
    ],
)
def test_what_is_no_line_is_refused(text: str) -> None:
    with pytest.raises(LineError):
        parse_line(text)


def test_errors_are_named() -> None:
    with pytest.raises(LineError, match="line 1: z has no value"):
        run((parse_line("x = z + 1"),), 1, 1)
    with pytest.raises(LineError, match="nothing is returned"):
        run((parse_line("x = a + 1"),), 1, 1)


def test_a_session() -> None:
    game = Repair(WRONG, RIGHT)
    state = game.initial()
    said = []
    for command in ("run", "edit 2: y = x max b", "run", "submit"):
        state, observation, valid = game.act(state, command)
        said.append(observation)
        assert valid
    assert said == [
        "f(1, 3) = 1, should be 2\nf(4, 2) = 1, should be 7\nf(7, 5) = 4, should be 13",
        "1: x = a * 2\n2: y = x max b\n3: return y - 1",
        "f(1, 3) = 2\nf(4, 2) = 7\nf(7, 5) = 13",
        "All tests pass.",
    ]
    assert game.solved(state) and game.over(state)
    for command, observation in (("edit 9: x = a + b", "There is no line 9."), ("edit 2: y = x min b", "Not changed: that is what it says."), ("edit 2: nonsense", "Not changed: a line is"), ("dance", "Unknown command.")):  # fmt: skip
        acted = game.act(game.initial(), command)
        assert not acted.valid and acted.observation.startswith(observation) and acted.state == game.initial()


def test_another_repair_counts_and_fitting_the_shown_tests_does_not() -> None:
    game = Repair(WRONG, RIGHT)
    other = tuple(map(parse_line, ("x = a + a", "y = b max x", "return y - 1")))
    assert game.passes(other)
    fitted = tuple(map(parse_line, ("x = a * 2", "y = x max 3", "return y - 1")))
    assert all(run(fitted, *pair) == run(RIGHT, *pair) for pair in SHOWN) and not game.passes(fitted)
    state = game.act(game.act(game.initial(), "edit 2: y = x max 3").state, "submit").state
    assert game.over(state) and not game.solved(state)
    assert game.passes(game.program) is False and set(SHOWN).isdisjoint(HIDDEN)


@pytest.mark.parametrize("level", list(LEVELS))
def test_every_fault_shows_and_needs_its_own_edit(level: int) -> None:
    for problem in itertools.islice(tasks.problems(REPAIR, level, "probe", 1), 6):
        game = REPAIR.game(problem)
        wrong = [i for i, (a, b) in enumerate(zip(game.program, game.meant, strict=True)) if a != b]
        assert len(wrong) == LEVELS[level].faults and len(game.program) == LEVELS[level].lines
        assert any(run(game.program, *pair) != game.wanted[pair] for pair in SHOWN)
        assert game.passes(game.meant) and not game.passes(game.program)


def test_the_chance_is_exact() -> None:
    game = Repair(WRONG, RIGHT)
    options = edits(WRONG)
    assert len(set(options)) == len(options)
    hits = [1 for i, line in options if game.passes((*WRONG[:i], line, *WRONG[i + 1 :]))]
    assert game.chance(10) == len(hits) / len(options) > 0
    two = Repair((parse_line("x = a + 2"), WRONG[1], RIGHT[2]), RIGHT)
    generator = rng.stream("two edits")
    solved, n = 0, 6000
    for _ in range(n):
        program = two.program
        for _ in range(2):
            choice = edits(program)
            i, line = choice[int(generator.integers(len(choice)))]
            program = (*program[:i], line, *program[i + 1 :])
        solved += two.passes(program)
    assert abs(solved / n - two.chance(10)) < 4 * (two.chance(10) / n) ** 0.5 + 1e-4
