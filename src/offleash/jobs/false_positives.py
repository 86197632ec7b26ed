"""How often verifiers accept what is no answer. `offleash tasks` shows it.

Two kinds of text are judged against problems that they were not written for: characters of the writer's alphabet drawn at random,
each text as long as one of the writer's; and the writer's texts for other problems of the same task and level. The second share is
no defect: it is how often two problems have the same answer, for one who knows the task and its formats but not the question.

The writer is the task's embedded base; where there is none, a model that is given (tasks with data), or the task's own gold
solutions (worlds, reasoning-gym), which are the likeliest of all texts to be right elsewhere too.

Importing this loads no torch; measuring does.
"""

from __future__ import annotations

import importlib.util
import json
import os
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from offleash import tasks
from offleash.core import InputError, Problem, rng
from offleash.jobs.display import progress
from offleash.store.files import atomic_write
from offleash.tasks import Task, gym, verify_all
from offleash.tasks.families import Procedural
from offleash.tasks.worlds import World

PROBLEMS, SAMPLES, OTHERS = 60, 8, 8
"""Problems of a task, texts of each, and other problems that each of these texts is judged against."""
GOLDS = "gold solutions"
"""The writer of tasks without a model."""


class Based(NamedTuple):
    """A task, the level at which it is measured, and who writes the texts: a model, or GOLDS."""

    task: str
    level: int
    model: str
    split: str = "probe"
    problems: int = PROBLEMS
    samples: int = SAMPLES
    length: int = 96
    """Tokens of a text, at most."""
    others: int = OTHERS


def based() -> list[Based]:
    """The tasks that have an embedded base."""
    found = [task for task in map(tasks.get, tasks.names()) if isinstance(task, Procedural)]
    return [Based("countdown", 5, "base"), *(Based(t.name, t.main_level, "base:families") for t in found)]


def solved(only: str | None = None) -> list[Based]:
    """The tasks whose gold solutions are judged against other problems: the worlds, and reasoning-gym (or one of it) where it is installed."""
    worlds = [task for task in map(tasks.get, tasks.names()) if isinstance(task, World)]
    found = [Based(t.name, t.levels[0], GOLDS, problems=40, samples=4) for t in worlds]
    if importlib.util.find_spec("reasoning_gym") is not None:
        names = [name for each in gym.datasets() if only in (None, name := f"reasoning-gym/{each}")]
        # One has only 18 problems.
        found += [Based(n, tasks.get(n).levels[0], GOLDS, "test", 16, 1, others=15) for n in names if _solvable(n)]
    return found


def _solvable(name: str) -> bool:
    """Whether the data set comes with solutions; two of reasoning-gym do not."""
    task = tasks.get(name)
    try:
        task.gold(next(tasks.problems(task, task.levels[0], "test", 0)))
    except InputError:
        return False
    return True


def given(model: str) -> list[Based]:
    """The tasks with data of their own, for a model that writes words."""
    return [
        Based("gsm8k", 1, model, "test", 40, 4, 160),
        Based("math-500", 3, model, "test", 40, 4, 160),
        Based("humaneval", 1, model, "test", 40, 2, 160),
    ]


def load() -> dict[str, dict[str, Any]]:
    """What was measured, by task; {} where nothing was."""
    file = resources.files("offleash") / "tasks" / "false_positives.json"
    return {row["task"]: row for row in json.loads(file.read_text())["tasks"]} if file.is_file() else {}


def run(out: Path, model: str | None = None, only: str | None = None) -> list[dict[str, Any]]:
    """Measure every task that can be measured here and write `out` after each; what it says of other tasks stays.

    Args:
        model: a folder; also measures tasks with data, with texts of this model.
        only: one task.

    Raises:
        InputError: before anything is measured, where `out` cannot be written, or the model, its data or the task are not there.
    """
    _require_file(out)
    rows = {row["task"]: row for row in _read(out)}
    chosen = _chosen(model, only)
    with progress("measuring", len(chosen)) as report:
        for i, each in enumerate(chosen, 1):
            rows[each.task] = measure(each)
            lines = ",\n".join(map(json.dumps, rows.values()))  # a task a line
            atomic_write(out, f'{{"tasks": [\n{lines}\n]}}\n'.encode())
            report(i)
    return list(rows.values())


def _require_file(out: Path) -> None:
    if out.is_dir():
        raise InputError(f"--measure: {out} is a folder; give a file to write, such as false_positives.json")
    if out.name == "guesses.json":
        raise InputError("--measure: guesses.json is the name of the chance baselines beside it; give another one")
    if not out.parent.is_dir():
        raise InputError(f"--measure: there is no folder {out.parent}; make it, or name a file elsewhere")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise InputError(f"--measure: cannot write into {out.parent}; name a file elsewhere")


def _chosen(model: str | None, only: str | None) -> list[Based]:
    """What to measure; its model and its data are there."""
    with_model = [each for each in given(model or "") if only in (None, each.task)]
    if with_model and only and not model:
        raise InputError(f"--measure: {only} is measured with the texts of a model; name one, as --with FOLDER")
    if model and not with_model:
        raise InputError(f"--with: {only} is measured without a model; leave it out")
    if model:
        _require_model(model, with_model)
    chosen = [each for each in [*based(), *solved(only)] if only in (None, each.task)] + (with_model if model else [])
    if not chosen:
        raise InputError(
            f"--measure: {only} cannot be measured; those that can be: the tasks of `offleash tasks`, "
            "reasoning-gym/NAME with solutions, and with a model gsm8k, math-500 and humaneval"
        )
    return chosen


def _require_model(model: str, chosen: list[Based]) -> None:
    from offleash.engines import SamplingSettings, open_engine
    from offleash.jobs.sample import choose

    open_engine("native", model, SamplingSettings(1.0, 1))
    for each in chosen:
        choose(tasks.get(each.task), each.level, each.split, 0, each.problems)


def _read(out: Path) -> list[dict[str, Any]]:
    """The rows of an earlier file of this kind."""
    if not out.is_file():
        return []
    try:
        return [row | {"task": str(row["task"])} for row in json.loads(out.read_text())["tasks"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--measure: {out} is no file of false-positive shares; give another one") from error


def measure(each: Based) -> dict[str, Any]:
    """One task's two shares: texts accepted, of texts judged."""
    from offleash.jobs.sample import choose

    task = tasks.get(each.task)
    chosen = choose(task, each.level, each.split, 0, each.problems)
    texts, model_id = _golds(task, chosen, each.samples) if each.model == GOLDS else _texts(each, task, chosen)
    alphabet = _alphabet(chosen if each.model != GOLDS else [], texts)
    # Text j of problem i is judged against the OTHERS problems that follow it, in a circle.
    pairs = [
        (chosen[(i + step) % len(chosen)], text)
        for i, written in enumerate(texts)
        for text in written
        for step in range(1, each.others + 1)
    ]
    noise = [(problem, _noise(alphabet, len(text), i)) for i, (problem, text) in enumerate(pairs)]
    return {
        "task": each.task,
        "level": each.level,
        "verifier_version": task.verifier_version,
        "model": Path(each.model).name,
        "model_id": model_id,
        "judged": len(pairs),
        "random_accepted": _accepted(task, noise),
        "other_accepted": _accepted(task, pairs),
    }


def _golds(task: Task, chosen: list[Problem], samples: int) -> tuple[list[list[str]], str]:
    """Gold solutions; of worlds, several ways of walking."""
    if isinstance(task, World):
        return [[task.gold(problem, (k,)) for k in range(samples)] for problem in chosen], ""
    return [[task.gold(problem)] for problem in chosen], ""


def _alphabet(chosen: list[Problem], texts: list[list[str]]) -> str:
    """The characters of the prompts and the texts."""
    return "".join(sorted({c for p in chosen for c in p.prompt} | {c for own in texts for text in own for c in text}))


def _accepted(task: Task, pairs: list[tuple[Problem, str]]) -> int:
    return sum(verdict.correct is True for verdict in verify_all(task, pairs))


def _noise(alphabet: str, length: int, i: int) -> str:
    generator = rng.stream("false positives", i)
    return "".join(alphabet[j] for j in generator.integers(len(alphabet), size=length))


def _texts(each: Based, task: Task, chosen: list[Problem]) -> tuple[list[list[str]], str]:
    """Texts of the model for each problem, and its id."""
    from offleash.engines import SamplingSettings, open_engine
    from offleash.engines.base import Request

    opened = open_engine("native", each.model, SamplingSettings(1.0, each.length))
    requests = [
        Request(problem.id, problem.prompt, k, rng.key64("false positives", problem.id, k))
        for problem in chosen
        for k in range(each.samples)
    ]
    written = [completion.text for completion in opened.sampler.generate(requests)]
    return [written[i : i + each.samples] for i in range(0, len(written), each.samples)], opened.model_id
