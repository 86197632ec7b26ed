"""Texts that were not sampled from the policy: the task's own solver, another model's correct completions, a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offleash.core import InputError, Problem, Verdict, rng
from offleash.tasks import Task, verify_all
from offleash.training.settings import TrainSettings

GOLD = "gold"
LOOKED_AT = 64
"""Texts of a file that are verified before a run, to say how many are wrong."""


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
    source_is_right: bool = False
    """Only texts that the verifier called correct."""

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

    def pairs(self, problems: Sequence[Problem]) -> list[tuple[str, str]]:
        """(prompt, text) for every text of these problems; of the solver's, one each."""
        if self.texts is None:
            return [(p.prompt, self.task.gold(p, (self.seed, "check", i))) for i, p in enumerate(problems)]
        return [(p.prompt, text) for p in problems for text in self.texts[p.id]]

    def wrong(self, limit: int = LOOKED_AT) -> tuple[int, int]:
        """Of the first texts of a file that the task can verify: how many it calls wrong, and how many were looked at.

        The solver's, a store's (its correct ones) and texts with prompts of their own are (0, 0).
        """
        if self.trusted or self.source_is_right or self.texts is None:
            return 0, 0
        pairs = [(p, text) for p in self.problems for text in self.texts[p.id]][:limit]
        return sum(verdict.correct is False for verdict in verify_all(self.task, pairs)), len(pairs)


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
        return Demonstrations(task, settings.seed, external.per_group, problems, texts, source_is_right=True)
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
    by_id = any(_given(row, "id") for _, row in rows)
    known = _task_problems(task, settings) if by_id else {}
    texts: dict[str, list[str]] = {}
    problems: dict[str, Problem] = {}
    for number, row in rows:
        where = f"external.source: {path}: row {number}"
        text = row.get("text")
        if not isinstance(text, str) or not text:
            raise InputError(f"{where}: text is {text!r}; give the demonstration's text")
        problem = _named(row, known, settings, where) if by_id else _prompted(row, settings, where)
        problems[problem.id] = problem
        texts.setdefault(problem.id, []).append(text)
    if not by_id and settings.rollout.num_generations:
        raise InputError(
            f"external.source: {path}: its prompts are no problems of {task.name}, so sampled completions cannot be verified; "
            "give ids, or set rollout.num_generations to 0 (supervised)"
        )
    return tuple(problems.values()), {key: tuple(dict.fromkeys(found)) for key, found in texts.items()}, not by_id


def _given(row: Mapping[str, Any], name: str) -> bool:
    """Whether a row has a value there; of a parquet file every row has every column."""
    return row.get(name) is not None


def _named(row: Mapping[str, Any], known: Mapping[str, Problem], settings: TrainSettings, where: str) -> Problem:
    """The task's problem that a row's id names."""
    if not _given(row, "id"):
        what = "has a prompt and no id" if _given(row, "prompt") else "has neither id nor prompt"
        raise InputError(f"{where}: {what}, but other rows have an id; give every row an id, or none of them")
    key = str(row["id"])
    if key not in known:
        raise InputError(
            f"{where}: id {key!r} is none of the first task.problems = {settings.task.problems} problems of "
            f"{settings.task.name}, levels {list(settings.task.levels)}, split {settings.task.split}, seed {settings.seed}; "
            "correct it, raise task.problems, or give the seed it was made with"
        )
    return known[key]


def _prompted(row: Mapping[str, Any], settings: TrainSettings, where: str) -> Problem:
    """A problem of the row's own prompt."""
    prompt = row.get("prompt")
    if prompt is None:
        raise InputError(f"{where}: has neither id nor prompt; give one of them")
    if not isinstance(prompt, str) or not prompt:
        raise InputError(f"{where}: prompt is {prompt!r}; give its text")
    return Problem(settings.task.name, "file", prompt, "", split=settings.task.split)


def _task_problems(task: Task, settings: TrainSettings) -> dict[str, Problem]:
    import itertools

    from offleash import tasks

    if not settings.task.problems:
        raise InputError(
            "task.problems: 0, but external.source names problems by id; set it to how many of the first problems of each level "
            "to look for them among"
        )
    return {
        p.id: p
        for level in settings.task.levels
        for p in itertools.islice(
            tasks.problems(task, level, settings.task.split, settings.seed), settings.task.problems
        )
    }


def _rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Rows of a jsonl or parquet file, each with its number: of a jsonl file, its line.

    Raises:
        InputError: no such file, one that cannot be read, or without rows; names the line.
    """
    if not path.is_file():
        raise InputError(
            f"external.source: no file {str(path)!r}; give `gold`, STORE#MODEL, or a jsonl or parquet file"
        )
    rows = _of_parquet(path) if path.suffix == ".parquet" else _of_jsonl(path)
    if not rows:
        raise InputError(f"external.source: {path}: has no rows; give a text in each, with `id` or `prompt`")
    return rows


def _of_parquet(path: Path) -> list[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(enumerate(pq.read_table(path).to_pylist(), start=1))
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"external.source: {path}: not a parquet file ({error}); write it anew") from error


def _of_jsonl(path: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"external.source: {path}: is not text in UTF-8 ({error.reason}); save it as UTF-8") from error
    rows = []
    # Not splitlines: a JSON string may hold a line separator of Unicode.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"external.source: {path}:{number}: not JSON ({error}); give one object on each line"
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"external.source: {path}:{number}: a JSON {type(row).__name__}; give an object with text")
        rows.append((number, row))
    return rows
