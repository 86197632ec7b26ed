"""A run killed by SIGKILL between random lines of the loop, resumed each time. A program, so that it may fork.

python tests/training/killed.py FOLDER KILLS SEED: trains FOLDER/whole without interruption and FOLDER/killed with KILLS kills.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from offleash.jobs.guard import make_guard
from offleash.jobs.probe import make_probe
from offleash.store import RunFolder
from offleash.training import Hooks, TrainSettings, train
from offleash.training.settings import (
    GuardSettings,
    ObjectiveSettings,
    OptimizerSettings,
    ProbeSettings,
    ResetSettings,
    RolloutSettings,
    StageSettings,
    TaskSettings,
)

TRACED = ("training/loop.py", "training/checkpoint.py", "training/actions.py", "store/runs.py", "store/files.py")
SETTINGS = TrainSettings(
    steps=10,
    task=TaskSettings(levels=(3,)),
    objective=ObjectiveSettings("grpo", {"kl_beta": 0.01}),
    rollout=RolloutSettings(num_prompts=4, num_generations=6, max_completion_length=16, rows=24, max_rounds=2),
    optimizer=OptimizerSettings(learning_rate=3e-4, minibatches=2, micro_batch_rows=16),
    resets=ResetSettings(reference_every=4),
    stages=(StageSettings(6), StageSettings(4, {"objective": {"name": "skywork-or1"}}, ("optimizer",))),
    probe=ProbeSettings(every=3, problems=4, samples=4, keep_best=True),
    guard=(GuardSettings("plateau", ("change",), {"rollout": {"temperature": 1.1}}, patience=1),),
    checkpoint_every=2,
)


def go(folder: Path) -> None:
    """Train or resume."""
    resume = (folder / "run.json").is_file()
    run = RunFolder.open(folder) if resume else RunFolder.create(folder, "x: 1\n", {})
    train(SETTINGS, run, resume=resume, hooks=Hooks(probe=make_probe(SETTINGS, run), guard=make_guard(SETTINGS)))


class Lines:
    """Counts the lines executed in the loop's files; kills the process at one of them."""

    def __init__(self, fatal: int | None) -> None:
        self.seen, self.fatal = 0, fatal

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self if frame.f_code.co_filename.endswith(TRACED) and self.line(event) else None

    def line(self, event: str) -> bool:
        if event == "line":
            self.seen += 1
            if self.seen == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        return True


def child(folder: Path, fatal: int | None) -> tuple[bool, int]:
    """Run in a child: whether it was killed, and how many lines it went through."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        lines = Lines(fatal)
        sys.settrace(lines)
        go(folder)
        sys.settrace(None)
        os.write(writer, str(lines.seen).encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(process, 0)
    text = os.read(reader, 20)
    if not os.WIFSIGNALED(status) and status:
        raise SystemExit(f"the child failed: {status}")
    return os.WIFSIGNALED(status), int(text or 0)


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    _, total = child(folder / "whole", None)
    draw, done = random.Random(seed), 0
    while done < kills:
        # Early lines more often than late ones, since each resumption starts near where the last one ended.
        killed, _ = child(folder / "killed", draw.randrange(1, max(2, total // draw.choice((1, 2, 4, 8)))))
        done += killed
        if not killed:
            (folder / "killed").rename(folder / f"finished after {done}")
    child(folder / "killed", None)
    print(f"{total} lines; {done} kills")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
