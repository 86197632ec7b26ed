"""From a rollout to new weights: rows, mini-batches, micro-batches, the objective, AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash.core import InputError, OffleashError
from offleash.nn import pad, score
from offleash.objectives import Objective, TokenBatch
from offleash.objectives.preset import example_groups
from offleash.objectives.registry import State
from offleash.tasks import Task
from offleash.training.groups import Annotated, annotate
from offleash.training.references import References
from offleash.training.rollout import Rollout
from offleash.training.settings import TrainSettings


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

    @property
    def trains(self) -> bool:
        """Whether any of its tokens has an advantage."""
        return any(self.advantage) if isinstance(self.advantage, list) else self.advantage != 0.0


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
            rows.append(
                Row(
                    prompt_ids[p],
                    list(member.token_ids),
                    list(member.logprobs) if member.logprobs is not None else None,
                    advantage,
                    p,
                    member.external,
                    member.verdict.correct is True,
                    planning=annotated.planning_N[n] if annotated.planning_N is not None else None,
                )
            )
    return rows


def row_masks(rows: list[Row]) -> Tensor:
    """(N, T) True where a row has a token."""
    lengths = torch.tensor([len(r.completion) for r in rows])
    return torch.arange(int(lengths.max())) < lengths[:, None]


class Updater:
    """Applies one rollout to the model in `minibatches` optimizer steps."""

    def __init__(
        self,
        model: PreTrainedModel,
        references: References | None,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        settings: TrainSettings,
        pad_id: int,
    ) -> None:
        self.model, self.references, self.optimizer = model, references, optimizer
        self.objective, self.settings, self.pad_id = objective, settings, pad_id
        self.bad_steps = 0
        self.state: State = {}
        """What the objective remembers from step to step; checkpoints carry it."""
        # A row of advantage 0 costs a forward pass and moves nothing, unless a regularizer reads it too.
        self.skip_zero = objective.zero_advantage_is_zero_gradient

    @property
    def reference(self) -> PreTrainedModel | None:
        """What `ref_logprobs` come from, where the objective reads them."""
        return self.references.moving if self.references is not None and self.objective.needs_ref else None

    def rows(self, rollout: Rollout, task: Task, tokenizer: PreTrainedTokenizerBase) -> tuple[list[Row], Tensor]:
        """What to train on: the decided completions with their advantages; and all advantages, (P, G) or (P, G, S)."""
        grams = self.settings.task.strategic_grams
        annotated = annotate(rollout, self.objective, task, tokenizer, grams, self.logprobs_of)
        groups, self.state = self.objective.prepare(annotated.groups, self.state)
        advantages_PG = self.objective.advantages(groups)
        prompt_ids = tokenizer([p.prompt for p in rollout.problems])["input_ids"]
        return make_rows(rollout, annotated, advantages_PG, prompt_ids), advantages_PG

    def tokens(self, rollout: Rollout, rows: list[Row]) -> tuple[int, int]:
        """Tokens that were sampled, and tokens that were trained on, prompts counted once a completion."""
        prompts = {p.id: len(r.prompt) for r in rows for p in (rollout.problems[r.group],)}
        sampled = sum(len(c.token_ids) + prompts.get(c.problem_id, 0) for c in rollout.completions)
        return sampled, sum(len(r.prompt) + len(r.completion) for r in rows if r.trains or not self.skip_zero)

    def remember(self, state: object, where: str) -> None:
        """Take up what the objective remembered when a checkpoint was written.

        Raises:
            OffleashError: it is missing, or is not what this objective remembers.
        """
        if not self.objective.remembers:
            return
        try:
            if not isinstance(state, dict) or not all(isinstance(part, dict) for part in state.values()):
                raise InputError("there is none, or it is not one")
            if state:
                self.objective.prepare(example_groups(self.objective), state)
                self.state = state
        except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise OffleashError(
                f"{where}/training_state.json: objective: not what {self.objective.name} remembers ({error}); resume from an "
                "earlier checkpoint, or start a new run"
            ) from error

    def update(self, rows: list[Row], step: int) -> dict[str, float]:
        """One pass over the rows; returns metrics averaged over the optimizer steps.

        Raises:
            OffleashError: after `max_bad_steps` updates in a row whose gradient is not finite.
        """
        self._score_missing(rows)
        distances = self._distances(rows)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, step)
        parts = [self._minibatch(part, step) for part in self._minibatches(rows)]
        names = dict.fromkeys(name for part in parts for name in part)
        # A part whose rows were all skipped has a loss of 0, and nothing to say of its tokens.
        metrics = {k: mean([part.get(k, 0.0) for part in parts if k in part or k.startswith("loss")]) for k in names}
        metrics["mismatch"] = parts[0]["mismatch"]  # before the first optimizer step the two policies are the same
        return metrics | distances

    @torch.no_grad()
    def _distances(self, rows: list[Row]) -> dict[str, float]:
        """KL of the sampling policy to the reference and to the original: k3, mean over the tokens it sampled, in nats.

        Until the reference is reset they are the same model, which is scored once.
        """
        own = [r for r in rows if not r.external and r.old_logprobs is not None]
        if self.references is None or not own:
            return {}
        if own[0].ref_logprobs is None:
            self._score_under(self.references.moving, own)
        found = {"kl_reference": _k3(own)}
        if self.references.moved:
            kept = [r.ref_logprobs for r in own]
            self._score_under(self.references.original, own)
            found["kl_original"] = _k3(own)
            for row, values in zip(own, kept, strict=True):
                row.ref_logprobs = values
        else:
            found["kl_original"] = found["kl_reference"]
        return found

    def _score_under(self, model: PreTrainedModel, rows: list[Row]) -> None:
        for micro in self._micro_batches(rows):
            for row, values in zip(micro, self._score(model, micro)[0].tolist(), strict=True):
                row.ref_logprobs = values[: len(row.completion)]

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
        """Old log-probs of demonstrations, or of all rows, and reference log-probs, as the objective asks for them."""
        unscored = [r for r in rows if r.old_logprobs is None]
        if "engine_logprobs" in self.objective.needs:
            # The engine's own log-probs stay beside the trainer's, which become the old policy of the ratio.
            for row in rows:
                row.engine_logprobs = row.old_logprobs
            unscored = rows
        for micro in self._micro_batches(unscored):
            for row, values in zip(micro, self._score(self.model, micro)[0].tolist(), strict=True):
                row.old_logprobs = values[: len(row.completion)]
        if self.reference is not None:
            self._score_under(self.reference, rows)

    def _score(self, model: PreTrainedModel, rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
        batch = pad([r.prompt for r in rows], [r.completion for r in rows], self.pad_id)
        logprobs, entropy = score(model, batch, self.settings.rollout.temperature)
        return logprobs, entropy, batch.mask_NT.to(logprobs.device)

    @torch.no_grad()
    def logprobs_of(self, prompts: list[list[int]], completions: list[list[int]]) -> list[list[float]]:
        """Log-probs of given completions under the reference if there is one, else under the current policy."""
        rows = [Row(p, c, None, 0.0, i, False) for i, (p, c) in enumerate(zip(prompts, completions, strict=True))]
        found = []
        for micro in self._micro_batches(rows):
            scored = self._score(self.reference or self.model, micro)[0].tolist()
            found += [values[: len(row.completion)] for row, values in zip(micro, scored, strict=True)]
        return found

    def _minibatch(self, rows: list[Row], step: int) -> dict[str, float]:
        """Accumulate the gradient over micro-batches, then one optimizer step."""
        controls = self._decide(rows, step)
        whole = self._fields(rows, torch.device("cpu"))
        denominator = self.objective.denominator(
            row_masks(rows),
            advantages=whole["advantages"],
            external=whole["external"],
            correct=whole["correct"],
            group_ids=whole["group_ids"],
            selected=whole["selected"],
            max_completion_length=self.settings.rollout.max_completion_length,
        )
        active = [r for r in rows if r.trains] if self.skip_zero else rows
        totals: dict[str, float] = {}
        mismatch = 0.0
        for micro in self._micro_batches(active):
            batch = replace(self._token_batch(micro), controls=controls)
            loss, metrics = self.objective.loss(batch, denominator)
            loss.backward()
            for key, value in {"loss": loss.detach(), **metrics}.items():
                totals[key] = totals.get(key, 0.0) + float(value)
            mismatch = max(mismatch, _mismatch(batch))
        # The objective's means are shares of the whole step; they are reported over the tokens that were trained on.
        trained = sum(len(r.completion) for r in active) / max(1, sum(len(r.completion) for r in rows))
        totals = {k: v if k.startswith("loss") else v / trained for k, v in totals.items()}
        norm = self._apply(active, step)
        return {
            "loss": 0.0,
            **totals,
            "grad_norm": norm,
            "mismatch": mismatch,
            "trained_rows": len(active) / max(1, len(rows)),
        }

    @torch.no_grad()
    def _decide(self, rows: list[Row], step: int) -> Mapping[str, float]:
        """What the objective decides over the whole optimizer step: tokens (written into the rows), and numbers.

        All rows take part, also those without an advantage: they belong to the means and fractions that decide.
        """
        controls: Mapping[str, float] = {}
        if self.objective.prepare_tokens:
            # The numbers come from the log-probs at sampling time, so this needs no forward pass.
            old = self._fields(rows, torch.device("cpu"))
            batch = TokenBatch(
                logprobs=old["old_logprobs"], mask=row_masks(rows), vocab_size=self.model.config.vocab_size, **old
            )
            batch, self.state = replace(self.objective, select=None).prepare(batch, self.state)
            controls = batch.controls
        if self.objective.select is not None:
            parts = [rows] if self.objective.scope == "step" else self._micro_batches(rows)
            for i, part in enumerate(parts):
                chosen = self.objective.select(self._token_batch(part), (self.settings.seed, step, i))
                for row, values in zip(part, chosen.tolist(), strict=True):
                    row.selected = values[: len(row.completion)]
        return controls

    def _token_batch(self, rows: list[Row]) -> TokenBatch:
        logprobs, entropy, mask = self._score(self.model, rows)
        return TokenBatch(
            logprobs=logprobs,
            mask=mask,
            entropy=entropy,
            vocab_size=self.model.config.vocab_size,
            **self._fields(rows, mask.device),
        )

    def _fields(self, rows: list[Row], device: torch.device) -> dict[str, Any]:
        """What rows carry, as tensors of the fields of a TokenBatch; None for what the objective does not read."""
        needs, width = self.objective.needs, max(len(r.completion) for r in rows)

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
            "ref_logprobs": padded([r.ref_logprobs for r in rows]) if self.reference is not None else None,
            "engine_logprobs": padded(engine) if "engine_logprobs" in needs else None,
            "advantages": padded(advantages) if by_token else torch.tensor([a[0] for a in advantages], device=device),
            "group_ids": torch.tensor([r.group for r in rows], device=device),
            "external": torch.tensor([r.external for r in rows], device=device)
            if self.objective.uses_external
            else None,
            "correct": torch.tensor([r.correct for r in rows], device=device),
            "planning": flags([r.planning for r in rows]) if "planning" in needs else None,
            "selected": flags([r.selected for r in rows]) if chosen else None,
        }

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


def _k3(rows: list[Row]) -> float:
    """Mean over tokens of exp(-d) - 1 + d, d = log pi - log pi_ref."""
    gaps = [old - ref for r in rows for old, ref in zip(r.old_logprobs or (), r.ref_logprobs or (), strict=True)]
    return mean([math.expm1(-d) + d for d in gaps])


def _mismatch(batch: TokenBatch) -> float:
    """Largest |log-prob of the trainer - log-prob of the engine| over the tokens that the engine sampled."""
    with torch.no_grad():
        if batch.engine_logprobs is None:
            return float(batch.log_ratio_NT.abs().max())
        gap_NT = batch.require("old_logprobs") - batch.engine_logprobs
        return float(torch.where(batch.mask, gap_NT, 0.0).abs().max())
