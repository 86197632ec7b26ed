"""TRL's GRPOTrainer on the work of a recipe: its prompts in its order, its reward, its optimizer, the same loss."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PrinterCallback, TrainerCallback

from offleash import nn, tasks
from offleash.core import InputError, Problem
from offleash.jobs.benchmarks.step_sides import Pause, Told, Work
from offleash.tasks import verify_all
from offleash.training import TrainSettings
from offleash.training.problems import make_problems
from offleash.training.reward import rewarded

SAME_LOSS = {"std_epsilon": 1e-4}
"""What makes the loss of `grpo` TRL's loss_type "grpo": TRL adds 1e-4 to the deviation that divides the advantages."""
DEFAULTS: dict[str, Any] = {}
QUIET: dict[str, Any] = {"logging_strategy": "no", "gradient_checkpointing": False}


@dataclass(frozen=True)
class Chosen:
    """Settings of TRL that change speed and memory, not the work.

    Attributes:
        name: in words.
        settings: of its GRPOConfig.
        rows: per_device_train_batch_size; accumulation makes the rest of a step's completions.
        threads: torch's.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    rows: int = 8
    threads: int = field(default_factory=torch.get_num_threads)

    def to_json(self) -> dict[str, Any]:
        """As the results say it."""
        return {"per_device_train_batch_size": self.rows, "threads": self.threads, **self.settings}


def defaults() -> Chosen:
    """Batches of 8, bf16 autocast, gradient checkpointing, a log every 10 steps."""
    return Chosen("TRL's defaults", DEFAULTS)


def candidates(count: int) -> list[Chosen]:
    """What may be its best, for `count` completions a step; a trial decides."""
    exact, mixed = QUIET | {"bf16": False}, QUIET | {"bf16": True}
    sizes = (count, max(1, count // 4))
    found = [Chosen(f"float32, batches of {rows}", exact, rows) for rows in sizes]
    found += [Chosen(f"bf16 autocast, batches of {rows}", mixed, rows) for rows in sizes]
    # A static cache keeps the dtype of the weights, so it does not go with autocast.
    static = exact | {"cache_implementation": "static"}
    found.append(Chosen(f"float32, batches of {sizes[1]}, static cache", static, sizes[1]))
    if torch.get_num_threads() > 1:
        found.append(Chosen(f"bf16 autocast, batches of {sizes[1]}, one thread", mixed, sizes[1], 1))
    return found


def theirs(settings: TrainSettings, chosen: Chosen, lengths: Sequence[int] | None = None) -> Work:
    """`GRPOTrainer.train`, whole."""

    def work(pause: Pause) -> None:
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(settings, chosen, folder, lengths)
            watch = _watched(trainer)
            trainer.add_callback(_Pausing(trainer, watch, pause))
            trainer.train()

    return work


def load_trl() -> tuple[Any, Any, Any]:
    """Dataset, GRPOConfig, GRPOTrainer: importing them takes ten seconds.

    Raises:
        InputError: trl is not installed.
    """
    try:
        from datasets import Dataset
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer
    except ImportError as error:
        raise InputError("trl: is not installed; pip install trl") from error
    return Dataset, GRPOConfig, GRPOTrainer


def make_trainer(settings: TrainSettings, chosen: Chosen, folder: str, lengths: Sequence[int] | None = None) -> Any:
    """A GRPOTrainer with the recipe's work.

    Raises:
        InputError: trl is not installed, or the recipe has what TRL has not.
    """
    Dataset, GRPOConfig, GRPOTrainer = load_trl()
    if settings.optimizer.minibatches != 1 or settings.external.per_group or settings.rollout.max_rounds != 1:
        raise InputError(
            "bench step: compares one optimizer step a rollout, without demonstrations or dynamic sampling"
        )
    model, tokenizer = nn.load(settings.model)
    task = tasks.get(settings.task.name)
    source = make_problems(task, settings, None)
    problems = [problem for step in range(settings.steps) for problem in source.of_step(step)]
    rollout, optimizer = settings.rollout, settings.optimizer
    config = GRPOConfig(
        output_dir=folder,
        **_speed(chosen, rollout.num_prompts * rollout.num_generations),
        num_generations=rollout.num_generations,
        max_completion_length=rollout.max_completion_length,
        temperature=rollout.temperature,
        top_k=0,
        top_p=1.0,
        loss_type="grpo",
        learning_rate=optimizer.learning_rate,
        lr_scheduler_type="constant",
        adam_beta1=optimizer.betas[0],
        adam_beta2=optimizer.betas[1],
        adam_epsilon=optimizer.eps,
        weight_decay=optimizer.weight_decay,
        max_grad_norm=optimizer.max_grad_norm,
        max_steps=settings.steps,
        shuffle_dataset=False,
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
        # What prints, uploads and saves is no part of the comparison.
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    data = Dataset.from_dict({"prompt": [p.prompt for p in problems], "number": list(range(len(problems)))})
    trainer = GRPOTrainer(model, _Reward(settings, problems), config, train_dataset=data, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)  # prints on standard output
    if lengths is not None:
        _impose(model, tokenizer, lengths)
    return trainer


def _speed(chosen: Chosen, count: int) -> dict[str, Any]:
    if count % chosen.rows:
        raise InputError(f"bench step: {chosen.rows} rows do not divide {count} completions")
    sizes = {"per_device_train_batch_size": chosen.rows, "gradient_accumulation_steps": count // chosen.rows}
    return sizes | chosen.settings


class _Reward:
    """The recipe's verifier and reward arm as a reward function of TRL."""

    __name__ = "verifier"

    def __init__(self, settings: TrainSettings, problems: Sequence[Problem]) -> None:
        self.settings, self.problems = settings, problems
        self.task = tasks.get(settings.task.name)

    def __call__(self, completions: Sequence[str], number: Sequence[int], **others: Any) -> list[float | None]:
        size, prompts = self.settings.rollout.num_generations, self.settings.rollout.num_prompts
        verdicts = verify_all(
            self.task, [(self.problems[n], text) for n, text in zip(number, completions, strict=True)]
        )
        found: list[float | None] = []
        for first in range(0, len(verdicts), size):
            key = (self.settings.seed, *divmod(number[first], prompts))
            paid = rewarded(verdicts[first : first + size], self.settings.reward, key)
            found += [None if v.correct is None else v.reward for v in paid]
        return found


class _Watch:
    """What the last rollout was."""

    tokens = completions = 0
    seconds = reward = 0.0


def _watched(trainer: Any) -> _Watch:
    own, watch = trainer._generate_and_score_completions, _Watch()

    def timed(inputs: Any) -> Any:
        start = time.perf_counter()
        out = own(inputs)
        watch.seconds = time.perf_counter() - start
        watch.tokens, watch.completions = int(out["completion_mask"].sum()), len(out["completion_mask"])
        watch.reward = trainer._metrics["train"]["reward"][-1]
        return out

    trainer._generate_and_score_completions = timed
    return watch


class _Pausing(TrainerCallback):
    """Hands over at the end of each optimizer step."""

    def __init__(self, trainer: Any, watch: _Watch, pause: Pause) -> None:
        self.trainer, self.watch, self.pause = trainer, watch, pause

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        watch, trainer = self.watch, self.trainer
        told = Told(
            state.global_step, watch.tokens, watch.completions, watch.seconds, watch.reward,
            trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class,
        )  # fmt: skip
        self.pause(told)


class _Lengths(LogitsProcessor):
    """The end token at each row's last place and nowhere else."""

    def __init__(self, lengths: Sequence[int], width: int, end: int) -> None:
        self.last_R, self.end = torch.tensor(lengths) + width - 1, end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ending_R = self.last_R.to(scores.device) <= input_ids.shape[1]
        scores[:, self.end] = -torch.inf
        scores[ending_R] = torch.full_like(scores[0], -torch.inf).index_fill(
            0, torch.tensor([self.end], device=scores.device), 0.0
        )
        return scores


def _impose(model: Any, tokenizer: Any, lengths: Sequence[int]) -> None:
    own = model.generate

    def generate(*args: Any, **given: Any) -> Any:
        processor = _Lengths(lengths, given["input_ids"].shape[1], tokenizer.eos_token_id)
        return own(*args, **given, logits_processor=LogitsProcessorList([processor]))

    model.generate = generate
