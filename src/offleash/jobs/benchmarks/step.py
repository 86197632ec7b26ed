"""A training step beside TRL's GRPOTrainer: rollout, rewards, gradient, optimizer, in turns in one process.

Both run their own loop, whole: the same model, prompts, group size, lengths, temperature, learning rate, AdamW and loss (GRPO with
TRL's 1e-4 under the advantages), one optimizer step a rollout. Our side is float32 on the embedded base and bf16 at 25 million
parameters. TRL runs twice: with its defaults (bf16, batches of 8 and as much accumulation as the step needs), and with the fastest of a
few settings, which a trial chooses. Tokens are those of the completions, the end token included; nobody gains by padding.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from offleash import nn
from offleash.jobs.benchmarks import step_trl
from offleash.jobs.benchmarks.rollouts import random_weights
from offleash.jobs.benchmarks.step_sides import Side, Step, ours, peak_mib, resident_mib
from offleash.jobs.benchmarks.step_trl import SAME_LOSS, Chosen, theirs
from offleash.training import TrainSettings
from offleash.training.settings import ObjectiveSettings, OptimizerSettings, RewardSettings, RolloutSettings

OVER_DEFAULTS, OVER_BEST, OVER_25M = 2.5, 2.0, 1.5
"""Targets: TRL's seconds over ours."""


@dataclass(frozen=True)
class Work:
    """What both sides train on.

    Attributes:
        name: in words.
        settings: of our side; TRL gets what they say.
        targets: over TRL's defaults, and over its best settings.
        rounds: timed steps of each side, after one that is not.
        trials: timed steps of each setting that may be TRL's best, after one that is not.
        lengths: tokens of each completion of a step, where the model does not stop by itself.
    """

    name: str
    settings: TrainSettings
    targets: tuple[float, float]
    rounds: int
    trials: int
    lengths: Sequence[int] | None = None

    @property
    def count(self) -> int:
        """Completions of a step."""
        return self.settings.rollout.num_prompts * self.settings.rollout.num_generations


def beside_trl() -> list[dict[str, Any]]:
    """For each work a row over TRL's defaults and one over its best."""
    rows = []
    for make in (embedded_base, random_25m):
        with make() as work:
            rows += compare(work)
    return rows


# ----------------------------------------------------------------------------------------------------------- the works


@contextmanager
def embedded_base() -> Iterator[Work]:
    """Countdown with its true rewards, 32 prompts x 16 completions."""
    yield Work("embedded base, 32 x 16", grpo(nn.EMBEDDED), (OVER_DEFAULTS, OVER_BEST), 7, 2)


@contextmanager
def random_25m() -> Iterator[Work]:
    """Random weights and rewards; lengths log-normal around 32 tokens, at most 96; 4 prompts x 16 completions."""
    drawn = random_weights(7, 512, 4, OVER_25M)(torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        drawn.model.save_pretrained(folder)
        drawn.tokenizer.save_pretrained(folder)
        rollout = RolloutSettings(num_prompts=4, num_generations=16, max_completion_length=drawn.length)
        # TRL's own default is bf16 too, and rows as many as its best setting takes: all 64 at once need more memory, not less time.
        settings = replace(grpo(folder), bf16=True, rollout=rollout, reward=RewardSettings("random"))
        settings = replace(settings, optimizer=replace(settings.optimizer, micro_batch_rows=16))
        yield Work(f"{drawn.name}, 4 x 16", settings, (OVER_25M, OVER_25M), 3, 1, drawn.lengths)


def grpo(model: str) -> TrainSettings:
    """GRPO as TRL computes it: one optimizer step a rollout."""
    return TrainSettings(
        steps=1000,
        model=model,
        objective=ObjectiveSettings("grpo", dict(SAME_LOSS)),
        rollout=RolloutSettings(max_completion_length=24),
        optimizer=OptimizerSettings(learning_rate=1e-4),
        checkpoint_every=10**6,
    )


# ------------------------------------------------------------------------------------------------------------- measuring


def compare(work: Work, peers: Sequence[Chosen] | None = None, memory: bool = True) -> list[dict[str, Any]]:
    """Rounds of one step of ours and one of each peer: TRL's defaults and its best, unless others are given."""
    settings = replace(work.settings, steps=max(work.rounds, work.trials) + 2)
    work = replace(work, settings=settings)
    trials: dict[str, Any] = {}
    if peers is None:
        best, trials = find_best(work)
        peers = [step_trl.defaults(), replace(best, name=f"TRL's best ({best.name})")]
    makers: list[Callable[[], Side]] = [lambda: Side(ours(settings, work.lengths), torch.get_num_threads())]
    makers += [lambda c=c: Side(theirs(settings, c, work.lengths), c.threads) for c in peers]  # type: ignore[misc]
    rounds = take_turns(makers, work.rounds)
    rows = []
    own = _alone(work, None) if memory else {}
    for i, (chosen, target) in enumerate(zip(peers, work.targets, strict=True), start=1):
        row = _row(work, chosen, target, [r[0] for r in rounds], [r[i] for r in rounds])
        if memory:
            row |= _memory(own, _alone(work, chosen))
        rows.append(row | ({"trials": trials} if trials and i == len(peers) else {}))
    return rows


def take_turns(makers: Sequence[Callable[[], Side]], rounds: int) -> list[list[Step]]:
    """A step of each side in every round, another one first each time; the first round is not counted."""
    sides = [make() for make in makers]
    try:
        found = []
        for r in range(rounds + 1):
            order = [(r + i) % len(sides) for i in range(len(sides))]
            steps = {i: sides[i].step() for i in order}
            found.append([steps[i] for i in range(len(sides))])
        return found[1:]
    finally:
        for side in sides:
            side.close()


def find_best(work: Work) -> tuple[Chosen, dict[str, Any]]:
    """The candidate with the fastest step, and what each needed: seconds of the wall and of the processor."""
    options = step_trl.candidates(work.count)
    makers = [lambda c=c: Side(theirs(work.settings, c, work.lengths), c.threads) for c in options]  # type: ignore[misc]
    rounds = take_turns(makers, work.trials)
    seconds = [min(r[i].seconds for r in rounds) for i in range(len(options))]
    busy = [min(r[i].cpu for r in rounds) for i in range(len(options))]
    told = {c.name: {"s": s, "cpu_s": b} for c, s, b in zip(options, seconds, busy, strict=True)}
    return options[seconds.index(min(seconds))], told


def _row(work: Work, chosen: Chosen, target: float, own: list[Step], peer: list[Step]) -> dict[str, Any]:
    ratios = [b.seconds / a.seconds for a, b in zip(own, peer, strict=True)]
    busy = [b.cpu / a.cpu for a, b in zip(own, peer, strict=True)]
    mean = lambda steps, value: statistics.median(value(s) for s in steps)  # noqa: E731
    return {
        "name": f"step, {work.name}, beside {chosen.name}",
        "unit": "s",
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "target": target,
        "better": "higher",
        "ours": mean(own, lambda s: s.seconds),
        "peer": mean(peer, lambda s: s.seconds),
        "cpu_ratio": statistics.median(busy),
        "cpu_low": min(busy),
        "cpu_high": max(busy),
        "cpu_ours": mean(own, lambda s: s.cpu),
        "cpu_peer": mean(peer, lambda s: s.cpu),
        "rollout_share": mean(own, lambda s: s.told.rollout_s / s.seconds),
        "peer_rollout_share": mean(peer, lambda s: s.told.rollout_s / s.seconds),
        "tokens_per_s": mean(own, lambda s: s.told.tokens / s.seconds),
        "peer_tokens_per_s": mean(peer, lambda s: s.told.tokens / s.seconds),
        "tokens": sum(s.told.tokens for s in own),
        "peer_tokens": sum(s.told.tokens for s in peer),
        "optimizer_steps": own[-1].told.step,
        "peer_optimizer_steps": peer[-1].told.step,
        "reward": statistics.mean(s.told.reward for s in own),
        "peer_reward": statistics.mean(s.told.reward for s in peer),
        "pairs": len(ratios),
        "dtype": "bfloat16" if work.settings.bf16 else "float32",
        "completions": work.count,
        "peer_settings": chosen.to_json(),
    }


# ---------------------------------------------------------------------------------------------------------------- memory


def _memory(own: dict[str, float], peer: dict[str, float]) -> dict[str, float]:
    """Highest resident size of a process that does nothing else, and how much of it is above the loaded libraries."""
    return {
        "peak_mib": own["peak"],
        "peer_peak_mib": peer["peak"],
        "rise_mib": own["peak"] - own["before"],
        "peer_rise_mib": peer["peak"] - peer["before"],
    }


def _alone(work: Work, chosen: Chosen | None) -> dict[str, float]:
    from offleash.jobs.recipe import dump

    given = {
        "recipe": dump(work.settings),
        "lengths": work.lengths and list(work.lengths),
        "chosen": chosen and asdict(chosen),
    }
    code = "import sys; from offleash.jobs.benchmarks.step import alone; alone(sys.stdin.read())"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, input=json.dumps(given)
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def alone(text: str) -> None:
    """Three steps of one side in this process; prints its memory before and at the highest."""
    from offleash.jobs.recipe import parse_recipe

    given = json.loads(text)
    settings, chosen = parse_recipe(given["recipe"], TrainSettings), given["chosen"]
    if chosen:
        step_trl.load_trl()
    before = resident_mib()
    work = theirs(settings, Chosen(**chosen), given["lengths"]) if chosen else ours(settings, given["lengths"])
    side = Side(work, chosen["threads"] if chosen else torch.get_num_threads())
    for _ in range(3):
        side.step()
    print(json.dumps({"before": before, "peak": peak_mib()}))
    side.close()
