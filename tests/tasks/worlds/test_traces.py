"""Traces: solutions with detours that do not stand in their way; and transcripts read back from text."""

from __future__ import annotations

import pytest

from offleash.tasks.worlds import HOUSEHOLD, HOUSEHOLD_TAGGED, REPAIR, REPAIR_TAGGED, World, read

WORLDS = (HOUSEHOLD, HOUSEHOLD_TAGGED, REPAIR, REPAIR_TAGGED)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_every_trace_solves_its_problem_and_some_make_detours(world: World) -> None:
    pairs = world.traces((0,), 1, "pretrain", 40)
    assert pairs == world.traces((0,), 1, "pretrain", 40)
    longer, tags = 0, set()
    for i, (prompt, text) in enumerate(pairs):
        problem = world.generate(("traces", 0, i), 1, "pretrain")
        assert problem.prompt == prompt
        assert world.verify(problem, text).correct
        episode = world.replay(problem, text).episode
        shortest = len(world.game(problem).gold())
        assert shortest <= len(episode.steps) <= problem.meta["max_steps"]
        longer += len(episode.steps) > shortest
        tags |= {step.tag for step in episode.steps}
        assert not any(step.errors for step in episode.steps if world.tagged)
    assert 5 < longer < 40
    assert tags == ({"planning", "explore", "monitor"} if world.tagged else {""})


def test_some_detours_are_refused_by_the_household() -> None:
    texts = [text for _, text in HOUSEHOLD.traces((1,), 1, "pretrain", 40)]
    assert 2 < sum("Nothing happens." in text for text in texts) < 40


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_a_transcript_is_read_back_from_its_text(world: World) -> None:
    problem = world.generate((3,), 1, "train")
    text = world.gold(problem)
    transcript = read(world, problem, text)
    assert transcript.completion == text and transcript.verdict == world.verify(problem, text)
    turns = [text[start - len(problem.prompt) : end - len(problem.prompt)] for start, end in transcript.spans("model")]
    assert read(world, problem, "".join(turns)).turns == transcript.turns
    half = read(world, problem, turns[0])
    assert half.verdict == world.verify(problem, turns[0])
    assert half.verdict is not None and half.verdict.reason.endswith("not played to its end")
