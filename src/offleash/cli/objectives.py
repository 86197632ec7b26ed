"""`offleash objectives`."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash objectives
  offleash objectives rl-plus
  offleash objectives --json | jq '.objectives[] | select(.name == "grpo")'
"""


def objectives(
    name: Annotated[str | None, typer.Argument(help="One row in full; without it, a table of all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/objectives.md (some seconds).")] = False,
) -> None:
    """The training methods, and what is proven of each."""
    from offleash.cli.output import print_json
    from offleash.objectives import PRESETS, describe
    from offleash.objectives.document import markdown, table, text
    from offleash.objectives.preset import find_preset

    rows = [find_preset(name)] if name else list(PRESETS.values())
    if as_markdown:
        typer.echo(markdown(), nl=False)
    elif as_json:
        print_json({"objectives": [describe(preset) for preset in rows]})
    elif name:
        typer.echo(text(rows[0]), nl=False)
    else:
        typer.echo(table(rows))


objectives.__doc__ = f"{objectives.__doc__}\n{EXAMPLES}"
