"""What two processes make of fixed rollouts, and how the tests start them. As a program, one of the processes.

python tests/training/several.py FOLDER: writes FOLDER/CASE.safetensors, the gradients of each case; and what meetings said.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from offleash import nn, tasks
from offleash.core import InputError, OffleashError
from offleash.engines import SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.objectives import get
from offleash.training import TrainSettings
from offleash.training.demonstrations import make_demonstrations
from offleash.training.problems import Problems
from offleash.training.processes import ALONE, Processes, leave, start
from offleash.training.references import References
from offleash.training.rollout import Source, collect
from offleash.training.rows import Row
from offleash.training.settings import (
    ExternalSettings,
    ObjectiveSettings,
    OptimizerSettings,
    RolloutSettings,
    TaskSettings,
)
from offleash.training.sharding import shard, whole
from offleash.training.update import Updater, make_optimizer

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {}),  # sequence-mean, rows without an advantage skipped
    "one": ("grpo", {}),  # a single row is left: one share is empty
    "dapo": ("dapo", {}),  # token-mean
    "scale-rl": ("scale-rl", {}),  # prompt-mean, engine log-probs
    "kl": ("dr-grpo", {"kl_beta": 0.1}),  # a reference, so nothing is skipped
    "kl-cov": ("kl-cov", {"kl_cov_ratio": 0.1}),  # tokens are chosen over the step
    "80-20": ("80-20", {"scope": "micro-batch"}),  # tokens are chosen in each micro-batch
    "skywork-or1": ("skywork-or1", {}),  # a coefficient is decided over the step
    "rl-plus": ("rl-plus", {}),  # demonstrations
}


def settings_of(case: str) -> TrainSettings:
    name, overrides = CASES[case]
    return TrainSettings(
        steps=1,
        task=TaskSettings(levels=(3, 4)),
        objective=ObjectiveSettings(name, overrides),
        external=ExternalSettings(per_group=1 if name == "rl-plus" else 0),
        rollout=RolloutSettings(num_prompts=5, num_generations=6, max_completion_length=20, rows=32),
        optimizer=OptimizerSettings(micro_batch_rows=7),
    )


def gradients(
    case: str, processes: Processes, sharded: bool = False
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The gradient of a case's update before its optimizer step, and the update's metrics."""
    settings, task = settings_of(case), tasks.get("countdown")
    model, tokenizer = nn.load("base")
    demonstrations = make_demonstrations(task, settings)
    engine = NativeEngine(model, tokenizer, SamplingSettings(1.0, settings.rollout.max_completion_length), 64)
    rollout = collect(Source(Problems(task, settings), engine, tokenizer, demonstrations, processes), 0)
    objective = get(settings.objective.name, **settings.objective.overrides)
    references = References(moved(model)) if objective.needs_ref else None
    if sharded:
        shard(model, processes)
        kept = sum(p.to_local().numel() for p in model.parameters())  # type: ignore[attr-defined]
        assert kept <= 0.6 * model.num_parameters()
    updater = Updater(model, references, make_optimizer(model, settings), objective, settings, 0, processes)
    rows, _ = updater.rows(rollout, task, tokenizer)
    prepared(rows, case)
    caught: dict[str, torch.Tensor] = {}

    def keep(active: list[Row], step: int) -> float:
        caught.update({n: whole(p.grad).clone() for n, p in model.named_parameters() if p.grad is not None})
        return 0.0

    updater._apply = keep  # type: ignore[method-assign]
    return caught, updater.update(rows, 0)


def moved(model: PreTrainedModel) -> PreTrainedModel:
    """Another policy than the present one, so that a penalty has a slope."""
    import copy

    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.02)
    return other


def prepared(rows: list[Row], case: str) -> None:
    """Old log-probs of another policy, so that ratios differ from 1; in one case a single row that trains."""
    for n, row in enumerate(rows):
        if row.old_logprobs is not None:
            row.old_logprobs = [x + 0.3 * math.sin(n + 2 * t) for t, x in enumerate(row.old_logprobs)]
        if case == "one":
            row.advantage = 1.0 if n == len(rows) - 1 else 0.0


def said(work: Any) -> str:
    try:
        return repr(work())
    except OffleashError as error:
        return f"{type(error).__name__}: {error}"


def meetings(processes: Processes) -> dict[str, str]:
    """What each kind of meeting gives this process; those that fail end a run, so each is a new beginning."""

    def fails(rank: int, error: Exception) -> str:
        processes.ending = False
        if processes.rank == rank:
            raise error
        return "fine"

    return {
        "gather": said(lambda: processes.gather(lambda: processes.rank * 10)),
        "share": said(lambda: processes.share(lambda: processes.rank * 10 + 5)),
        "any": said(lambda: processes.any(processes.rank == 1)),
        "input": said(lambda: processes.agree(lambda: fails(1, InputError("steps: is bad; mend it")))),
        "main": said(lambda: processes.share(lambda: fails(0, OffleashError("the disk is full")))),
        "nested": said(
            lambda: processes.agree(lambda: (fails(1, InputError("a: is bad")), processes.gather(lambda: 1)))
        ),
    }


def commands(count: int, arguments: Sequence[str], **environment: str) -> list[subprocess.Popen[str]]:
    """So many processes of one run, started as a launcher does it."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def ended(processes: Sequence[subprocess.Popen[str]], seconds: float = 240) -> list[tuple[int, str]]:
    """Exit code and stderr of each; none may hang."""
    try:
        return [(p.wait(), err) for p in processes for err in (p.communicate(timeout=seconds)[1],)]
    finally:
        for process in processes:
            process.kill()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    processes = start()
    for case in CASES:
        found, metrics = gradients(case, processes, processes.sharded)
        if processes.main:
            save_file(found, folder / f"{case}.safetensors")
            (folder / f"{case}.json").write_text(json.dumps(metrics))
    if not processes.sharded:
        (folder / f"meetings-{processes.rank}.json").write_text(json.dumps(meetings(processes)))
    processes.end()
    leave(0)


if __name__ == "__main__":
    assert start() is not ALONE
    main(Path(sys.argv[1]))
