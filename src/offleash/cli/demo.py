"""`offleash demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from offleash.core import InputError

EXAMPLES = """
\b
Examples:
  offleash demo --out runs/demo
  offleash demo --full --out runs/demo-full
  offleash demo --smollm2 --out runs/smollm2      (make smollm2 installs what it needs first)
"""


def demo(
    out: Annotated[
        Path | None, typer.Option(help="Study folder; runs/demo, or runs/smollm2, otherwise.", show_default=False)
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The long recipes.")] = False,
    smollm2: Annotated[bool, typer.Option("--smollm2", help="SmolLM2-135M-Instruct on sums instead.")] = False,
) -> None:
    """The whole story on the embedded base: train, measure, report. About five minutes on two idle cores."""
    if smollm2:
        if full:
            raise InputError("--full: has no meaning with --smollm2; give one of them")
        from offleash.jobs import smollm2 as other

        other.run(out or Path("runs/smollm2"))
        return
    from offleash.jobs import demo as job

    job.run(out or Path("runs/demo"), full=full)


demo.__doc__ = f"{demo.__doc__}\n{EXAMPLES}"
