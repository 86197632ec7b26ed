"""`offleash report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash report runs/demo
  offleash report runs/grpo --out pages
"""


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A study or run folder.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; into RUN otherwise.", show_default=False)] = None,
) -> None:
    """Write one self-contained HTML page, and report.json beside it."""
    from offleash.report import build, incomplete

    page = build(run, out)
    for line in incomplete(run):
        typer.echo(line, err=True)
    typer.echo(str(page))


report.__doc__ = f"{report.__doc__}\n{EXAMPLES}"
