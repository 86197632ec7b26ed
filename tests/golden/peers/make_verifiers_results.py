"""verifiers' older results: `state_to_output` and `save_outputs` of verifiers 0.1, on rewards set by hand.

    python3.11 -m venv verifiers-0.1-env && verifiers-0.1-env/bin/pip install verifiers==0.1.14
    verifiers-0.1-env/bin/python tests/golden/peers/make_verifiers_results.py

The last sample of tuned ended in an error.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from verifiers.types import State
from verifiers.utils.save_utils import save_outputs, states_to_outputs

sys.path.insert(0, str(Path(__file__).parent))
from problems import ANSWERS, CORRECT, HERE, QUESTIONS, outputs, record


def run(name: str, correct: tuple[int, ...]) -> None:
    states = []
    for i, (problem, text) in enumerate(outputs(correct)):
        right = float(text == ANSWERS[problem])
        failed = name == "tuned" and i == 15
        states.append(
            State(
                example_id=problem,
                prompt=[{"role": "user", "content": QUESTIONS[problem]}],
                completion=[{"role": "assistant", "content": text}],
                answer=ANSWERS[problem],
                task="arithmetic",
                reward=0.0 if failed else right,
                metrics={"exact": right},
                timing={"start_time": 0.0, "total_ms": 1.0},
                is_completed=True,
                error=RuntimeError("the sandbox is gone") if failed else None,
            )
        )
    folder = HERE / "verifiers_results" / name
    shutil.rmtree(folder, ignore_errors=True)
    save_outputs(states_to_outputs(states), folder)


if __name__ == "__main__":
    for side in ("base", "tuned"):
        run(side, CORRECT[side])
    record("verifiers_results", "verifiers")
