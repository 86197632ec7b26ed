"""A small world for tests: say `up` or `down` until the number is the one asked for; and a small random model that can speak."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offleash import nn
from offleash.core import rng
from offleash.tasks.worlds import Acted, Drawn, World
from offleash.training.settings import (
    ObjectiveSettings,
    OptimizerSettings,
    RolloutSettings,
    TaskSettings,
    TrainSettings,
)


class Count:
    """Moves a number; solved where it is the goal. Any command is valid but `1` and none."""

    def __init__(self, goal: int) -> None:
        self.goal = goal

    def initial(self) -> int:
        return 0

    def act(self, state: int, command: str) -> Acted:
        move = 0 if command in ("", "1") else 1 if ord(command[0]) % 2 else -1
        return Acted(state + move, f"now {state + move}" if move else "what", bool(move))

    def commands(self, state: int) -> list[str]:
        return ["up", "down"]

    def solved(self, state: int) -> bool:
        return state == self.goal

    def over(self, state: int) -> bool:
        return state == self.goal

    def gold(self) -> list[str]:
        return ["up" if self.goal > 0 else "down"] * abs(self.goal)

    def chance(self, max_steps: int) -> float:
        return 0.5


class Counting:
    """The rules. Level 1 is one turn long."""

    name = "counting"
    version = "1"
    levels = (1, 2, 3)
    instructions = "say up or down"

    def draw(self, key: tuple[str | int, ...], level: int, split: str) -> Drawn:
        goal = (1, -1)[rng.key64("counting", *key, level, split) % 2] * {1: 1, 2: 1, 3: 2}[level]
        return Drawn({"goal": goal}, f"reach {goal}", {1: 1, 2: 4, 3: 12}[level])

    def game(self, content: Mapping[str, Any]) -> Count:
        return Count(int(content["goal"]))


COUNTING = World(Counting())
TAGGED = World(Counting(), tagged=True)


def small_model(folder: Path, positions: int = 256) -> str:
    """A random model of 10,000 parameters or so; a dozen tokens, so that it often says something that moves the number."""
    shape = nn.TinyModel(
        alphabet="ud-12\n",
        words=(
            "> ",
            "now ",
            "dd",
            "<planning>Next.</planning>",
            "<explore>Search.</explore>",
            "<action>up</action>",
            "<action>d</action>",
            "</action>",
            "what",
        ),
        num_hidden_layers=1,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        max_position_embeddings=positions,
    )
    model, tokenizer = nn.build(shape, 0)
    nn.save(model, tokenizer, folder)
    return str(folder)


def recipe(model: str, level: int = 2, name: str = "grpo", task: str = "counting", **overrides: Any) -> TrainSettings:
    """A step of 4 x 8 episodes."""
    return TrainSettings(
        steps=1,
        model=model,
        task=TaskSettings(name=task, levels=(level,)),
        objective=ObjectiveSettings(name, overrides),
        rollout=RolloutSettings(num_prompts=4, num_generations=8, max_completion_length=4, rows=32),
        optimizer=OptimizerSettings(learning_rate=1e-3, minibatches=2, micro_batch_rows=7),
    )
