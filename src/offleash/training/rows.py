"""What an update trains on: one row a sequence, and the rows as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from offleash.objectives import Objective
from offleash.training.groups import Annotated
from offleash.training.rollout import Rollout


@dataclass
class Row:
    """One sequence of the update."""

    prompt: list[int]
    completion: list[int]
    old_logprobs: list[float] | None
    advantage: float | list[float]
    """One number, or one a token where the objective gives steps their own."""
    group: int
    external: bool
    correct: bool = False
    ref_logprobs: list[float] | None = None
    engine_logprobs: list[float] | None = None
    planning: list[bool] | None = None
    selected: list[bool] | None = None
    mask: list[bool] | None = None
    """False at tokens of a world; None where the model chose all."""

    @property
    def length(self) -> int:
        """Tokens that count in the loss."""
        return len(self.completion) if self.mask is None else sum(self.mask)

    def counted(self, values: Sequence[float] | None) -> list[float]:
        """Those of a list with a number a token that stand at tokens that count."""
        if self.mask is None:
            return list(values or ())
        return [value for value, mine in zip(values or (), self.mask, strict=True) if mine]

    @property
    def trains(self) -> bool:
        """Whether any of its tokens has an advantage."""
        return any(self.advantage) if isinstance(self.advantage, list) else self.advantage != 0.0


def make_rows(rollout: Rollout, annotated: Annotated, advantages_PG: Tensor, prompt_ids: list[list[int]]) -> list[Row]:
    """Rows of all groups, undecided members left out. Advantages are (P, G), or (P, G, S) with one number a step."""
    decided_PG = rollout.decided_PG()
    rows, n = [], -1
    for p, group in enumerate(rollout.groups):
        for g, member in enumerate(group):
            n += 1
            if not decided_PG[p, g]:
                continue
            advantage: float | list[float] = advantages_PG[p, g].tolist()
            if isinstance(advantage, list):
                assert annotated.steps_N is not None
                advantage = [advantage[step] for step in annotated.steps_N[n]]
                if member.mask is not None:
                    advantage = [a if mine else 0.0 for a, mine in zip(advantage, member.mask, strict=True)]
            rows.append(
                Row(
                    prompt_ids[p],
                    list(member.token_ids),
                    list(member.logprobs) if member.logprobs is not None else None,
                    advantage,
                    p,
                    member.external,
                    member.verdict.correct is True,
                    engine_logprobs=list(member.engine_logprobs) if member.engine_logprobs is not None else None,
                    planning=annotated.planning_N[n] if annotated.planning_N is not None else None,
                    mask=list(member.mask) if member.mask is not None else None,
                )
            )
    return rows


def row_masks(rows: list[Row]) -> Tensor:
    """(N, T) True where a row has a token that counts."""
    lengths = torch.tensor([len(r.completion) for r in rows])
    there = torch.arange(int(lengths.max())) < lengths[:, None]
    for n, row in enumerate(rows):
        if row.mask is not None:
            there[n, : len(row.mask)] = torch.tensor(row.mask)
    return there


def fields(rows: list[Row], objective: Objective, device: torch.device) -> dict[str, Any]:
    """What rows carry, as tensors of the fields of a TokenBatch; None for what the objective does not read."""
    needs, width = objective.needs, max(len(r.completion) for r in rows)

    def padded(values: Sequence[Sequence[float] | None], filler: float = 0.0) -> Tensor:
        return torch.tensor([[*(v or ()), *[filler] * (width - len(v or ()))] for v in values], device=device)

    def flags(values: Sequence[Sequence[bool] | None]) -> Tensor:
        return padded(values).bool()

    by_token = any(isinstance(r.advantage, list) for r in rows)
    advantages = [r.advantage if isinstance(r.advantage, list) else [r.advantage] for r in rows]
    engine = [r.old_logprobs if r.engine_logprobs is None else r.engine_logprobs for r in rows]
    chosen = rows[0].selected is not None
    return {
        "old_logprobs": padded([r.old_logprobs for r in rows]),
        "ref_logprobs": padded([r.ref_logprobs for r in rows])
        if objective.needs_ref and rows[0].ref_logprobs is not None
        else None,
        "engine_logprobs": padded(engine) if "engine_logprobs" in needs else None,
        "advantages": padded(advantages) if by_token else torch.tensor([a[0] for a in advantages], device=device),
        "group_ids": torch.tensor([r.group for r in rows], device=device),
        "external": torch.tensor([r.external for r in rows], device=device) if objective.uses_external else None,
        "correct": torch.tensor([r.correct for r in rows], device=device),
        "planning": flags([r.planning for r in rows]) if "planning" in needs else None,
        "selected": flags([r.selected for r in rows]) if chosen else None,
    }
