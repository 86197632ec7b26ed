"""lm-evaluation-harness's samples: `simple_evaluate` and `EvaluationTracker` themselves, on a model that says what it is told.

python3.11 -m venv lm-eval-env && lm-eval-env/bin/pip install lm-eval==0.4.13
OMP_NUM_THREADS=1 HF_DATASETS_OFFLINE=1 lm-eval-env/bin/python tests/golden/peers/make_lm_eval.py

base, tuned   a task with four responses a document, judged together: pass@1 and pass@2
filters       the same task with two filters of one response each, `first` and `strict`
choices       a multiple-choice task: acc and acc_norm
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.loggers import EvaluationTracker

sys.path.insert(0, str(Path(__file__).parent))
from problems import ANSWERS, CORRECT, HERE, QUESTIONS, WRONG, N, record


class Told(LM):
    """Right in the first responses to a question; of choices, the first is likeliest."""

    def __init__(self, correct: tuple[int, ...]) -> None:
        super().__init__()
        self.left = dict(zip(QUESTIONS, correct, strict=True))

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        answers = []
        for request in requests:
            question = request.args[0]
            answers.append(f"The answer is {ANSWERS[QUESTIONS.index(question)]}." if self.left[question] > 0 else WRONG)
            self.left[question] -= 1
        return answers

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [(-1.0 - 0.5 * i, False) for i, _ in enumerate(requests)]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        raise AssertionError("no task here asks for it")


def dataset(**_: Any) -> DatasetDict:
    rows = [{"question": q, "answer": a} for q, a in zip(QUESTIONS, ANSWERS, strict=True)]
    return DatasetDict({"test": Dataset.from_list(rows)})


def pass_at_k(references: list[str], predictions: list[list[str]], k: list[int]) -> dict[str, float]:
    from math import comb

    (reference,), (responses,) = references, predictions
    c, n = sum(response == reference for response in responses), len(responses)
    return {f"pass@{at}": 1 - comb(n - c, at) / comb(n, at) for at in k}


NUMBER = {"function": "regex", "regex_pattern": r"answer is (\d+)", "fallback": "none"}
TOGETHER = {
    "repeats": N,
    "filter_list": [{"name": "all", "filter": [NUMBER, {"function": "take_first_k", "k": N}]}],
    "metric_list": [{"metric": pass_at_k, "aggregation": "mean", "higher_is_better": True, "k": [1, 2]}],
}
FILTERS = {
    "repeats": N,
    "filter_list": [
        {"name": "first", "filter": [NUMBER, {"function": "take_first"}]},
        {"name": "strict", "filter": [{**NUMBER, "regex_pattern": r"^(\d+)$"}, {"function": "take_first"}]},
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
CHOICES = {
    "output_type": "multiple_choice",
    "doc_to_choice": ["5", "20"],
    "doc_to_target": "{{0 if answer == '5' else 1}}",
}


def task(name: str, config: dict[str, Any]) -> ConfigurableTask:
    common = {
        "task": name, "custom_dataset": dataset, "test_split": "test", "output_type": "generate_until",
        "doc_to_text": "{{question}}", "doc_to_target": "{{answer}}",
    }  # fmt: skip
    return ConfigurableTask(config={**common, **config})


def run(name: str, correct: tuple[int, ...], config: dict[str, Any]) -> None:
    results = simple_evaluate(
        model=Told(correct), tasks=[task("arithmetic", config)], log_samples=True, bootstrap_iters=0
    )
    assert results is not None
    samples = results.pop("samples")
    folder = HERE / "lm_eval" / name
    shutil.rmtree(folder, ignore_errors=True)
    tracker = EvaluationTracker(output_path=str(folder))
    tracker.general_config_tracker.model_name_sanitized = "told"
    tracker.date_id = "2026-11-01T10-00-00.000000"
    tracker.save_results_samples("arithmetic", samples["arithmetic"])


if __name__ == "__main__":
    for side in ("base", "tuned"):
        run(side, CORRECT[side], TOGETHER)
    run("filters", CORRECT["base"], FILTERS)
    run("choices", CORRECT["base"], CHOICES)
    record("lm_eval", "lm-eval", "datasets")
