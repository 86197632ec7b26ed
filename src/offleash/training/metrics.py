"""Numbers logged at every step, from the rollout alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from offleash.tasks.worlds import Transcript
from offleash.training.episodes import Member
from offleash.training.rollout import Rollout


def rollout_metrics(rollout: Rollout, advantages_PG: Tensor) -> dict[str, float]:
    """Means over the sampled completions of the step's groups (demonstrations apart); NaN where there are none.

    reward, reward_std over all completions; accuracy, by the verifier whatever is rewarded; undecided, completions without a
    verdict, and their share; token_entropy in nats at the sampling temperature, mean over tokens; completion_length in tokens;
    truncated, the share that reached the length limit; generated_groups and informative_groups, how many were drawn and how
    many had rewards that differ; zero_std_groups, the share of groups without a learning signal. In a world tokens are the
    model's own, and there are also turns an episode, and the shares of actions that were invalid or repeated. With
    demonstrations there is external_accuracy, the share of them that the verifier calls correct.
    """
    sampled = [m for group in rollout.groups for m in group if not m.external]
    decided = [m for m in sampled if m.verdict.correct is not None]
    tokens = sum(len(c.token_ids) for c in rollout.completions)
    n = len(rollout.completions)
    rewards = [m.verdict.reward for m in decided]
    return {
        "reward": _ratio(sum(rewards), len(decided)),
        "reward_std": statistics.pstdev(rewards) if rewards else math.nan,
        "accuracy": _ratio(sum(bool(m.solved) for m in decided), len(decided)),
        "undecided": float(len(sampled) - len(decided)),
        "undecided_share": _ratio(len(sampled) - len(decided), len(sampled)),
        "token_entropy": _ratio(sum(sum(c.entropies) for c in rollout.completions), tokens),
        "completion_length": _ratio(tokens, n),
        "truncated": _ratio(sum(c.finish_reason == "length" for c in rollout.completions), n),
        "generated_groups": float(rollout.generated_groups),
        "informative_groups": float(rollout.informative_groups),
        "zero_std_groups": float((advantages_PG == 0).flatten(1).all(dim=1).double().mean()),
        **_shown([m for group in rollout.groups for m in group if m.external]),
        **_played([m.transcript for m in sampled if m.transcript is not None]),
    }


def _shown(demonstrations: Sequence[Member]) -> dict[str, float]:
    decided = [m for m in demonstrations if m.solved is not None]
    return {"external_accuracy": _ratio(sum(bool(m.solved) for m in decided), len(decided))} if demonstrations else {}


def _played(episodes: Sequence[Transcript]) -> dict[str, float]:
    steps = [step for episode in episodes for step in episode.steps]
    if not steps:
        return {}
    return {
        "turns": len(steps) / len(episodes),
        "invalid_actions": sum(not step.valid for step in steps) / len(steps),
        "repeated_actions": sum(step.repeated for step in steps) / len(steps),
    }


@dataclass
class Totals:
    """What a run has spent so far, by the names of TRL and of transformers' Trainer; a resumed run goes on from its last line.

    num_tokens: prompt and completion tokens sampled, prompts once a completion. total_flos: 2 N a token sampled and 6 N a token
    trained on, N the model's parameters (Kaplan et al., arXiv 2001.08361, sec. 2.1; attention is left out).
    """

    parameters: int
    num_tokens: float = 0.0
    total_flos: float = 0.0

    @classmethod
    def of(cls, parameters: int, metrics: Sequence[Mapping[str, float]]) -> Totals:
        """As the last line of metrics.jsonl left them."""
        last = metrics[-1] if metrics else {}
        return cls(parameters, float(last.get("num_tokens", 0.0)), float(last.get("total_flos", 0.0)))

    def add(self, sampled: int, trained: int) -> dict[str, float]:
        """Count a step; the two metrics."""
        self.num_tokens += sampled
        self.total_flos += self.parameters * (2.0 * sampled + 6.0 * trained)
        return {"num_tokens": self.num_tokens, "total_flos": self.total_flos}


def _ratio(total: float, count: int) -> float:
    return total / count if count else math.nan
