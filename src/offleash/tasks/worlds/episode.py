"""One episode: reset once, step until done. Invalid and repeated actions are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from offleash.core import OffleashError, Problem, rng
from offleash.tasks.worlds import tags
from offleash.tasks.worlds.rules import Game

if TYPE_CHECKING:
    from offleash.tasks.worlds.world import World


class EpisodeError(OffleashError):
    """An episode was used twice, or out of order."""


class Step(NamedTuple):
    """What happened in one step.

    `state` names what it started from: equal for equal states of the same problem, whatever led there. A step is `repeated`
    where the same action followed the same observation earlier in the episode.
    """

    action: str
    valid: bool
    repeated: bool
    state: str
    tag: str
    errors: tuple[str, ...]


class Result(NamedTuple):
    """What a step returns. The reward is 1 in the step that solves the problem, else 0."""

    observation: str
    done: bool
    reward: float
    info: Step


class Episode:
    """An episode of a world. It is used once: a second `reset`, and a `step` before it or after the end, raise EpisodeError."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.steps: list[Step] = []
        self.done = False
        self._game: Game | None = None
        self._state: Any = None
        self._seen: set[tuple[str, str]] = set()
        self._observation, self._max_steps, self._problem_id = "", 0, ""

    def reset(self, problem: Problem) -> str:
        """Begin; returns the first observation, which is the problem's prompt."""
        if self._game is not None:
            raise EpisodeError("reset: this episode has begun; start another one (world.start())")
        self._game = self.world.game(problem)
        self._state = self._game.initial()
        self._observation, self._max_steps, self._problem_id = problem.prompt, problem.meta["max_steps"], problem.id
        return problem.prompt

    def step(self, text: str) -> Result:
        """Do what a reply of the model says. Never raises on any text.

        Raises:
            EpisodeError: before `reset`, or after the end.
        """
        if self._game is None or self.done:
            raise EpisodeError(
                "step: this episode is over; start another one" if self.done else "step: reset comes first"
            )
        reply = self.world.read(text)
        acted = self._game.act(self._state, reply.action)
        here = (self._observation, reply.action)
        info = Step(reply.action, acted.valid, here in self._seen, self._name(), reply.tag, reply.errors)
        self._seen.add(here)
        self.steps.append(info)
        self._state, self._observation = acted.state, acted.observation
        self.done = self._game.over(self._state) or len(self.steps) >= self._max_steps
        observation = acted.observation
        if self.world.menu and not self.done:
            observation += "\nCommands: " + "; ".join(self.admissible())
        return Result(observation, self.done, float(self.done and self.solved), info)

    def _name(self) -> str:
        return rng.digest("world state", self._problem_id, repr(self._state), size=8).hex()

    @property
    def solved(self) -> bool:
        """Whether the goal is reached."""
        return self._game is not None and self._game.solved(self._state)

    def admissible(self) -> list[str]:
        """Commands that are valid now."""
        return [] if self._game is None or self.done else list(self._game.commands(self._state))

    def counts(self) -> dict[str, int]:
        """How many steps there were, how many of them invalid, repeated, and of a wrong form."""
        return {
            "steps": len(self.steps),
            "invalid": sum(not step.valid for step in self.steps),
            "repeated": sum(step.repeated for step in self.steps),
            "malformed": sum(bool(step.errors) for step in self.steps),
        }

    def rewards(self) -> list[tuple[str, float]]:
        """RLVMR's kind and reward of each step."""
        return tags.rewards([tags.Played(s.tag, s.action, s.valid, s.errors) for s in self.steps], self.solved)
