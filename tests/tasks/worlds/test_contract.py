"""What every world holds: gold accepted, junk refused, single use, repeatable, splits disjoint, texts and episodes agree."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import numpy as np
import pytest

from offleash import tasks
from offleash.core import InputError, Problem, rng
from offleash.tasks import HasSteps, Task
from offleash.tasks.worlds import (
    HOUSEHOLD,
    HOUSEHOLD_TAGGED,
    REPAIR,
    REPAIR_TAGGED,
    Episode,
    EpisodeError,
    HouseholdRules,
    Transcript,
    World,
    episode,
)

WORLDS = [HOUSEHOLD, HOUSEHOLD_TAGGED, REPAIR, REPAIR_TAGGED, World(HouseholdRules(), tagged=True, menu=True)]
JUNK = [
    "", " ", "\n", "\n\n\n", ">", "> ", "\0", "\ud800", "１", "go to", "take", "put", "edit", "edit 1:", "edit 99: x = a + b", "edit ²: x = a + b",
    "edit 1: x = a + 1e999", "edit 1: return = a + b", "go to go to", "open open open", "take take take from take take",
    "clean clean clean with with with", "(" * 9999, "1" * 9999, "a b " * 9999, "<action>", "</action>", "<action></action>", "<action>" * 500,
    "</planning>" * 500, "<planning><explore><action>run</planning>", "<action>look</action><action>look</action>", "{0.__class__}", "%s%n",
]  # fmt: skip
COMMON = "go to take put from in with open close clean heat table 1 fridge apple edit run : = a b + x return <action> </action> \n"


def some(world: World, count: int = 4, split: str = "probe") -> list[Problem]:
    return [p for level in world.levels[:3] for p in itertools.islice(tasks.problems(world, level, split, 0), count)]


def blind(world: World, key: int, wrong: float = 0.3) -> Callable[[Episode], str]:
    """Replies of a player who draws among the valid commands, and now and then says junk."""
    generator = rng.stream("blind", world.name, key)

    def reply(played: Episode) -> str:
        if generator.random() < wrong:
            return JUNK[int(generator.integers(len(JUNK)))]
        options = played.admissible()
        return world.say(options[int(generator.integers(len(options)))])

    return reply


def played(world: World, problem: Problem, key: int) -> tuple[str, Episode]:
    """A blind player's episode, as text and as it was."""
    one, reply, text = world.start(), blind(world, key), ""
    one.reset(problem)
    while not one.done:
        turn = world.turn(reply(one))
        result = one.step(turn)
        text += turn + world.answer(result.observation, result.done)
    return text, one


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.name)
def test_gold_is_accepted_and_what_lacks_its_end_is_not(world: World) -> None:
    assert isinstance(world, Task) and isinstance(world, HasSteps)
    for problem in some(world):
        gold = world.gold(problem)
        assert world.verify(problem, gold).correct is True
        commands = world.game(problem).gold()
        alone = "".join(map(world.say, commands))
        assert world.verify(problem, alone).correct is True  # without the world's answers between
        assert world.verify(problem, "".join(map(world.say, commands[:-1]))).correct is False
        assert world.verify(problem, problem.prompt).correct is False
        assert len(commands) <= problem.meta["max_steps"]
        assert (
            world.verify(
                problem, world.say("look" if "household" in world.name else "run") * problem.meta["max_steps"] + alone
            ).correct
            is False
        )


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.name)
def test_junk_never_raises_and_never_passes(world: World) -> None:
    problem = some(world, 1)[0]
    generator = rng.stream("world junk", world.name)
    texts = JUNK + ["".join(map(chr, generator.integers(1, 0xD7FF, size=30).tolist())) for _ in range(100)]
    words = [w for w in re.split("[ ]", COMMON) if w]
    texts += [" ".join(words[i] for i in generator.integers(len(words), size=40)) for _ in range(100)]
    for text in texts:
        verdict = world.verify(problem, text)
        assert verdict.correct is False and verdict.reason.startswith("not solved")
        steps = world.steps(problem, text, verdict)
        assert [s.start for s in steps] == sorted({s.start for s in steps}) and all(s.end > s.start for s in steps)


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.name)
def test_a_text_gives_the_verdict_and_the_steps_of_its_episode(world: World) -> None:
    for i, problem in enumerate(some(world, 2)):
        text, one = played(world, problem, i)
        again = world.replay(problem, text).episode
        assert again.steps == one.steps and again.counts() == one.counts()
        verdict = world.verify(problem, text)
        assert verdict == world.judge(one) and one.counts()["invalid"] > 0
        assert len(world.steps(problem, text, verdict)) == len(one.steps)
        assert len({s.state for s in one.steps}) <= len(one.steps)


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.name)
def test_every_admissible_command_is_valid(world: World) -> None:
    generator = rng.stream("admissible", world.name)
    for problem in some(world, 2):
        game = world.game(problem)
        state = game.initial()
        for _ in range(15):
            options = list(game.commands(state))
            assert len(set(options)) == len(options)
            acted = [game.act(state, command) for command in options]
            assert all(a.valid for a in acted)
            assert game.act(state, "dance") == (state, acted and game.act(state, "dance").observation, False)
            state = acted[int(generator.integers(len(acted)))].state
            if game.over(state):
                break


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.name)
def test_an_episode_is_used_once(world: World) -> None:
    problem = some(world, 1)[0]
    one = world.start()
    with pytest.raises(EpisodeError, match="reset comes first"):
        one.step("look")
    assert one.reset(problem) == problem.prompt
    with pytest.raises(EpisodeError, match="has begun"):
        one.reset(problem)
    results = [one.step(world.say(command)) for command in world.game(problem).gold()]
    assert [r.reward for r in results] == [0.0] * (len(results) - 1) + [1.0] and results[-1].done
    with pytest.raises(EpisodeError, match="is over"):
        one.step("look")
    with pytest.raises(EpisodeError, match="has begun"):
        one.reset(problem)
    assert one.admissible() == []


@pytest.mark.parametrize("world", WORLDS[:4], ids=lambda w: w.name)
def test_problems_are_functions_of_their_key(world: World) -> None:
    level = world.levels[0]
    first = [world.generate((3, i), level, "train") for i in range(3)]
    assert first == [world.generate((3, i), level, "train") for i in range(3)]
    other = type(world)(type(world.rules)(), tagged=world.tagged)
    assert [p.id for p in first] == [other.generate((3, i), level, "train").id for i in range(3)]
    assert {p.id for p in first}.isdisjoint(world.generate((4, i), level, "train").id for i in range(3))
    with pytest.raises(InputError, match="has no level 99"):
        world.generate((1,), 99, "train")
    with pytest.raises(InputError, match="elsewhere"):
        World(type(world.rules)()).rules.draw((1,), level, "elsewhere")


def test_ids_are_these() -> None:
    """A change of the rules that changes problems must change the version."""
    ids = {w.name: w.generate(("fixed",), 2, "test").id for w in (HOUSEHOLD, HOUSEHOLD_TAGGED, REPAIR)}
    assert ids == IDS


IDS = {
    "household": "064233ecd936873a6186771003896823",
    "household-tagged": "3acee98736186fded8502ac8086f2e73",
    "repair": "e017abc7eff35722e6bf931bc3f6f77c",
}


@pytest.mark.parametrize("world", [HOUSEHOLD, REPAIR], ids=lambda w: w.name)
def test_splits_are_disjoint(world: World) -> None:
    drawn = {
        split: {world.generate(("split", i), 1, split).prompt for i in range(25)}
        for split in ("pretrain", "train", "probe", "test")
    }
    for a, b in itertools.combinations(drawn, 2):
        assert drawn[a].isdisjoint(drawn[b])


@pytest.mark.parametrize("world", WORLDS[:4], ids=lambda w: w.name)
def test_traces_are_accepted_episodes(world: World) -> None:
    pairs = world.traces((1,), world.levels[0], "pretrain", 5)
    assert pairs == world.traces((1,), world.levels[0], "pretrain", 5)
    for i, (prompt, text) in enumerate(pairs):
        problem = world.generate(("traces", 1, i), world.levels[0], "pretrain")
        assert problem.prompt == prompt and world.verify(problem, text).correct is True


def test_repeats_and_invalid_actions_are_counted() -> None:
    problem = HOUSEHOLD.generate((0,), 1, "train")
    said = iter(["look", "look", "look", "fly", "fly", "inventory"])
    transcript: Transcript = episode(HOUSEHOLD, problem, lambda _: next(said, "fly"))
    steps = transcript.steps[:6]
    # The first `look` answers the prompt; the second answers what the first one showed; the third repeats it.
    assert [s.repeated for s in steps] == [False, False, True, False, False, False]
    assert [s.valid for s in steps] == [True, True, True, False, False, True]
    assert transcript.verdict is not None and "invalid" in transcript.verdict.reason


def test_the_blind_player_hardly_ever_wins() -> None:
    for world in (HOUSEHOLD, REPAIR):
        guesses = [world.guess(p) for p in itertools.islice(tasks.problems(world, 2, "probe", 0), 5)]
        assert all(0 < g <= 0.1 for g in guesses)
        assert float(np.mean(guesses)) < 0.05
