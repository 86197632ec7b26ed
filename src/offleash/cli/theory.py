"""`offleash theory`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash theory
  offleash theory two-stage --settings
  offleash theory two-stage --out two-stage.svg
  offleash theory two-stage rewards=[0.5,1,0] start=[0.3,0.02,0.68] --steps 5000
  offleash theory phase cells=20 coarse=0 group=16 --json
  offleash theory leash rarest=1e-4

\b
A study tries statements of the literature on policies small enough to enumerate, with the objectives that `offleash train` uses,
and says of each whether it held, with its numbers and the region where it fails. `offleash theory NAME --settings` lists what a study can
change, with the defaults; a misspelt setting names the closest. The exit code is 0 whether statements held or not.
"""


def theory(
    name: Annotated[str | None, typer.Argument(help="Which study; without it, a list of all.")] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the study, such as rate=0.05.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.", show_default=False)] = None,
    seeds: Annotated[int | None, typer.Option(help="Streams of luck.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figure here, as SVG.", show_default=False)] = None,
    describe: Annotated[
        bool, typer.Option("--settings", help="List the study's settings with their defaults, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Where does probability mass go? Exact dynamics of training, tried on the trainer's own objectives."""
    from offleash.jobs import theory as job

    if describe:
        print(job.describe_all(name))
        return
    job.run(name, settings or [], steps=steps, seeds=seeds, out=out, as_json=as_json)


theory.__doc__ = f"{theory.__doc__}\n{EXAMPLES}"
