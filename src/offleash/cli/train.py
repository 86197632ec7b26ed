"""`offleash train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash train recipes/countdown/grpo.yaml
  offleash train recipes/countdown/grpo.yaml steps=50 optimizer.learning_rate=3e-5 --out runs/short
  offleash train recipes/countdown/grpo.yaml --dry-run       (prints the recipe as it would be run)
  offleash train recipes/countdown/grpo.yaml --resume        (goes on after the last complete checkpoint)
"""


def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY.SUB=VALUE", help="Changes to the recipe.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/NAME-OF-THE-RECIPE otherwise.", show_default=False)
    ] = None,
) -> None:
    """Train a model by a recipe, with any objective."""
    from offleash.jobs import train as job

    job.run(recipe, overrides or [], resume=resume, dry_run=dry_run, out=out)


train.__doc__ = f"{train.__doc__}\n{EXAMPLES}"
