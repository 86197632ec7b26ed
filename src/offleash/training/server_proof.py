"""Whether a server's log-probs show the last update: the weights it had before it explain them, or those it was given.

A limit on the mean difference cannot tell at small learning rates: bfloat16 alone makes 0.007 nats a token, an update at 1e-5 moves
the policy by 0.002. But rounding knows nothing of the update's direction. For every sampled token, with s the server's log-prob,
a the trainer's and b the trainer's under the weights before the update,

    s - b = slope * (a - b) + rounding        slope 1: the server has the new weights; slope 0: it still has the old ones

so the slope is a regression through the origin. Tokens of one completion go together: its standard error is over completions.
The trainer rounds too. a and b come from the same batches, so that an update of nothing makes no difference at all, and one that
is lost in the trainer's own rounding pulls the slope towards one half, from above or from below: never over it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from transformers import PreTrainedModel

from offleash.nn import pad, score
from offleash.training.processes import Processes
from offleash.training.rows import Row

ROWS = 128
"""Completions of a step that are looked at: each is scored twice."""
LEAST = 24
"""Completions without which nothing is decided."""
ERRORS = 5.0
"""Standard errors between the slope and one half from which it is decided: one run in millions is stopped for nothing."""

Trained = dict[str, Tensor]
Sums = tuple[float, float]
"""Of a completion: the sums of (s - b)(a - b) and of (a - b)^2 over its tokens."""


def trained(model: PreTrainedModel) -> Trained:
    """A copy of what an update changes, on the CPU: all the weights, or the adapters."""
    return {n: p.detach().to("cpu", copy=True) for n, p in model.named_parameters() if p.requires_grad}


@dataclass
class Proof:
    """What the steps since the last decision say, added up: an update too small to see in one step is seen in many."""

    sums: list[Sums] = field(default_factory=list)

    def add(self, sums: Sequence[Sums]) -> None:
        """One more step."""
        self.sums += [pair for pair in sums if pair[1] > 0]

    @property
    def slope(self) -> float:
        """1 where the server has the new weights, 0 where it has the old ones; NaN where there is nothing to say."""
        total = sum(dd for _, dd in self.sums)
        return sum(rd for rd, _ in self.sums) / total if total else math.nan

    @property
    def error(self) -> float:
        """Its standard error, each completion held against the slope of the others (HC3): few tokens may weigh most."""
        slope, total = self.slope, sum(dd for _, dd in self.sums)
        if not total:
            return math.nan
        if any(dd == total for _, dd in self.sums):
            return math.inf
        return math.sqrt(sum(((rd - slope * dd) / (total - dd)) ** 2 for rd, dd in self.sums))

    def decide(self) -> bool | None:
        """Whether the server has taken the updates; None while that is open. A decision for it begins anew."""
        if len(self.sums) < LEAST:
            return None
        margin = ERRORS * self.error
        if self.slope - margin > 0.5:
            self.sums = []
            return True
        return False if self.slope + margin < 0.5 else None


def evidence(
    model: PreTrainedModel,
    before: Trained,
    rows: Sequence[Row],
    temperature: float,
    dtype: torch.dtype | None,
    processes: Processes,
    size: int,
) -> list[Sums]:
    """The sums of some of a step's completions.

    Args:
        model: with the weights that the server was given.
        before: what `trained` was before the last update.
        rows: with the server's log-probs.
        temperature, dtype: of scoring.
        processes: each scores a part, all get all.
        size: rows of a forward pass.
    """
    chosen = list(rows)[:: max(1, len(rows) // ROWS)][:ROWS]

    def own() -> list[Sums]:
        mine = [chosen[i] for i in processes.part(len(chosen))]
        found: list[Sums] = []
        for i in range(0, len(mine), size):
            part = mine[i : i + size]
            new, old = (_scored(model, weights, part, temperature, dtype) for weights in ({}, before))
            found += [_sums(row, a, b) for row, a, b in zip(part, new, old, strict=True)]
        return found

    return [sums for part in processes.gather(own) for sums in part]


def _sums(row: Row, new: list[float], old: list[float]) -> Sums:
    length = len(row.completion)
    given = (row.engine_logprobs, new[:length], old[:length])
    triples = list(zip(*map(row.counted, given), strict=True))
    return sum((s - b) * (a - b) for s, a, b in triples), sum((a - b) ** 2 for _, a, b in triples)


class _Scorer(torch.nn.Module):
    """`nn.score` as a module's forward, so that it can be called with other weights."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        return score(self.model, *arguments, **named)


@torch.no_grad()
def _scored(
    model: PreTrainedModel, weights: Trained, rows: Sequence[Row], temperature: float, dtype: torch.dtype | None
) -> list[list[float]]:
    """Log-probs with some of the model's weights replaced."""
    batch = pad([r.prompt for r in rows], [r.completion for r in rows], 0)
    named = {f"model.{name}": value.to(model.device) for name, value in weights.items()}
    logprobs_NT, _ = functional_call(_Scorer(model), named, (batch, temperature), {"dtype": dtype})
    found: list[list[float]] = logprobs_NT.float().tolist()
    return found
