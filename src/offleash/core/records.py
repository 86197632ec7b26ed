"""The records that travel through every room: Problem, Completion, Verdict, Estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from offleash.core import rng

SPLITS = ("pretrain", "train", "probe", "test")
Split = Literal["pretrain", "train", "probe", "test"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with a checkable answer.

    `id` is a hash of (task, version, prompt, answer): the same problem has the same id in every run and on every machine.
    """

    task: str
    version: str
    prompt: str
    answer: str
    level: int = 0
    split: str = "test"
    meta: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            content = rng.digest("problem", self.task, self.version, self.prompt, self.answer)
            object.__setattr__(self, "id", content.hex())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one completion.

    `correct` is None where the verifier could not decide (a timeout, a crash): such a sample is masked, never counted
    false. `answer` is the canonical form, so two texts with the same meaning have the same answer.
    """

    correct: bool | None
    reward: float
    answer: str
    format: str
    reason: str
    verifier_version: str


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer: T tokens with the log-prob and the entropy each was drawn with (nats, sampling temperature).

    From a server that does not give them, log-probs and entropies are NaN and unknown token ids -1.
    """

    problem_id: str
    index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its uncertainty. NaN with a `reason` where it is undefined, never 0."""

    value: float
    low: float
    high: float
    n: int
    method: str
    reason: str = ""
