"""Texts that were not sampled from the policy: the task's own solver, another model's correct completions, a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offleash.core import InputError, Problem, Verdict, rng
from offleash.tasks import Task
from offleash.training.settings import TrainSettings

GOLD = "gold"


@dataclass(frozen=True)
class Demonstrations:
    """Texts by problem; without problems the task's own solver writes them.

    `texts` are (text, verdict): those of a file with prompts of its own are trusted, since no verifier knows the problem.
    """

    task: Task
    seed: int
    per_group: int
    problems: tuple[Problem, ...] = ()
    texts: Mapping[str, tuple[str, ...]] | None = None
    trusted: bool = False

    def of(self, problem: Problem, step: int, slot: int) -> list[tuple[str, Verdict]]:
        """`per_group` texts for a group; distinct as long as there are so many."""
        if self.texts is None:
            found = [self.task.gold(problem, (self.seed, step, slot, i)) for i in range(self.per_group)]
        else:
            known = self.texts[problem.id]
            order = sorted(range(len(known)), key=lambda i: rng.key64("demonstration", self.seed, step, slot, i))
            found = [known[order[i % len(order)]] for i in range(self.per_group)]
        if self.trusted:
            return [(text, Verdict(True, 1.0, "", "", "a demonstration of a file", "file")) for text in found]
        return [(text, self.task.verify(problem, text)) for text in found]


def make_demonstrations(task: Task, settings: TrainSettings) -> Demonstrations | None:
    """What a recipe's `external` asks for; None without demonstrations.

    Raises:
        InputError: the source cannot be read, or holds no text of use.
    """
    external = settings.external
    if not external.per_group:
        if external.source != GOLD:
            raise InputError("external.per_group: 0, so external.source would not be read; set it to 1 or more")
        return None
    made = Demonstrations(task, settings.seed, external.per_group)
    if external.source == GOLD:
        return made
    if "#" in external.source and not Path(external.source).exists():
        problems, texts = _of_store(task, settings)
        return Demonstrations(task, settings.seed, external.per_group, problems, texts)
    problems, texts, trusted = _of_file(task, settings)
    return Demonstrations(task, settings.seed, external.per_group, problems, texts, trusted)


def _of_store(task: Task, settings: TrainSettings) -> tuple[tuple[Problem, ...], dict[str, tuple[str, ...]]]:
    """Another model's correct completions, each text once."""
    from offleash.training.problems import store_of

    store, model = store_of("external.source", settings.external.source)
    chosen = settings.task
    known = {s.problem.id: s.problem for s in store.problems(task=task.name, split=chosen.split)}
    found: dict[str, dict[str, None]] = {}
    for row in store.rows(model, task=task.name, split=chosen.split).to_pylist():
        if row["correct"] and known[row["problem_id"]].level in chosen.levels:
            found.setdefault(row["problem_id"], {})[row["text"]] = None
    if not found:
        raise InputError(
            f"external.source: {settings.external.source} has no correct completion of {task.name}, levels {list(chosen.levels)}, "
            f"split {chosen.split}; sample the stronger model there first (`offleash sample ... --split {chosen.split}`)"
        )
    return tuple(known[i] for i in sorted(found)), {i: tuple(texts) for i, texts in found.items()}


def _of_file(task: Task, settings: TrainSettings) -> tuple[tuple[Problem, ...], dict[str, tuple[str, ...]], bool]:
    """Texts of a file: for the task's problems by id, or with prompts of their own."""
    path = Path(settings.external.source)
    rows = _rows(path)
    by_id = all("id" in row for row in rows)
    texts: dict[str, list[str]] = {}
    problems: dict[str, Problem] = {}
    known = _task_problems(task, settings) if by_id else {}
    for number, row in enumerate(rows, start=1):
        text = row.get("text")
        if not isinstance(text, str) or not text:
            raise InputError(f"external.source: {path}: row {number}: text is {text!r}; give the demonstration's text")
        if by_id:
            key = str(row["id"])
            if key not in known:
                raise InputError(
                    f"external.source: {path}: row {number}: id {key!r} is none of the first task.problems = "
                    f"{settings.task.problems} problems of {task.name}, split {settings.task.split}"
                )
            problems[key] = known[key]
        else:
            prompt = row.get("prompt")
            if not isinstance(prompt, str) or not prompt:
                raise InputError(f"external.source: {path}: row {number}: has neither id nor prompt; give one of them")
            made = Problem(task.name, "file", prompt, "", split=settings.task.split)
            key = made.id
            problems[key] = made
        texts.setdefault(key, []).append(text)
    if not by_id and settings.rollout.num_generations:
        raise InputError(
            f"external.source: {path}: its prompts are no problems of {task.name}, so sampled completions cannot be verified; "
            "give ids, or set rollout.num_generations to 0 (supervised)"
        )
    return tuple(problems.values()), {key: tuple(dict.fromkeys(found)) for key, found in texts.items()}, not by_id


def _task_problems(task: Task, settings: TrainSettings) -> dict[str, Problem]:
    import itertools

    from offleash import tasks

    if not settings.task.problems:
        raise InputError(
            "task.problems: 0; a file of demonstrations by id needs to know among how many problems to look"
        )
    return {
        p.id: p
        for level in settings.task.levels
        for p in itertools.islice(
            tasks.problems(task, level, settings.task.split, settings.seed), settings.task.problems
        )
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a jsonl or parquet file.

    Raises:
        InputError: no such file, or one that cannot be read; names the line.
    """
    if not path.is_file():
        raise InputError(
            f"external.source: no file {str(path)!r}; give `gold`, STORE#MODEL, or a jsonl or parquet file"
        )
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.read_table(path).to_pylist())
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"external.source: {path}: not a parquet file ({error})") from error
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"external.source: {path}:{number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"external.source: {path}:{number}: a JSON {type(row).__name__}; give an object with text")
        rows.append(row)
    if not rows:
        raise InputError(f"external.source: {path}: has no rows")
    return rows
