"""Supervised training of a small model from nothing, on a task's own traces."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from offleash import nn, tasks
from offleash.core import InputError
from offleash.nn import TinyModel
from offleash.nn.scoring import batches
from offleash.training.checkpoint import STATE
from offleash.training.interrupt import interruptible


@dataclass(frozen=True)
class Stage:
    """Some steps on one mixture of difficulty levels, of one task or of several."""

    steps: int
    level_shares: dict[int, float] = field(default_factory=dict)
    """Share of each level of the recipe's task in a batch; they sum to 1."""
    task_shares: dict[str, dict[int, float]] = field(default_factory=dict)
    """Instead: share of each level of each task in a batch; all of them sum to 1."""

    def __post_init__(self) -> None:
        if bool(self.level_shares) == bool(self.task_shares):
            raise InputError("stages.level_shares: give either it or task_shares")
        name = "level_shares" if self.level_shares else "task_shares"
        total = sum(share for _, _, share in self.shares(""))
        if abs(total - 1.0) > 1e-9:
            raise InputError(f"stages.{name}: they sum to {total}, not to 1")
        if self.steps < 1:
            raise InputError(f"stages.steps: {self.steps} is below 1")

    def shares(self, task: str) -> list[tuple[str, int, float]]:
        """Every (task, level) with its share; `task` is the one that `level_shares` is of."""
        found = self.task_shares or {task: self.level_shares}
        return [(name, level, share) for name, levels in found.items() for level, share in levels.items()]


@dataclass(frozen=True)
class PretrainSettings:
    """A pretraining recipe: stages of a curriculum under one learning-rate schedule."""

    stages: tuple[Stage, ...]
    task: str = "countdown"
    """Of the stages that give `level_shares`."""
    split: str = "pretrain"
    model: TinyModel = field(default_factory=TinyModel)
    seed: int = 0
    batch_size: int = 256
    learning_rate: float = 3e-3
    """Peak of AdamW (embedding and vectors), after the warm-up; a half cosine leads from it to a fraction of it."""
    muon_learning_rate: float = 0.02
    """Peak of Muon (matrices of the layers), on the same schedule."""
    final_learning_rate_fraction: float = 0.02
    schedule_steps: int = 0
    """Length of the cosine, where it is longer than the stages (training then ends before the rate has fallen); 0: as long."""
    warmup_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.95)
    max_grad_norm: float = 1.0
    device: str = "cpu"
    """Where it trains: cpu or cuda."""
    dtype: str = "float32"
    """Of the products in the layers: float32, or bfloat16, which is quicker where the processor has it. Weights stay float32."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("stages: empty; give at least one")
        if self.batch_size < 1:
            raise InputError(f"batch_size: {self.batch_size} is below 1")
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError(f"dtype: {self.dtype!r} is none of float32, bfloat16")
        if self.device not in ("cpu", "cuda") or (self.device == "cuda" and not torch.cuda.is_available()):
            raise InputError(
                f"device: {self.device!r} is not there; give cpu{', or cuda' if torch.cuda.is_available() else ''}"
            )

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)


def pretrain(
    settings: PretrainSettings, out: Path, on_step: Callable[[int, float], None] | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Train on traces drawn afresh at every step (a function of (seed, step)), save to `out`, return model and tokenizer.

    The loss is the mean negative log-likelihood (nats) over the tokens of the answers, the end token included. Matrices of the
    layers are trained by Muon (K. Jordan et al., 2024), which needed two thirds of AdamW's steps here (log/EXPERIMENTS.md).

    A first SIGINT finishes the step, saves the model as it is and raises KeyboardInterrupt; a second one stops at once.
    training_state.json in `out` says how many of the steps were done.
    """
    model, tokenizer = nn.build(settings.model, settings.seed)
    model.to(settings.device)  # type: ignore[arg-type]
    # Texts of several tasks differ in length: in evaluation mode they are packed. There is no dropout, so nothing else differs.
    model.train(not any(stage.task_shares for stage in settings.stages))
    optimizers = _optimizers(model, settings)
    mixtures = [stage.shares(settings.task) for stage in settings.stages for _ in range(stage.steps)]
    products = torch.bfloat16 if settings.dtype == "bfloat16" else None
    done = 0
    with interruptible() as interrupted:
        for step, shares in enumerate(mixtures):
            batch = _batch(tokenizer, settings, shares, step)
            count = sum(int(part.mask_NT.sum()) for part in batch)
            total = 0.0
            for part in batch:
                logprobs, _ = nn.score(model, part, chunk=part.mask_NT.numel(), dtype=products)
                loss = -logprobs.sum() / count
                loss.backward()
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            for optimizer, peak in optimizers:
                optimizer.param_groups[0]["lr"] = peak * _schedule(settings, step)
                optimizer.step()
            model.zero_grad()
            done = step + 1
            if on_step:
                on_step(done, total)
            if interrupted:
                break
        model.eval()
        nn.save(model, tokenizer, out)
        (out / STATE).write_text(json.dumps({"step": done, "steps": settings.steps}))
    if done < settings.steps:
        raise KeyboardInterrupt(
            f"stopped at step {done} of {settings.steps}; the model of that step is in {out}; to train to the end, start "
            "again with another --out"
        )
    return model, tokenizer


def _optimizers(model: LlamaForCausalLM, settings: PretrainSettings) -> list[tuple[torch.optim.Optimizer, float]]:
    """Each optimizer with its peak learning rate."""
    inside = [p for name, p in model.named_parameters() if p.ndim > 1 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim == 1 or "embed" in name]
    muon = torch.optim.Muon(inside, lr=settings.muon_learning_rate, weight_decay=0.0, momentum=0.95)
    adam = torch.optim.AdamW(rest, lr=settings.learning_rate, betas=settings.betas, weight_decay=0.0, fused=True)
    return [(muon, settings.muon_learning_rate), (adam, settings.learning_rate)]


def _schedule(settings: PretrainSettings, step: int) -> float:
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    floor = settings.final_learning_rate_fraction
    length = max(settings.steps, settings.schedule_steps)
    return warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / length)))


def _batch(
    tokenizer: PreTrainedTokenizerBase, settings: PretrainSettings, shares: list[tuple[str, int, float]], step: int
) -> list[nn.PaddedBatch]:
    """A batch; where its texts are of several tasks, in parts of similar length, for attention reads rectangles."""
    pairs: list[tuple[str, str]] = []
    for name, level, share in shares:
        count = max(1, int(settings.batch_size * share))
        pairs += tasks.get(name).traces((settings.seed, step), level, settings.split, count)
    prompts = tokenizer([p for p, _ in pairs])["input_ids"]
    answers = tokenizer([a for _, a in pairs], add_special_tokens=False)["input_ids"]
    texts = [[*a, tokenizer.eos_token_id] for a in answers]
    several = len({name for name, _, _ in shares}) > 1
    parts = batches(prompts, texts, sys.maxsize, stretch=3.0) if several else [[*range(len(texts))]]
    return [nn.pad([prompts[i] for i in part], [texts[i] for i in part], tokenizer.pad_token_id) for part in parts]
