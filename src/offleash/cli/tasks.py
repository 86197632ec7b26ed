"""`offleash tasks`."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any

import typer

EXAMPLES = """
\b
Examples:
  offleash tasks
  offleash tasks --measured-on 100 --json
"""


def tasks(
    measured_on: Annotated[
        int, typer.Option(min=1, help="Problems a level on which the guess baseline is measured.")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """The tasks and their chance baselines."""
    from offleash.cli.output import print_json, print_table
    from offleash.tasks import names

    rows = [_row(name, measured_on) for name in names()]
    if as_json:
        print_json({"tasks": rows})
        return
    lines = [
        [row["name"], row["version"], str(level["level"]), _shown(level["guess"]), level["example"]]
        for row in rows
        for level in row["levels"]
    ]
    print_table(["task", "version", "level", "a guess is right", "example"], lines)


tasks.__doc__ = f"{tasks.__doc__}\n{EXAMPLES}"


def _row(name: str, measured_on: int) -> dict[str, Any]:
    from offleash.tasks import get

    task = get(name)
    return {
        "name": task.name,
        "version": task.version,
        "verifier_version": task.verifier_version,
        "levels": [_level(name, level, measured_on) for level in task.levels],
    }


def _level(name: str, level: int, measured_on: int) -> dict[str, Any]:
    """Mean chance that one blind guess is right, over the first problems of the probe split."""
    from offleash.tasks import get, problems

    task = get(name)
    found = list(itertools.islice(problems(task, level, "probe", 0), measured_on))
    chances = [task.guess(problem) for problem in found]
    mean = sum(chances) / len(chances)
    known = not math.isnan(mean)
    return {
        "level": level,
        "guess": mean if known else None,
        "reason": "" if known else "the chance of a blind guess is not known for this task",
        "measured_on": len(found),
        "example": found[0].prompt,
    }


def _shown(guess: float | None) -> str:
    return "unknown" if guess is None else f"{guess:.2g}"
