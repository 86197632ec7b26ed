"""A world as a task: problems, episodes, and verdicts from the text of an episode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from offleash.core import Problem, Verdict, rng
from offleash.tasks.annotations import Step
from offleash.tasks.worlds import tags
from offleash.tasks.worlds.episode import Episode
from offleash.tasks.worlds.rules import Game, Rules
from offleash.tasks.worlds.tags import Reply

DETOURS = 0.3
"""Chance of a detour before each command of a trace."""
INVALID = -0.1
"""Reward of an invalid step, where steps are not tagged."""
MAX_CHARS = 200_000
"""Of a text to be judged; what comes after is not read."""
_PROMPT = "\n> "
_THOUGHTS = {"planning": "Next.", "explore": "Search.", "monitor": "Going on."}


class Replayed(NamedTuple):
    """An episode that a text describes, and where the model's turns are in it."""

    episode: Episode
    turns: list[tuple[int, int]]


def _solves(game: Game, state: Any, commands: list[str]) -> bool:
    """Whether these commands solve the game from here, all of them needed."""
    for command in commands:
        if game.over(state):
            return False
        state = game.act(state, command).state
    return game.solved(state)


class World:
    """Rules as a task.

    A completion is the text of an episode after its prompt: the model's turns, each ending with `turn_end`, with the world's
    answers between them or without any. A verdict plays the model's turns again, so it depends on the text alone.

    Args:
        rules: the family of games.
        tagged: replies carry RLVMR's tags (`tags`), and `steps` gives their rewards.
        menu: observations end with the admissible commands.
    """

    def __init__(self, rules: Rules, *, tagged: bool = False, menu: bool = False) -> None:
        self.rules, self.tagged, self.menu = rules, tagged, menu
        self.name = rules.name + ("-tagged" if tagged else "") + ("-menu" if menu else "")
        self.about: str = getattr(rules, "about", "")  # a line for `offleash tasks`
        self.version, self.levels = rules.version, rules.levels
        self.verifier_version = f"replay-1 {rules.name}-{rules.version}"
        self.turn_end = "</action>" if tagged else "\n"
        """What a model's turn ends with: a stop string for the engine."""

    def generate(self, key: tuple[str | int, ...], level: int, split: str) -> Problem:
        """See `Task.generate`."""
        drawn = self.rules.draw(key, level, split)
        game = self.rules.game(drawn.content)
        lines = [self.rules.instructions, *([tags.INSTRUCTIONS] if self.tagged else ()), drawn.opening]
        if self.menu:
            lines.append("Commands: " + "; ".join(game.commands(game.initial())))
        content = json.dumps(drawn.content, sort_keys=True)
        return Problem(
            task=self.name,
            version=self.version,
            prompt="\n".join(lines) + _PROMPT,
            answer="; ".join(game.gold()),
            level=level,
            split=split,
            meta={**drawn.content, "max_steps": drawn.max_steps},
            # Two problems with one prompt may differ in what cannot be seen from the start.
            id=rng.digest("world problem", self.name, self.version, content).hex(),
        )

    def game(self, problem: Problem) -> Game:
        """The problem's game."""
        return self.rules.game(problem.meta)

    def start(self) -> Episode:
        """An episode, to be used once."""
        return Episode(self)

    def read(self, text: str) -> Reply:
        """A model's turn as a command: its tags, or its first line that is not empty."""
        if self.tagged:
            return tags.parse(text)
        return Reply(next((line.strip() for line in text.splitlines() if line.strip()), ""), "", {}, ())

    def turn(self, reply: str) -> str:
        """A reply up to and with `turn_end`, which is added where it is missing."""
        return reply.split(self.turn_end, 1)[0] + self.turn_end

    def answer(self, observation: str, done: bool) -> str:
        """An observation as it follows a model's turn in a text."""
        return ("\n" if self.tagged else "") + observation + ("\n" if done else _PROMPT)

    def say(self, command: str, kind: str = "planning") -> str:
        """A turn that gives this command; where turns are tagged, of this kind."""
        return f"<{kind}>{_THOUGHTS[kind]}</{kind}><action>{command}</action>" if self.tagged else command + "\n"

    def replay(self, problem: Problem, text: str) -> Replayed:
        """Play the turns of a text again; what follows the end of the episode is not read."""
        episode, turns, at = self.start(), [], 0
        episode.reset(problem)
        text = text[:MAX_CHARS]
        while at < len(text) and not episode.done:
            end = text.find(self.turn_end, at)
            end = len(text) if end < 0 else end + len(self.turn_end)
            turns.append((at, end))
            result = episode.step(text[at:end])
            answer = self.answer(result.observation, result.done)
            at = end + (len(answer) if text.startswith(answer, end) else 0)
        return Replayed(episode, turns)

    def verify(self, problem: Problem, text: str) -> Verdict:
        """See `Task.verify`. The answer is the valid commands; the reason also counts invalid and repeated ones."""
        return self.judge(self.replay(problem, text).episode)

    def judge(self, episode: Episode) -> Verdict:
        """The verdict of an episode."""
        done = "; ".join(step.action for step in episode.steps if step.valid)
        n = episode.counts()
        cut = "" if episode.done else ", not played to its end"
        reason = f"not solved in {n['steps']} steps, {n['invalid']} invalid, {n['repeated']} repeated{cut}"
        form = "none" if not done else "tagged" if self.tagged and not n["malformed"] else "commands"
        solved = episode.solved
        return Verdict(solved, float(solved), done, form, "" if solved else reason, self.verifier_version)

    def gold(self, problem: Problem, key: tuple[str | int, ...] = ()) -> str:
        """See `Task.gold`: the turns of a solution with the world's answers between them, as in an episode.

        Tagged turns plan; with a key, which of `planning`, `explore` and `monitor` a turn is, is drawn.
        """
        return self._told(problem, self.game(problem).gold(), key)

    def _told(self, problem: Problem, commands: list[str], key: tuple[str | int, ...]) -> str:
        kinds = list(_THOUGHTS)
        turns = [
            self.say(command, kinds[rng.key64("kind", *key, i) % len(kinds) if key else 0])
            for i, command in enumerate(commands)
        ]
        return "".join(self._dialogue(problem, turns))

    def _dialogue(self, problem: Problem, turns: list[str]) -> Iterator[str]:
        episode = self.start()
        episode.reset(problem)
        for turn in turns:
            yield turn
            result = episode.step(turn)
            yield self.answer(result.observation, result.done)

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`, for a blind player; which one, the rules say."""
        return self.game(problem).chance(problem.meta["max_steps"])

    def traces(self, key: tuple[str | int, ...], level: int, split: str, count: int) -> list[tuple[str, str]]:
        """See `Task.traces`: solutions with detours, some of them invalid, so that who learns from them has seen how to go on.

        A trainer on them should mask the world's answers (`tokens`).
        """
        keys: list[tuple[str | int, ...]] = [("traces", *key, i) for i in range(count)]
        problems = [self.generate(one, level, split) for one in keys]
        return [
            (problem.prompt, self._told(problem, self._wandering(problem, one), one))
            for problem, one in zip(problems, keys, strict=True)
        ]

    def _wandering(self, problem: Problem, key: tuple[str | int, ...]) -> list[str]:
        """Commands of a solution with others in between that do not stand in its way."""
        game, generator = self.game(problem), rng.stream("detours", problem.id, *key)
        found: list[str] = []
        gold, state = tuple(game.gold()), game.initial()
        left = list(gold)
        while left:
            if generator.random() < DETOURS and len(found) + len(left) < problem.meta["max_steps"]:
                options = gold if generator.random() < 0.5 else list(game.commands(state))
                command = options[int(generator.integers(len(options)))]
                after = game.act(state, command).state
                if _solves(game, after, left):
                    found.append(command)
                    state = after
            found.append(left.pop(0))
            state = game.act(state, found[-1]).state
        return found

    def steps(self, problem: Problem, text: str, verdict: Verdict) -> list[Step]:
        """See `HasSteps.steps`: a step a turn, up to the next one's start.

        Tagged: kinds and rewards are RLVMR's (`tags.rewards`), and the outcome is in the verdict alone. Not tagged: an invalid
        step has INVALID, the last one also the outcome, as returns discounted from the end (GiGPO) want it.
        """
        episode, turns = self.replay(problem, text)
        ends = [start for start, _ in turns[1:]] + [len(text)] * bool(turns)
        kinds = episode.rewards() if self.tagged else [("", 0.0 if s.valid else INVALID) for s in episode.steps]
        if kinds and not self.tagged:
            kinds[-1] = ("", kinds[-1][1] + float(verdict.correct is True))
        return [
            Step(start, end, reward, tag, step.state)
            for (start, _), end, (tag, reward), step in zip(turns, ends, kinds, episode.steps, strict=True)
        ]
