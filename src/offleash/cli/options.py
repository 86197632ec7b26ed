"""Options that several commands share, said in the same words."""

from __future__ import annotations

from typing import Annotated

import typer

Task = Annotated[str | None, typer.Option(help="Only problems of this task.", show_default=False)]
Level = Annotated[int | None, typer.Option(help="Only problems of this level.", show_default=False)]
Split = Annotated[str | None, typer.Option(help="Only problems of this split.", show_default=False)]
Seed = Annotated[int | None, typer.Option(help="Only samples of this seed.", show_default=False)]
SamplerId = Annotated[str | None, typer.Option(help="Only samples of this sampler id.", show_default=False)]
Temperature = Annotated[
    float | None,
    typer.Option(help="Samples at this temperature; 1 where a store holds several.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
