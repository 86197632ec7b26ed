"""`offleash bench`."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash bench rollouts --peer transformers
  offleash bench rollouts --peer transformers --json
"""


def bench(
    what: Annotated[str, typer.Argument(metavar="{rollouts}", help="What is timed.")],
    peer: Annotated[str, typer.Option(help="The library to run beside.")] = "transformers",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Speed side by side with a peer, in one run on this machine."""
    from offleash.jobs import bench as job

    job.run(what, peer=peer, as_json=as_json)


bench.__doc__ = f"{bench.__doc__}\n{EXAMPLES}"
