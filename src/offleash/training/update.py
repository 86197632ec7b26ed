"""From a rollout to new weights: rows, mini-batches, micro-batches, the objective, AdamW."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import replace
from statistics import mean

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash.core import InputError, OffleashError
from offleash.nn import packed, pad, slots
from offleash.objectives import Objective, TokenBatch
from offleash.objectives.preset import example_groups
from offleash.objectives.reduce import Denominator
from offleash.objectives.registry import State
from offleash.tasks import Task
from offleash.training.episodes import longest_completion
from offleash.training.groups import annotate
from offleash.training.microbatches import group_by_group, least_computed
from offleash.training.processes import ALONE, Processes
from offleash.training.references import References
from offleash.training.rollout import Rollout
from offleash.training.rows import Row, fields, make_rows, row_masks
from offleash.training.settings import TrainSettings
from offleash.training.sharding import number, scorer


def make_optimizer(model: PreTrainedModel, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over all parameters that train; the recipe's weight decay applies to matrices only."""
    s = settings.optimizer
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim > 1]
    vectors = [p for p in trained if p.ndim <= 1]
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
        processes: Processes = ALONE,
    ) -> None:
        self.processes = processes
        self.model, self.references, self.optimizer = model, references, optimizer
        self.objective, self.settings, self.pad_id = objective, settings, pad_id
        self.bad_steps = 0
        self.computed = self.padded = 0  # token slots of the present step, in this process
        self.longest = longest_completion(settings)
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
        self.computed = self.padded = 0
        self.processes.same("advantages", zlib.crc32(repr([row.advantage for row in rows]).encode()))
        self._score_missing(rows)
        distances = self._distances(rows)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, step)
        parts = [self._minibatch(part, step) for part in self._minibatches(rows) if part]
        parts = parts or [{"loss": 0.0, "grad_norm": 0.0, "mismatch": 0.0, "trained_rows": 0.0}]  # nothing was decided
        names = dict.fromkeys(name for part in parts for name in part)
        # A part whose rows were all skipped has a loss of 0, and nothing to say of its tokens.
        metrics = {k: mean([part.get(k, 0.0) for part in parts if k in part or k.startswith("loss")]) for k in names}
        metrics["mismatch"] = parts[0]["mismatch"]  # before the first optimizer step the two policies are the same
        slots = self.processes.gather(lambda: (self.padded, self.computed))
        metrics["padding"] = sum(p for p, _ in slots) / max(1, sum(c for _, c in slots))
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
        for row, logprobs, _ in self._scored(model, rows):
            row.ref_logprobs = logprobs

    @torch.no_grad()
    def _scored(
        self, model: PreTrainedModel, rows: list[Row], *, entropies: bool = False
    ) -> list[tuple[Row, list[float], list[float]]]:
        """The rows, group by group, with each token's log-prob (and entropy): each process scores its share, all get all."""
        shares = self._shares(rows, model)
        mine, missing = self._own(shares, model)

        def own() -> list[tuple[list[float], list[float]]]:
            found = []
            for micro in mine:
                logprobs, entropy, _ = self._score(model, micro)
                values = entropy.tolist() if entropies else [[]] * len(micro)
                for row, one, two in zip(micro, logprobs.tolist(), values, strict=True):
                    found.append((one[: len(row.completion)], two[: len(row.completion)]))
            for _ in range(missing):
                self._score(model, rows[:1])
            return found

        scored = [pair for part in self.processes.gather(own) for pair in part]
        order = [row for share in shares for micro in share for row in micro]
        at = {id(row): pair for row, pair in zip(order, scored, strict=True)}
        return [(row, *at[id(row)]) for row in _ordered(rows)]

    def _shares(self, rows: list[Row], model: PreTrainedModel) -> list[list[list[Row]]]:
        """Each process's micro-batches. The shares have equal numbers of tokens, whoever sampled them."""
        ordered, size = _ordered(rows), self.settings.optimizer.micro_batch_rows
        sizes = [len(r.prompt) + len(r.completion) for r in ordered]
        # Where an objective looks at a micro-batch, that is whole groups whatever the model.
        whole = self.objective.scope == "micro-batch" or packed.supported(model, max(sizes, default=0))
        divide = group_by_group if whole else least_computed
        return [divide(share, size) for share in self.processes.shares(ordered, sizes)]

    def _own(self, shares: list[list[list[Row]]], model: PreTrainedModel) -> tuple[list[list[Row]], int]:
        """This process's micro-batches, and how many fewer they are than another's.

        A sharded model is gathered in every pass, so there all processes have to make as many: the missing ones are made for
        nothing.
        """
        mine = shares[self.processes.rank]
        together = self.processes.together and model is self.model
        return mine, max(map(len, shares)) - len(mine) if together else 0

    def _minibatches(self, rows: list[Row]) -> list[list[Row]]:
        """Whole groups, in the order they were drawn (problems are already in random order)."""
        per = self.settings.rollout.num_prompts // self.settings.optimizer.minibatches
        return [[r for r in rows if r.group // per == i] for i in range(self.settings.optimizer.minibatches)]

    @torch.no_grad()
    def _score_missing(self, rows: list[Row]) -> None:
        """Old log-probs of demonstrations, or of all rows, and reference log-probs, as the objective asks for them."""
        unscored = [r for r in rows if r.old_logprobs is None]
        if "engine_logprobs" in self.objective.needs:
            # The engine's own log-probs stay beside the trainer's, which become the old policy of the ratio. (What a server drew
            # has both already.)
            unscored = [r for r in rows if r.engine_logprobs is None]
            for row in unscored:
                row.engine_logprobs = row.old_logprobs
        if unscored:
            for row, logprobs, _ in self._scored(self.model, unscored):
                row.old_logprobs = logprobs
        if self.reference is not None:
            self._score_under(self.reference, rows)

    def _score(self, model: PreTrainedModel, rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
        batch = pad([r.prompt for r in rows], [r.completion for r in rows], self.pad_id)
        computed, padded = slots(model, batch)
        self.computed, self.padded = self.computed + computed, self.padded + padded
        dtype = torch.bfloat16 if self.settings.bf16 else None
        logprobs, entropy = scorer(model)(batch, self.settings.rollout.temperature, dtype=dtype)
        return logprobs, entropy, row_masks(rows).to(logprobs.device)

    def scored(self, rows: list[Row]) -> list[tuple[Row, list[float], list[float]]]:
        """The rows, group by group, with each token's log-prob and entropy under the present weights."""
        return self._scored(self.model, rows, entropies=True)

    @torch.no_grad()
    def logprobs_of(self, prompts: list[list[int]], completions: list[list[int]]) -> list[list[float]]:
        """Log-probs of given completions under the reference if there is one, else under the current policy."""
        rows = [Row(p, c, None, 0.0, i, False) for i, (p, c) in enumerate(zip(prompts, completions, strict=True))]
        return [logprobs for _, logprobs, _ in self._scored(self.reference or self.model, rows)]

    def _minibatch(self, rows: list[Row], step: int) -> dict[str, float]:
        """Accumulate the gradient over micro-batches, then one optimizer step."""
        controls = self._decide(rows, step)
        whole = fields(rows, self.objective, torch.device("cpu"))
        denominator = self.objective.denominator(
            row_masks(rows),
            advantages=whole["advantages"],
            external=whole["external"],
            correct=whole["correct"],
            group_ids=whole["group_ids"],
            selected=whole["selected"],
            max_completion_length=self.longest,
        )
        active = [r for r in rows if r.trains] if self.skip_zero else rows
        parts = self.processes.gather(lambda: self._accumulate(active, controls, denominator))
        self.processes.add_gradients(self.model.parameters())
        names = dict.fromkeys(name for part, _ in parts for name in part)
        totals = {name: sum(part.get(name, 0.0) for part, _ in parts) for name in names}
        mismatch = max(found for _, found in parts)
        # The objective's means are shares of the whole step; they are reported over the tokens that were trained on.
        trained = sum(r.length for r in active) / max(1, sum(r.length for r in rows))
        totals = {k: v if k.startswith("loss") else v / trained for k, v in totals.items()}
        norm = self._apply(active, step)
        return {
            "loss": 0.0,
            **totals,
            "grad_norm": norm,
            "mismatch": mismatch,
            "trained_rows": len(active) / max(1, len(rows)),
        }

    def _accumulate(
        self, active: list[Row], controls: Mapping[str, float], denominator: Denominator
    ) -> tuple[dict[str, float], float]:
        """The gradient of this process's share of the rows; its share of the metrics, and the largest mismatch in it."""
        totals: dict[str, float] = {}
        mismatch = 0.0
        # FSDP and DeepSpeed take the mean of the processes' gradients where a sum is wanted.
        scale = self.processes.count if self.processes.together else 1
        mine, missing = self._own(self._shares(active, self.model), self.model)
        for i, micro in enumerate(mine, start=1):
            batch = replace(self._token_batch(micro), controls=controls)
            loss, metrics = self.objective.loss(batch, denominator)
            self._backward(loss, scale, last=i == len(mine) + missing)
            for key, value in {"loss": loss.detach(), **metrics}.items():
                totals[key] = totals.get(key, 0.0) + float(value)
            mismatch = max(mismatch, _mismatch(batch))
        for i in range(1, missing + 1):
            self._backward(self._score(self.model, active[:1])[0].sum(), 0, last=i == missing)
        return totals, mismatch

    def _backward(self, loss: Tensor, scale: int, *, last: bool) -> None:
        if self.processes.zero is not None:
            self.processes.zero.backward(loss * scale, last=last)
        else:
            loss.backward(torch.full_like(loss, scale))

    @torch.no_grad()
    def _decide(self, rows: list[Row], step: int) -> Mapping[str, float]:
        """What the objective decides over the whole optimizer step: tokens (written into the rows), and numbers.

        All rows take part, also those without an advantage: they belong to the means and fractions that decide.
        """
        controls: Mapping[str, float] = {}
        if self.objective.prepare_tokens:
            # The numbers come from the log-probs at sampling time, so this needs no forward pass.
            old = fields(rows, self.objective, torch.device("cpu"))
            batch = TokenBatch(
                logprobs=old["old_logprobs"], mask=row_masks(rows), vocab_size=self.model.config.vocab_size, **old
            )
            batch, self.state = replace(self.objective, select=None).prepare(batch, self.state)
            controls = batch.controls
        if self.objective.select is not None:
            size = self.settings.optimizer.micro_batch_rows
            parts = [rows] if self.objective.scope == "step" else group_by_group(rows, size)
            scored = self._scored(self.model, rows, entropies=True)
            at = {id(row): (logprobs, entropies) for row, logprobs, entropies in scored}
            for i, part in enumerate(parts):
                batch = self._batch_of(part, [at[id(row)] for row in part])
                chosen = self.objective.select(batch, (self.settings.seed, step, i))
                for row, values in zip(part, chosen.tolist(), strict=True):
                    row.selected = values[: len(row.completion)]
        return controls

    def _batch_of(self, rows: list[Row], scored: list[tuple[list[float], list[float]]]) -> TokenBatch:
        """A batch without a gradient, of numbers that are known."""
        logprobs, entropy = (pad_sequence([torch.tensor(pair[i]) for pair in scored], batch_first=True) for i in (0, 1))
        given = fields(rows, self.objective, torch.device("cpu"))
        return TokenBatch(
            logprobs=logprobs, mask=row_masks(rows), entropy=entropy, vocab_size=self.model.config.vocab_size, **given
        )

    def _token_batch(self, rows: list[Row]) -> TokenBatch:
        logprobs, entropy, mask = self._score(self.model, rows)
        return TokenBatch(
            logprobs=logprobs,
            mask=mask,
            entropy=entropy,
            vocab_size=self.model.config.vocab_size,
            **fields(rows, self.objective, mask.device),
        )

    def _apply(self, active: list[Row], step: int) -> float:
        norm = 0.0
        if active:
            limit = self.settings.optimizer.max_grad_norm
            norm = (
                self.processes.zero.norm()
                if self.processes.zero is not None
                else number(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))
            )
        if not math.isfinite(norm):
            self.bad_steps += 1
            self.optimizer.zero_grad()
            # DeepSpeed has no public way to forget a gradient.
            if self.bad_steps >= self.settings.max_bad_steps or self.processes.zero is not None:
                raise OffleashError(
                    f"step {step}: the gradient was not finite in {self.bad_steps} updates in a row; "
                    "lower optimizer.learning_rate or raise rollout.num_generations"
                )
            return norm
        self.bad_steps = 0
        if active:
            if self.processes.zero is not None:
                self.processes.zero.step()
            else:
                self.optimizer.step()
                self.optimizer.zero_grad()
            if self.processes.any(not _finite(self.model)):
                raise OffleashError(
                    f"step {step + 1}: the update made weights that are not finite; lower optimizer.learning_rate. Earlier "
                    "checkpoints are intact"
                )
        return norm


@torch.no_grad()
def _finite(model: PreTrainedModel) -> bool:
    """Whether all weights of this process are; one pass over them, far below the cost of an update."""
    local = (p.to_local() if hasattr(p, "to_local") else p for p in model.parameters() if p.requires_grad)
    return all(math.isfinite(float(p.sum(dtype=torch.float64))) for p in local if p.numel())


def _ordered(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: r.group)


def _k3(rows: list[Row]) -> float:
    """Mean over tokens of exp(-d) - 1 + d, d = log pi - log pi_ref."""
    pairs = ((r.counted(r.old_logprobs), r.counted(r.ref_logprobs)) for r in rows)
    gaps = [old - ref for olds, refs in pairs for old, ref in zip(olds, refs, strict=True)]
    return mean([math.expm1(-d) + d for d in gaps])


def _mismatch(batch: TokenBatch) -> float:
    """Largest |log-prob of the trainer - log-prob of the engine| over the tokens that the engine sampled."""
    with torch.no_grad():
        if batch.engine_logprobs is None:
            return float(batch.log_ratio_NT.abs().max())
        gap_NT = batch.require("old_logprobs") - batch.engine_logprobs
        return float(torch.where(batch.mask, gap_NT, 0.0).abs().max())
