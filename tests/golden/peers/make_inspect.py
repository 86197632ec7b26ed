"""Inspect's logs: `inspect_ai.eval` itself, with its mock model and four epochs.

    python3.11 -m venv inspect-env && inspect-env/bin/pip install inspect-ai==0.3.285
    inspect-env/bin/python tests/golden/peers/make_inspect.py

base and tuned have one scorer (C or I); `two_scorers` adds one that gives numbers by name, and an error in one sample.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from inspect_ai import Epochs, Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, Target, includes, mean, scorer
from inspect_ai.solver import Generate, TaskState, generate, solver

sys.path.insert(0, str(Path(__file__).parent))
from problems import ANSWERS, CORRECT, HERE, QUESTIONS, WRONG, N, record


def replies(correct: tuple[int, ...]) -> Any:
    """What the mock model says: right in the first epochs of a question."""
    seen = dict.fromkeys(QUESTIONS, 0)

    def reply(messages: list[Any], *_: Any) -> ModelOutput:
        question = messages[-1].text
        problem = QUESTIONS.index(question)
        right = seen[question] < correct[problem]
        seen[question] += 1
        output = ModelOutput.from_content("mockllm/model", ANSWERS[problem] if right else WRONG)
        # Without it the mock model counts tokens with a tokenizer that it downloads.
        output.usage = ModelUsage(input_tokens=8, output_tokens=2, total_tokens=10)
        return output

    return reply


@scorer(metrics={"*": [mean()]})
def graded() -> Any:
    async def score(state: TaskState, target: Target) -> Score:
        right = float(target.text in state.output.completion)
        return Score(value={"quality": 0.5 + 0.25 * right, "exact": right})

    return score


@solver
def failing() -> Any:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if state.sample_id == 3 and state.epoch == 1:
            raise RuntimeError("the tool is gone")
        return state

    return solve


def run(name: str, correct: tuple[int, ...], *, two: bool) -> None:
    folder = HERE / "inspect" / name
    shutil.rmtree(folder, ignore_errors=True)
    samples = [Sample(input=q, target=a, id=i + 1) for i, (q, a) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))]
    task = Task(
        name="arithmetic",
        dataset=MemoryDataset(samples, name="arithmetic"),
        solver=[failing(), generate()] if two else generate(),
        scorer=[includes(), graded()] if two else includes(),
        epochs=Epochs(N, "mean"),
        fail_on_error=False,
    )
    eval(
        task, model=get_model("mockllm/model", custom_outputs=replies(correct)), log_dir=str(folder), log_format="eval",
        max_samples=1, max_tasks=1, display="none", log_samples=True, log_realtime=False,
    )  # fmt: skip
    for path in folder.glob("*.eval"):
        if two:
            without_traceback(path)
        path.rename(folder / "arithmetic.eval")


def without_traceback(path: Path) -> None:
    """Errors keep their message; a traceback names folders of the machine that it happened on."""
    log = read_eval_log(str(path))
    for sample in log.samples or []:
        sample.events = [event for event in sample.events if event.event != "error"]
        if sample.error:
            sample.error.traceback = sample.error.traceback_ansi = ""
    write_eval_log(log, str(path))


if __name__ == "__main__":
    for side in ("base", "tuned"):
        run(side, CORRECT[side], two=False)
    run("two_scorers", CORRECT["base"], two=True)
    record("inspect", "inspect-ai", "pydantic")
