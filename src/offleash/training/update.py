"""From a rollout to new weights: rows, mini-batches, micro-batches, the objective, AdamW."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import mean

import torch
from torch import Tensor
from transformers import PreTrainedModel

from offleash.core import OffleashError
from offleash.nn import pad, score
from offleash.objectives import Objective, TokenBatch
from offleash.training.rollout import Rollout
from offleash.training.settings import TrainSettings


@dataclass
class Row:
    """One sequence of the update."""

    prompt: list[int]
    completion: list[int]
    old_logprobs: list[float] | None
    advantage: float
    group: int
    external: bool
    correct: bool = False
    ref_logprobs: list[float] | None = None


def make_optimizer(model: PreTrainedModel, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over all parameters; the recipe's weight decay applies to matrices only."""
    s = settings.optimizer
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": s.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=s.learning_rate,
        betas=s.betas,
        eps=s.eps,
        fused=True,
    )


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The learning rate of rollout step `step` (counted from 0)."""
    warmup = settings.optimizer.warmup_steps
    return settings.optimizer.learning_rate * (min(1.0, (step + 1) / warmup) if warmup else 1.0)


def make_rows(rollout: Rollout, objective: Objective, prompt_ids: list[list[int]]) -> tuple[list[Row], Tensor]:
    """Rows of all groups, undecided members left out, and the advantages (P, G)."""
    decided_PG = rollout.decided_PG()
    external_PG = rollout.external_PG()
    advantages_PG = objective.advantages(rollout.rewards_PG(), external_PG if external_PG.any() else None, decided_PG)
    rows = []
    for p, group in enumerate(rollout.groups):
        for g, member in enumerate(group):
            if decided_PG[p, g]:
                old = list(member.logprobs) if member.logprobs is not None else None
                advantage = float(advantages_PG[p, g])
                rows.append(
                    Row(
                        prompt_ids[p],
                        list(member.token_ids),
                        old,
                        advantage,
                        p,
                        member.external,
                        member.verdict.correct is True,
                    )
                )
    return rows, advantages_PG


def row_masks(rows: list[Row]) -> Tensor:
    """(N, T) True where a row has a token."""
    lengths = torch.tensor([len(r.completion) for r in rows])
    return torch.arange(int(lengths.max())) < lengths[:, None]


class Updater:
    """Applies one rollout to the model in `minibatches` optimizer steps."""

    def __init__(
        self,
        model: PreTrainedModel,
        reference: PreTrainedModel | None,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        settings: TrainSettings,
        pad_id: int,
    ) -> None:
        self.model, self.reference, self.optimizer = model, reference, optimizer
        self.objective, self.settings, self.pad_id = objective, settings, pad_id
        self.bad_steps = 0
        # A row of advantage 0 costs a forward pass and moves nothing, unless a regularizer reads it too.
        self.skip_zero = objective.zero_advantage_is_zero_gradient

    def update(self, rows: list[Row], step: int) -> dict[str, float]:
        """One pass over the rows; returns metrics averaged over the optimizer steps.

        Raises:
            OffleashError: after `max_bad_steps` updates in a row whose gradient is not finite.
        """
        self._score_missing(rows)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, step)
        parts = [self._minibatch(part, step) for part in self._minibatches(rows)]
        names = dict.fromkeys(name for part in parts for name in part)  # a part whose rows were all skipped has fewer
        metrics = {k: mean([part[k] for part in parts if k in part]) for k in names}
        metrics["mismatch"] = parts[0]["mismatch"]  # before the first optimizer step the two policies are the same
        return metrics

    def _minibatches(self, rows: list[Row]) -> list[list[Row]]:
        """Whole groups, in the order they were drawn (problems are already in random order)."""
        per = self.settings.rollout.num_prompts // self.settings.optimizer.minibatches
        return [[r for r in rows if r.group // per == i] for i in range(self.settings.optimizer.minibatches)]

    def _micro_batches(self, rows: list[Row]) -> list[list[Row]]:
        """Rows of one prompt together, so that the prompt is read once for them."""
        ordered = sorted(rows, key=lambda r: r.group)
        size = self.settings.optimizer.micro_batch_rows
        return [ordered[i : i + size] for i in range(0, len(ordered), size)]

    @torch.no_grad()
    def _score_missing(self, rows: list[Row]) -> None:
        """Old log-probs of demonstrations, and reference log-probs where the objective asks for them."""
        for micro in self._micro_batches([r for r in rows if r.old_logprobs is None]):
            for row, values in zip(micro, self._score(self.model, micro)[0].tolist(), strict=True):
                row.old_logprobs = values[: len(row.completion)]
        if self.reference is not None:
            for micro in self._micro_batches(rows):
                for row, values in zip(micro, self._score(self.reference, micro)[0].tolist(), strict=True):
                    row.ref_logprobs = values[: len(row.completion)]

    def _score(self, model: PreTrainedModel, rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
        batch = pad([r.prompt for r in rows], [r.completion for r in rows], self.pad_id)
        logprobs, entropy = score(model, batch, self.settings.rollout.temperature)
        return logprobs, entropy, batch.mask_NT.to(logprobs.device)

    def _minibatch(self, rows: list[Row], step: int) -> dict[str, float]:
        """Accumulate the gradient over micro-batches, then one optimizer step."""
        denominator = self.objective.denominator(
            row_masks(rows),
            advantages=torch.tensor([r.advantage for r in rows]),
            external=torch.tensor([r.external for r in rows]) if self.objective.uses_external else None,
            correct=torch.tensor([r.correct for r in rows]),
            max_completion_length=self.settings.rollout.max_completion_length,
        )
        active = [r for r in rows if r.advantage != 0.0] if self.skip_zero else rows
        totals: dict[str, float] = {}
        mismatch = 0.0
        micro_batches = self._micro_batches(active)
        selected = self._select(micro_batches, step)
        for micro, chosen in zip(micro_batches, selected, strict=True):
            batch = self._token_batch(micro)
            if self.objective.scope == "micro-batch":
                batch, _ = self.objective.prepare(batch, key=(self.settings.seed, step))
            elif chosen is not None:
                batch = replace(batch, selected=chosen[:, : batch.mask.shape[1]])
            loss, metrics = self.objective.loss(batch, denominator)
            loss.backward()
            for key, value in {"loss": loss.detach(), **metrics}.items():
                totals[key] = totals.get(key, 0.0) + float(value)
            mismatch = max(mismatch, float(batch.log_ratio_NT.detach().abs().max()))
        norm = self._apply(active, step)
        return {
            "loss": 0.0,
            **totals,
            "grad_norm": norm,
            "mismatch": mismatch,
            "trained_rows": len(active) / max(1, len(rows)),
        }

    @torch.no_grad()
    def _select(self, micro_batches: list[list[Row]], step: int) -> list[Tensor | None]:
        """For objectives that choose tokens over the whole optimizer step: the chosen ones of each micro-batch."""
        if self.objective.scope != "step" or not micro_batches:
            return [None] * len(micro_batches)
        whole = self._token_batch([row for micro in micro_batches for row in micro])
        prepared, _ = self.objective.prepare(whole, key=(self.settings.seed, step))
        if prepared.selected is None:
            return [None] * len(micro_batches)
        return list(prepared.selected.split([len(micro) for micro in micro_batches]))

    def _token_batch(self, rows: list[Row]) -> TokenBatch:
        logprobs, entropy, mask = self._score(self.model, rows)
        width, device = mask.shape[1], mask.device

        def padded(values: list[list[float]]) -> Tensor:
            return torch.tensor([v + [0.0] * (width - len(v)) for v in values], device=device)

        return TokenBatch(
            logprobs=logprobs,
            old_logprobs=padded([r.old_logprobs or [] for r in rows]),
            ref_logprobs=padded([r.ref_logprobs or [] for r in rows]) if self.reference is not None else None,
            advantages=torch.tensor([r.advantage for r in rows], device=device),
            mask=mask,
            entropy=entropy,
            group_ids=torch.tensor([r.group for r in rows], device=device),
            external=torch.tensor([r.external for r in rows], device=device) if self.objective.uses_external else None,
            correct=torch.tensor([r.correct for r in rows], device=device),
            vocab_size=self.model.config.vocab_size,
        )

    def _apply(self, active: list[Row], step: int) -> float:
        norm = 0.0
        if active:
            norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.optimizer.max_grad_norm))
        if not math.isfinite(norm):
            self.bad_steps += 1
            self.optimizer.zero_grad()
            if self.bad_steps >= self.settings.max_bad_steps:
                raise OffleashError(
                    f"step {step}: the gradient was not finite in {self.bad_steps} updates in a row; "
                    "lower optimizer.learning_rate or raise rollout.num_generations"
                )
            return norm
        self.bad_steps = 0
        if active:
            self.optimizer.step()
            self.optimizer.zero_grad()
        return norm
