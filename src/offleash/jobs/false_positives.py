"""How often verifiers accept what is no answer, measured on texts of the embedded bases. `offleash tasks` shows it.

Two kinds of text are judged against problems that they were not written for: characters of the model's alphabet drawn at random,
each text as long as one of the model's; and the model's texts for other problems of the same task and level. The second share is
no defect: it is how often two problems have the same answer, for a model that knows the task and its formats but not the question.

Importing this loads no torch; measuring does.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from offleash import tasks
from offleash.core import InputError, Problem, rng
from offleash.jobs.display import progress
from offleash.store.files import require_writable
from offleash.tasks import Task, verify_all
from offleash.tasks.families import Procedural

PROBLEMS, SAMPLES, OTHERS = 60, 8, 8
"""Problems of a task, texts of each, and other problems that each of these texts is judged against."""
SPLIT = "probe"
LENGTH = 96
"""Tokens of a text, at most."""


class Based(NamedTuple):
    """A task with an embedded base, and the level at which the base is measured."""

    task: str
    level: int
    model: str


def based() -> list[Based]:
    """The tasks that have an embedded base."""
    found = [task for task in map(tasks.get, tasks.names()) if isinstance(task, Procedural)]
    return [Based("countdown", 5, "base"), *(Based(t.name, t.main_level, "base:families") for t in found)]


def load() -> dict[str, dict[str, Any]]:
    """What was measured, by task; {} where nothing was."""
    file = resources.files("offleash") / "tasks" / "false_positives.json"
    return {row["task"]: row for row in json.loads(file.read_text())["tasks"]} if file.is_file() else {}


def run(out: Path) -> list[dict[str, Any]]:
    """Measure every task that has an embedded base and write `out`."""
    require_writable(out.parent)
    if out.is_dir():
        raise InputError(f"--measure: {out} is a folder; give a file to write, such as false_positives.json")
    rows = []
    chosen = based()
    with progress("measuring", len(chosen)) as report:
        for i, each in enumerate(chosen, 1):
            rows.append(measure(each))
            report(i)
    out.write_text(json.dumps({"tasks": rows}, indent=1) + "\n")
    return rows


def measure(each: Based) -> dict[str, Any]:
    """One task's two shares: texts accepted, of texts judged."""
    from offleash.jobs.sample import choose

    task = tasks.get(each.task)
    chosen = choose(task, each.level, SPLIT, 0, PROBLEMS)
    texts, alphabet, model_id = _texts(each.model, chosen)
    # Text j of problem i is judged against the OTHERS problems that follow it, in a circle.
    pairs = [
        (chosen[(i + step) % PROBLEMS], text)
        for i, written in enumerate(texts)
        for text in written
        for step in range(1, OTHERS + 1)
    ]
    noise = [(problem, _noise(alphabet, len(text), i)) for i, (problem, text) in enumerate(pairs)]
    return {
        "task": task.name,
        "level": each.level,
        "verifier_version": task.verifier_version,
        "model": each.model,
        "model_id": model_id,
        "judged": len(pairs),
        "random_accepted": _accepted(task, noise),
        "other_accepted": _accepted(task, pairs),
    }


def _accepted(task: Task, pairs: list[tuple[Problem, str]]) -> int:
    return sum(verdict.correct is True for verdict in verify_all(task, pairs))


def _noise(alphabet: str, length: int, i: int) -> str:
    generator = rng.stream("false positives", i)
    return "".join(alphabet[j] for j in generator.integers(len(alphabet), size=length))


def _texts(model: str, chosen: list[Problem]) -> tuple[list[list[str]], str, str]:
    """SAMPLES texts of the model for each problem, the characters that it can write, and its id."""
    from offleash.engines import SamplingSettings, open_engine
    from offleash.engines.base import Request

    opened = open_engine("native", model, SamplingSettings(1.0, LENGTH))
    requests = [
        Request(problem.id, problem.prompt, k, rng.key64("false positives", problem.id, k))
        for problem in chosen
        for k in range(SAMPLES)
    ]
    written = [completion.text for completion in opened.sampler.generate(requests)]
    alphabet = "".join(sorted({letter for problem in chosen for letter in problem.prompt} | set("".join(written))))
    return [written[i : i + SAMPLES] for i in range(0, len(written), SAMPLES)], alphabet, opened.model_id
