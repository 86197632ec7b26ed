"""What a training run is: the fields of a recipe. Everything resolved here is stored beside the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from offleash.core import InputError

LARGEST = 1_000_000
"""Texts in one step; more is a slip of the keyboard."""


@dataclass(frozen=True)
class TaskSettings:
    """Which problems to train on."""

    name: str = "countdown"
    levels: tuple[int, ...] = (5,)
    """Difficulty levels; prompt i of a step is of level i modulo their number."""
    split: str = "train"
    strategic_grams: tuple[str, ...] = ()
    """Texts whose tokens count as planning, for hicra; empty for what the task itself says."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """A row of `offleash objectives` and changes to its fields."""

    name: str = "grpo"
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RolloutSettings:
    """How completions are drawn at every step."""

    num_prompts: int = 32
    """Prompts a step."""
    num_generations: int = 16
    """Sampled completions a prompt (the group, without demonstrations); 0 for supervised objectives."""
    temperature: float = 1.0
    max_completion_length: int = 32
    """Tokens, the end token included."""
    rows: int = 256
    """Completions decoded at one time."""


@dataclass(frozen=True)
class ExternalSettings:
    """Demonstrations that join each group."""

    per_group: int = 0
    """How many; each is a text of the task's own exact solver."""


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW, constant learning rate after a linear warm-up."""

    learning_rate: float = 1e-4
    warmup_steps: int = 0
    """Steps of linear warm-up, counted in rollout steps."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    minibatches: int = 1
    """Optimizer steps a rollout batch; with 1 every importance ratio is 1 and clipping does nothing."""
    micro_batch_rows: int = 128
    """Sequences a forward pass; changes memory and speed, never the gradient."""


@dataclass(frozen=True)
class ProbeSettings:
    """Boundary measurement while training, on the task's probe split."""

    every: int = 0
    """Steps between probes; 0 for none."""
    problems: int = 64
    samples: int = 64


@dataclass(frozen=True)
class TrainSettings:
    """A training run."""

    steps: int
    model: str = "base"
    """A Hugging Face model folder, or `base` for the embedded one."""
    seed: int = 0
    task: TaskSettings = field(default_factory=TaskSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    external: ExternalSettings = field(default_factory=ExternalSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    checkpoint_every: int = 50
    """Steps between checkpoints; the last step is always kept."""
    max_bad_steps: int = 5
    """Consecutive updates whose gradient is not finite (each skipped) after which the run stops."""

    def __post_init__(self) -> None:
        positive = {
            "steps": self.steps,
            "rollout.num_prompts": self.rollout.num_prompts,
            "rollout.rows": self.rollout.rows,
            "rollout.max_completion_length": self.rollout.max_completion_length,
            "optimizer.minibatches": self.optimizer.minibatches,
            "optimizer.micro_batch_rows": self.optimizer.micro_batch_rows,
            "optimizer.learning_rate": self.optimizer.learning_rate,
            "optimizer.max_grad_norm": self.optimizer.max_grad_norm,
            "checkpoint_every": self.checkpoint_every,
            "rollout.temperature": self.rollout.temperature,
        }
        for name, value in positive.items():
            if not value > 0:
                raise InputError(f"{name}: {value} is not above 0")
        self._check_sizes()
        if self.rollout.num_generations + self.external.per_group < 1:
            raise InputError(
                "rollout.num_generations: 0, and external.per_group is 0 too; a group needs at least one text"
            )
        if self.rollout.num_prompts % self.optimizer.minibatches:
            raise InputError(
                f"optimizer.minibatches: {self.optimizer.minibatches} does not divide rollout.num_prompts "
                f"{self.rollout.num_prompts}; change one of them"
            )
        if not self.task.levels:
            raise InputError("task.levels: empty; name at least one level")
        twice = [level for level in self.task.levels if self.task.levels.count(level) > 1]
        if twice:
            raise InputError(f"task.levels: {twice[0]} occurs more than once; name each level once")

    def _check_sizes(self) -> None:
        sizes = {
            "rollout.num_prompts": self.rollout.num_prompts,
            "rollout.num_generations": self.rollout.num_generations,
            "external.per_group": self.external.per_group,
        }
        for name, value in sizes.items():
            if not 0 <= value <= LARGEST:
                raise InputError(f"{name}: {value} is not between 0 and {LARGEST}")
        texts = self.rollout.num_prompts * (self.rollout.num_generations + self.external.per_group)
        if texts > LARGEST:
            raise InputError(
                f"rollout.num_prompts: times rollout.num_generations (and external.per_group) it is {texts} texts a step; "
                f"at most {LARGEST}"
            )
