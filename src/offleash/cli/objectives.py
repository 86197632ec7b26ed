"""`offleash objectives`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from offleash.objectives import Preset

EXAMPLES = """
\b
Examples:
  offleash objectives
  offleash objectives --json | jq '.objectives[] | select(.name == "grpo")'
"""


def objectives(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """The training methods, and what is proven of each."""
    from offleash.cli.output import print_json
    from offleash.objectives import PRESETS

    rows = list(PRESETS.values())
    if as_json:
        print_json({"objectives": [_row(preset) for preset in rows]})
        return
    for preset in rows:
        typer.echo(_text(preset))


objectives.__doc__ = f"{objectives.__doc__}\n{EXAMPLES}"


def _row(preset: Preset) -> dict[str, Any]:
    """A preset as plain data, with the resolved default of every setting."""
    row = {f.name: getattr(preset, f.name) for f in dataclasses.fields(preset)}
    for name in ("settings", "released", "why_not"):
        row[name] = dict(row[name])
    return row | {"claims": dataclasses.asdict(preset.claims), "defaults": preset.defaults()}


def _text(preset: Preset) -> str:
    proven = [
        f.name.replace("_", " ") for f in dataclasses.fields(preset.claims) if getattr(preset.claims, f.name) is True
    ]
    if preset.claims.unbiased_for:
        proven.append(f"unbiased for {preset.claims.unbiased_for} (times {preset.claims.unbiased_factor})")
    lines = [preset.name, f"  {preset.formula}", f"  {preset.paper}; {preset.equation}"]
    lines += [f"  differs: {deviation}" for deviation in preset.deviations]
    lines += [f"  proven: {', '.join(proven)}"] if proven else []
    lines += [f"  not claimed: {claim.replace('_', ' ')}: {reason}" for claim, reason in preset.why_not.items()]
    lines += [f"  use: {preset.when}"] if preset.when else []
    return "\n".join(lines) + "\n"
