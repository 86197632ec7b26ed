"""`offleash pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash pretrain recipes/countdown_base.yaml --out models/base
  offleash pretrain recipes/countdown_base.yaml batch_size=64 model.num_hidden_layers=2 --out models/small
"""


def pretrain(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY.SUB=VALUE", help="Changes to the recipe.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Model folder; runs/NAME-OF-THE-RECIPE otherwise.", show_default=False)
    ] = None,
) -> None:
    """Make a small model from nothing, on a task's own traces."""
    from offleash.jobs import pretrain as job

    job.run(recipe, overrides or [], dry_run=dry_run, out=out)


pretrain.__doc__ = f"{pretrain.__doc__}\n{EXAMPLES}"
