"""`offleash demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash demo --out runs/demo
  offleash demo --full --out runs/demo-full
"""


def demo(
    out: Annotated[Path, typer.Option(help="Study folder.")] = Path("runs/demo"),
    full: Annotated[bool, typer.Option("--full", help="The long recipes.")] = False,
) -> None:
    """The whole story on the embedded base: train, measure, report. About five minutes on two idle cores."""
    from offleash.jobs import demo as job

    job.run(out, full=full)


demo.__doc__ = f"{demo.__doc__}\n{EXAMPLES}"
