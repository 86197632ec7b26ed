"""`offleash likelihood`."""

from __future__ import annotations

from typing import Annotated

import typer

from offleash.cli.options import AsJson, Level, SamplerId, Seed, Split, Task

EXAMPLES = """
\b
Examples:
  offleash likelihood runs/store#base runs/store#GRPO
  offleash likelihood runs/demo#base runs/demo#GRPO --level 7 --json
  offleash likelihood runs/store#base runs/store#GRPO --exact     (countdown of at most 6 numbers: every solution is listed and added up)

For a problem that B solved and A never did in n samples: was it out of A's reach, or only rare?
"""


def likelihood(
    a: Annotated[str, typer.Argument(metavar="A", help="STORE#LABEL: whose probabilities are asked for.")],
    b: Annotated[str, typer.Argument(metavar="B", help="STORE#LABEL: whose solutions are read.")],
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Add up all solutions, where the task can list them: countdown, at most 6 numbers."
        ),
    ] = False,
    task: Task = None,
    level: Level = None,
    split: Split = None,
    seed: Seed = None,
    sampler: SamplerId = None,
    as_json: AsJson = False,
) -> None:
    """How probable B's solutions are under A, read by A's weights."""
    from offleash.jobs import likelihood as job
    from offleash.jobs.sides import Selection

    selection = Selection(task=task, level=level, split=split, seed=seed, sampler=sampler)
    job.run(a, b, selection=selection, exact=exact, as_json=as_json)


likelihood.__doc__ = f"{likelihood.__doc__}\n{EXAMPLES}"
