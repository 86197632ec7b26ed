"""lighteval's details: `EvaluationTracker.save_details` and the metrics themselves, on responses set by hand.

python3.11 -m venv lighteval-env && lighteval-env/bin/pip install torch==2.13.0 lighteval==0.13.0 xxhash==3.5.0
OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 lighteval-env/bin/python tests/golden/peers/make_lighteval.py

base, tuned   four responses a document: pass@k at k=1 and k=2, and avg@n
single        one response a document: em
"""

from __future__ import annotations

import copy
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset
from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.metrics.metrics import Metrics
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

sys.path.insert(0, str(Path(__file__).parent))
from problems import ANSWERS, CORRECT, HERE, QUESTIONS, WRONG, N, record

TASK = "arithmetic|0"
DATE = "2026-11-01T10-00-00.000000"


def metric(name: str, **settings: int) -> Any:
    return copy.deepcopy(getattr(Metrics, name).value)(settings)


def run(name: str, correct: tuple[int, ...], n: int, metrics: list[Any]) -> None:
    tracker = EvaluationTracker(output_dir=str(HERE / "lighteval" / name))
    tracker.general_config_logger.model_name = "org/told"
    for i, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
        doc = Doc(query=question, choices=[answer], gold_index=0, id=str(i), task_name=TASK)
        texts = [answer if j < correct[i] else WRONG for j in range(n)]
        response = ModelResponse(input=question, text=texts, input_tokens=[1], output_tokens=[[2]] * n)
        scores: dict[str, float] = {}
        for one in metrics:
            scores |= one.compute_sample(doc=doc, model_response=response)
        tracker.details_logger.log(TASK, doc, response, scores)
    shutil.rmtree(HERE / "lighteval" / name, ignore_errors=True)
    # As in EvaluationTracker.save.
    details = {
        task: Dataset.from_list([asdict(d) for d in rows]) for task, rows in tracker.details_logger.details.items()
    }
    details = {task: data.select_columns(sorted(data.column_names)) for task, data in details.items()}
    tracker.save_details(DATE, details)
    # lighteval writes details_arithmetic|0_DATE.parquet; not every file system takes that name.
    for path in (HERE / "lighteval" / name).rglob("*.parquet"):
        path.rename(path.with_name(path.name.replace("|", "-")))


if __name__ == "__main__":
    for side in ("base", "tuned"):
        several = [metric("pass_at_k", k=1, n=N), metric("pass_at_k", k=2, n=N), metric("avg_at_n", n=N)]
        run(side, CORRECT[side], N, several)
    run("single", CORRECT["base"], 1, [Metrics.exact_match.value])
    record("lighteval", "lighteval", "datasets", "pyarrow", "xxhash")
