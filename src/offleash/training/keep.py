"""Rollouts kept for later reading: `samples/`, `verdicts/` and `problems/` of the run folder, a part each for every step.

Together with `models/` (a record for each step's policy, labelled step_N) and `samplers/` they are laid out as a store, so
whatever reads stores can read what training saw. A resume drops the parts past its checkpoint and writes the same again.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from offleash.core import Problem, rng
from offleash.store import RunFolder, SampleRow, VerdictRow, parts, schema
from offleash.store.files import atomic_write, make_folder, to_json
from offleash.store.writer import model_path
from offleash.training.rollout import Rollout


def keep(run: RunFolder, step: int, rollout: Rollout, sampler: dict[str, Any], verifier: str) -> None:
    """Write the sampled members of a step's groups, with what the verifier said and what the reward arm paid.

    Args:
        run: where to.
        step: counted from 1, as in metrics.jsonl; the policy is the one before that step's update.
        rollout: the step's groups; demonstrations are left out.
        sampler: the engine's settings.
        verifier: the task's `verifier_version`.

    Raises:
        OffleashError: the disk is full.
    """
    name, settings = rng.digest("rollouts", run.recipe_text(), step).hex(), schema.sampler_id(sampler)
    seen: Counter[str] = Counter()
    samples, verdicts = [], []
    for group, drawn in zip(rollout.groups, rollout.drawn, strict=True):
        members = [m for m in group if not m.external]
        for member, completion in zip(members, drawn, strict=True):
            row = SampleRow.of(completion, model=name, seed=step, sampler=settings)
            # A pool of few problems may give one twice in a step; its groups follow each other.
            row = _numbered(row, seen[row.problem_id])
            seen[row.problem_id] += 1
            samples.append(row)
            verdicts.append(_judged(row, member.verdict, member.solved, verifier))
    problems = list({p.id: p for p in rollout.problems}.values())
    record = {"id": name, "label": f"step_{step}", "path": f"checkpoints/step_{step - 1}", "step": step}
    _once(model_path(run.path, name), record)
    _once(run.path / "samplers" / f"{settings}.json", sampler)
    _part(run.path, "problems", step, _problem_table(problems))
    _part(run.path, "samples", step, schema.row_table("samples", samples))
    _part(run.path, "verdicts", step, schema.row_table("verdicts", verdicts))


def _numbered(row: SampleRow, index: int) -> SampleRow:
    fields = {name: getattr(row, name) for name in row.__slots__}
    return SampleRow(**(fields | {"index": index}))


def _judged(row: SampleRow, paid: Any, solved: bool | None, verifier: str) -> VerdictRow:
    found = VerdictRow.of(row, paid)
    fields = {name: getattr(found, name) for name in found.__slots__}
    return VerdictRow(**(fields | {"correct": solved, "verifier_version": verifier}))


def _problem_table(problems: list[Problem]) -> Any:
    return schema.problem_table(problems, [math.nan] * len(problems))  # a chance baseline may take seconds each


def _part(folder: Path, table: str, step: int, content: Any) -> None:
    """One part. Its name says the step, and as in a store which parts came later: verdicts after their samples."""
    make_folder(folder / table)
    number = len(schema.TABLES) * step + list(schema.TABLES).index(table)
    parts.write(folder / table, f"step_{step:08d}.part-{number:08d}", content)


def _once(path: Path, content: dict[str, Any]) -> None:
    if not path.is_file():
        make_folder(path.parent)
        atomic_write(path, (to_json(content, indent=1) + "\n").encode())
