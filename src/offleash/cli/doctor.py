"""`offleash doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash doctor
  offleash doctor --json
"""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """What can run here, and where something cannot, why."""
    from offleash.cli.output import print_json
    from offleash.jobs.doctor import examine

    found = examine()
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if isinstance(value, dict):
            typer.echo(f"{name}:")
            for inner, answer in value.items():
                typer.echo(f"  {inner:<16} {answer}")
        else:
            typer.echo(f"{name + ':':<18} {value}")


doctor.__doc__ = f"{doctor.__doc__}\n{EXAMPLES}"
