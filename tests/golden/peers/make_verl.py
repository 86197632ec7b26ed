"""verl's generations: `_write_generations`, with which its trainers dump validation, called on results set by hand.

    python3.11 -m venv verl-env && verl-env/bin/pip install torch==2.13.0 verl==0.9.1
    OMP_NUM_THREADS=1 verl-env/bin/python tests/golden/peers/make_verl.py

base and tuned come from the trainers that `main_ppo` starts (verl.trainer.ppo.v1), which add uid, sorted as they sort; the first
session of base has two turns. `ray_trainer` comes from RayPPOTrainer, with scores of -1 and 1, no acc, and the prompts of its
`_validate`: the chat template of Qwen, decoded without special tokens.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from problems import ANSWERS, CORRECT, EARLIER, HERE, QUESTIONS, WRONG, outputs, record
from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

TEMPLATE = "system\nYou are a helpful assistant.\nuser\n{}\nassistant\n"


def v1(folder: Path, step: int, correct: tuple[int, ...], *, turns: bool) -> None:
    rows: list[dict[str, Any]] = []
    sessions: dict[int, int] = {}
    for problem, text in outputs(correct):
        session = sessions[problem] = sessions.get(problem, -1) + 1
        right = float(text != WRONG)
        row = {"problem": problem, "input": TEMPLATE.format(QUESTIONS[problem]), "output": text, "score": right}
        if turns and (problem, session) == (0, 0):
            first = {**row, "output": "Let me use the tool.", "uid": f"id-{problem}_{session}_0"}
            later = {**row, "input": row["input"] + "tool\n5\nassistant\n", "uid": f"id-{problem}_{session}_1"}
            rows += [first, later]
        else:
            rows.append({**row, "uid": f"id-{problem}_{session}_0"})
    PPOTrainer._write_generations(
        [row["input"] for row in rows],
        [row["output"] for row in rows],
        [ANSWERS[row["problem"]] for row in rows],
        [row["score"] for row in rows],
        {
            "reward": [r["score"] for r in rows],
            "acc": [bool(r["score"]) for r in rows],
            "uid": [r["uid"] for r in rows],
        },
        str(folder),
        step,
    )


def ray(folder: Path, step: int, correct: tuple[int, ...]) -> None:
    pairs = outputs(correct)
    scores = [1.0 if text != WRONG else -1.0 for _, text in pairs]
    RayPPOTrainer._write_generations(
        [TEMPLATE.format(QUESTIONS[problem]) for problem, _ in pairs],
        [text for _, text in pairs],
        [ANSWERS[problem] for problem, _ in pairs],
        scores,
        {"reward": scores},
        str(folder),
        step,
    )


if __name__ == "__main__":
    shutil.rmtree(HERE / "verl", ignore_errors=True)
    for side in ("base", "tuned"):
        v1(HERE / "verl" / side, 10, EARLIER[side], turns=False)
        v1(HERE / "verl" / side, 20, CORRECT[side], turns=side == "base")
    ray(HERE / "verl" / "ray_trainer", 20, CORRECT["tuned"])
    record("verl", "verl", "torch", "transformers")
