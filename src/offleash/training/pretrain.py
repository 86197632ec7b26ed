"""Supervised training of a small model from nothing, on a task's own traces."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from offleash import nn, tasks
from offleash.core import InputError
from offleash.nn import TinyModel


@dataclass(frozen=True)
class PretrainSettings:
    """A pretraining recipe."""

    steps: int
    task: str = "countdown"
    level_shares: dict[int, float] = field(default_factory=lambda: {2: 1.0})
    """Share of each difficulty level in a batch; they sum to 1."""
    split: str = "pretrain"
    model: TinyModel = field(default_factory=TinyModel)
    seed: int = 0
    batch_size: int = 256
    learning_rate: float = 2e-3
    """Peak, after the warm-up; a half cosine leads from it to `final_learning_rate_fraction` of it."""
    final_learning_rate_fraction: float = 0.02
    warmup_steps: int = 100
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        if abs(sum(self.level_shares.values()) - 1.0) > 1e-9:
            raise InputError(f"level_shares: they sum to {sum(self.level_shares.values())}, not to 1")
        if self.steps < 1 or self.batch_size < 1:
            raise InputError("steps, batch_size: both must be at least 1")


def pretrain(
    settings: PretrainSettings, out: Path, on_step: Callable[[int, float], None] | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Train on traces drawn afresh at every step (a function of (seed, step)), save to `out`, return model and tokenizer.

    The loss is the mean negative log-likelihood (nats) over the tokens of the answers, the end token included.
    """
    task = tasks.get(settings.task)
    model, tokenizer = nn.build(settings.model, settings.seed)
    optimizer = _optimizer(model, settings)
    for step in range(settings.steps):
        batch = _batch(task, tokenizer, settings, step)
        logprobs, _ = nn.score(model, batch, chunk=batch.mask_NT.numel())
        loss = -logprobs.sum() / batch.mask_NT.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(settings, step)
        optimizer.step()
        optimizer.zero_grad()
        if on_step:
            on_step(step + 1, float(loss.detach()))
    nn.save(model, tokenizer, out)
    return model, tokenizer


def _optimizer(model: LlamaForCausalLM, settings: PretrainSettings) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def _schedule(settings: PretrainSettings, step: int) -> float:
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    floor = settings.final_learning_rate_fraction
    return warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / settings.steps)))


def _batch(task: tasks.Task, tokenizer: PreTrainedTokenizerBase, settings: PretrainSettings, step: int) -> nn.PaddedBatch:
    levels = sorted(settings.level_shares)
    counts = [int(settings.batch_size * settings.level_shares[level]) for level in levels]
    counts[0] += settings.batch_size - sum(counts)
    pairs: list[tuple[str, str]] = []
    for level, count in zip(levels, counts, strict=True):
        if count:
            pairs += task.traces((settings.seed, step), level, settings.split, count)
    prompts = tokenizer([p for p, _ in pairs])["input_ids"]
    answers = tokenizer([a for _, a in pairs], add_special_tokens=False)["input_ids"]
    return nn.pad(prompts, [[*a, tokenizer.eos_token_id] for a in answers], tokenizer.pad_token_id)
