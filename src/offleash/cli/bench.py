"""`offleash bench`."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash bench rollouts --peer transformers
  offleash bench objectives
  offleash bench scoring --json
  offleash bench step --peer trl
"""


def bench(
    what: Annotated[str, typer.Argument(metavar="{rollouts,objectives,scoring,boundary,step}", help="What is timed.")],
    peer: Annotated[
        str | None,
        typer.Option(
            help="What to run beside: transformers, by-hand, full-logits, passk-inference, trl, trl-curves.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Speed side by side with a peer, in one run on this machine."""
    from offleash.jobs import benchmarks

    benchmarks.run(what, peer=peer, as_json=as_json)


bench.__doc__ = f"{bench.__doc__}\n{EXAMPLES}"
