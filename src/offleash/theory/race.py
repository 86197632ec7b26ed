"""Training of one prompt with answers of one token, fast: many settings x seeds at once, in numpy.

On-policy, what a preset does with a group of G answers depends only on how many of each it holds, so all its updates fit into
a table: the weight of each answer's log-prob, for each of the C(G + M - 1, G) groups. The table is asked of the preset itself
(`table_of`); a step is then a softmax, G comparisons with uniform numbers and a look-up. `tests/theory` holds a step equal to
the gradient of the preset's loss on the same group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from offleash.core import InputError, rng
from offleash.objectives import Objective
from offleash.theory.expectation import multisets
from offleash.theory.updates import update
from offleash.theory.worlds import World

CELLS = 4096
BLOCK = 250
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Table:
    """Weights of a preset for every group of G outcomes.

    Attributes:
        weights_KV: weight of log pi(v) in the objective, at the code of the group.
        answer_M: which answer (column of the logits) each outcome is.
        luck_M: probability of the outcome given its answer.
        group: G.
    """

    weights_KV: np.ndarray
    answer_M: np.ndarray
    luck_M: np.ndarray
    group: int

    def code(self, counts_M: np.ndarray) -> np.ndarray:
        """Number of a group from how often it holds each outcome, (..., M)."""
        return (counts_M[..., :-1] * (self.group + 1) ** np.arange(counts_M.shape[-1] - 1)).sum(-1)


def table_of(objective: Objective, world: World, group: int) -> Table:
    """Ask the preset for its weights on every group of a world of one prompt and one token.

    Raises:
        InputError: the weights depend on the policy (a KL penalty, an entropy bonus, a demonstration's ratio), so that no
            table holds them; `dynamics.train` trains such a preset.
    """
    if world.prompts != 1 or world.mask_MT.shape[1] != 1:
        raise InputError("world: the table is for one prompt and one token; use dynamics.train")
    groups_KG = multisets(world.outcomes, group)
    weights, other = (_weights(objective, world, groups_KG, spread) for spread in (0.0, 1.0))
    if not np.allclose(weights, other, atol=1e-9):
        raise InputError(
            f"{objective.name}: its update depends on the policy beyond the softmax, so no table holds it; use dynamics.train"
        )
    counts_KM = torch.nn.functional.one_hot(groups_KG, world.outcomes).sum(1).numpy()
    table = Table(
        np.zeros(((group + 1) ** (world.outcomes - 1), world.vocab)),
        world.token_MT[:, 0].numpy(),
        world.chance_PM[0].numpy(),
        group,
    )
    table.weights_KV[table.code(counts_KM)] = weights
    return table


def _weights(objective: Objective, world: World, groups_KG: torch.Tensor, spread: float) -> np.ndarray:
    """Weight (K, V) of each answer: its part of the logit update, less the share the softmax takes from all.

    update_v = w_v - pi_v sum_u w_u does not tell the sum, which the answers that are not in the group do: there w_u = 0 and
    update_u / pi_u is minus the sum. An answer is added to the policy for that, which no group holds.
    """
    extra = replace(world, vocab=world.vocab + 1)
    policy = torch.linspace(-spread, spread, extra.vocab, dtype=torch.float64).flip(0)
    logits_KSV = policy.expand(len(groups_KG), 1, -1)
    # The reference stays where it is while the policy moves, so that a penalty shows.
    reference = torch.zeros_like(logits_KSV)
    update_KV = update(objective, extra, logits_KSV, groups_KG[:, None], reference_RSV=reference)[:, 0]
    pi_V = policy.softmax(0)
    total_K1 = -update_KV[:, -1:] / pi_V[-1]
    weights = (update_KV + total_K1 * pi_V)[:, :-1].numpy()
    return np.where(np.abs(weights) < 1e-15, 0.0, weights)


@dataclass(frozen=True)
class Race:
    """Where C settings x seeds ended.

    Attributes:
        final_ESCV: probabilities of the answers at each recorded step; the last is the end.
        steps_E: the recorded steps.
        found_SC: first step after which the target was more probable than 1/2; NaN where that never was.
    """

    final_ESCV: np.ndarray
    steps_E: tuple[int, ...]
    found_SC: np.ndarray

    @property
    def end_SCV(self) -> np.ndarray:
        """Probabilities at the end."""
        end: np.ndarray = self.final_ESCV[-1]
        return end


def race(
    tables: Sequence[Table],
    which_C: np.ndarray,
    start_CV: np.ndarray,
    *,
    rate: float,
    steps: int,
    seeds: int,
    target: int = -1,
    every: int | Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Race:
    """Train every setting under every seed.

    A seed is a stream of luck that all settings share: a setting's run does not depend on which others run beside it, and
    two settings differ by what they are, not by what they drew.

    Args:
        tables: of one shape: as many outcomes, answers and members of a group.
        which_C: the table of each setting.
        start_CV: logits at the start.
        rate: learning rate of plain gradient ascent.
        steps: how many.
        seeds: how many, from 0.
        target: the answer whose rise is timed.
        every: record the probabilities every so many steps, or before these steps; the end is always recorded.
        progress: called with the number of steps x settings done.
    """
    width = max(1, CELLS // max(1, seeds))
    asked = range(0, steps, every) if isinstance(every, int) else [m for m in every or () if m < steps]
    marks = tuple(sorted({*asked, steps}))
    flat = np.concatenate([t.weights_KV for t in tables])
    size = len(tables[0].weights_KV)
    parts = []
    for low in range(0, len(start_CV), width):
        chosen = slice(low, low + width)
        runner = _Runner(tables[0], flat, which_C[chosen] * size, start_CV[chosen], rate, seeds, target)
        parts.append(runner.run(steps, marks))
        if progress:
            progress(min(len(start_CV), low + width) * steps)
    return Race(
        np.concatenate([final for final, _ in parts], 2), marks, np.concatenate([found for _, found in parts], 1)
    )


class _Runner:
    """The state of some settings: logits and work space of shape (seeds, settings), one array an answer."""

    def __init__(
        self,
        table: Table,
        flat: np.ndarray,
        offset_C: np.ndarray,
        start_CV: np.ndarray,
        rate: float,
        seeds: int,
        target: int,
    ) -> None:
        self.table, self.offset_C, self.target = table, offset_C, target % start_CV.shape[1]
        self.weights_V = [np.ascontiguousarray(rate * flat[:, v]) for v in range(flat.shape[1])]
        self.logits_V = [np.repeat(column[None], seeds, 0) for column in start_CV.T.astype(np.float64)]
        self.pi_V = [np.empty_like(z) for z in self.logits_V]
        self.found = np.full(self.logits_V[0].shape, np.nan)
        self.streams = [rng.stream("theory race", seed) for seed in range(seeds)]
        powers = (table.group + 1) ** np.arange(len(table.answer_M) - 1)
        # The code is a sum over outcomes; from cumulative counts each outcome's power is less the next one's.
        self.powers = powers - np.append(powers[1:], 0)

    def run(self, steps: int, marks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        recorded = []
        self.softmax()
        for step in range(steps):
            if step in marks:
                recorded.append(np.stack(self.pi_V, -1))
            if step % BLOCK == 0:
                shape = (min(BLOCK, steps - step), self.table.group)
                luck = np.stack([stream.random(shape) for stream in self.streams])
            self.ascend(self.codes(luck[:, step % BLOCK]))
            self.softmax()
            late = np.isnan(self.found)
            late &= self.pi_V[self.target] > 0.5
            if late.any():
                self.found[late] = step + 1
        return np.stack([*recorded, np.stack(self.pi_V, -1)]), self.found

    def softmax(self) -> None:
        """Logits to probabilities."""
        top = self.logits_V[0]
        for z in self.logits_V[1:]:
            top = np.maximum(top, z)
        for z, pi in zip(self.logits_V, self.pi_V, strict=True):
            np.exp(np.subtract(z, top, out=pi), out=pi)
        total = sum(self.pi_V)
        for pi in self.pi_V:
            pi /= total

    def codes(self, luck_SG: np.ndarray) -> np.ndarray:
        """Draw a group for every policy and return its place in the tables."""
        below = np.zeros_like(self.pi_V[0])
        code = np.repeat(self.offset_C[None], len(luck_SG), 0)
        for answer, chance, power in zip(self.table.answer_M, self.table.luck_M, self.powers, strict=False):
            below = below + chance * self.pi_V[answer]
            count = np.zeros(below.shape, dtype=np.int8)
            for luck_S in luck_SG.T:
                count += luck_S[:, None] < below
            code += int(power) * count.astype(np.int64)
        return code

    def ascend(self, code: np.ndarray) -> None:
        """One step: logit v moves by its weight, less its share of all weights."""
        gains = [np.take(weights, code) for weights in self.weights_V]
        total = sum(gains)
        for z, gain, pi in zip(self.logits_V, gains, self.pi_V, strict=True):
            z += gain
            z -= pi * total
