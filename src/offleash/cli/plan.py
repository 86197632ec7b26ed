"""`offleash plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from offleash.cli.options import AsJson, Level, Split, Task

EXAMPLES = """
\b
Examples, from a pilot of the base (50 problems or more, k samples each or more), or from a guess at how hard the problems are:
  offleash plan runs/store#base --k 128 --shift -0.05
  offleash plan base.jsonl --k 128 --shift -0.05 --spread few --power 0.9
  offleash plan 0.3,2 --k 256 --shift -0.1        (success rates as Beta(0.3, 2): mean 0.13, a third of them below 0.01)

The test is that of `offleash compare`: the band of the paired difference, which holds at all k up to n at once, read at k.
"all" leaves rates of 0 and 1 where they are; where it cannot reach the shift, --spread few can.
"""


def plan(
    pilot: Annotated[
        str,
        typer.Argument(metavar="PILOT", help="PATH or PATH#MODEL as in compare, or A,B: rates are Beta(A, B)."),
    ],
    k: Annotated[int, typer.Option(help="pass@k is to be compared at this k.")],
    shift: Annotated[float, typer.Option(help="pass@k of B minus A that must not be missed, such as -0.05.")],
    spread: Annotated[str, typer.Option(help="all: every problem moves a little; few: some move all the way.")] = "all",
    power: Annotated[float, typer.Option(help="Chance to see it; above 0.05, the chance of a false alarm.")] = 0.8,
    problems: Annotated[
        list[int] | None, typer.Option(help="A row of the table; may be given again.", show_default=False)
    ] = None,
    samples: Annotated[
        list[int] | None, typer.Option(help="A column of the table; may be given again.", show_default=False)
    ] = None,
    task: Task = None,
    level: Level = None,
    split: Split = None,
    as_json: AsJson = False,
) -> None:
    """How many problems and samples it takes to see a shift of pass@k."""
    from offleash.jobs import plan as job
    from offleash.jobs.sides import Selection

    job.run(
        pilot,
        k=k,
        shift=shift,
        spread=spread,
        power=power,
        problems=problems or None,
        samples=samples or None,
        selection=Selection(task=task, level=level, split=split),
        as_json=as_json,
    )


plan.__doc__ = f"{plan.__doc__}\n{EXAMPLES}"
