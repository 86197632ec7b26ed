"""`offleash laws`."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash laws entropy runs/grpo
  offleash laws entropy runs/grpo runs/other --holdout 0.15
  offleash laws compute runs/grpo/metrics.jsonl --x step --y accuracy
  offleash laws compute evaluations.csv --x gpu_hours --y pass_rate --from 1500 --r0 0.35 --json

\b
entropy: R = -a exp(H) + b, with the ceiling b - a at H = 0 (arXiv 2505.22617).
compute: R = R0 + (A - R0) / (1 + (C_mid / C)^B), with the ceiling A (ScaleRL, arXiv 2510.13786).
a, b and the ceiling, A, B and C_mid come with an interval and whether the data determine them; R0 is a number alone: given
(--r0) or fitted along, with the first row as its one measurement. Two inputs are compared, the second with the first.
"""


def laws(
    what: Annotated[str, typer.Argument(metavar="{entropy,compute}", help="Which law.")],
    metrics: Annotated[
        list[str],
        typer.Argument(metavar="METRICS", help="A run folder, a metrics.jsonl or a CSV file; two are compared."),
    ],
    x: Annotated[
        str | None, typer.Option(help="Column of entropy or compute; its usual name otherwise.", show_default=False)
    ] = None,
    y: Annotated[str | None, typer.Option(help="Column of reward; accuracy otherwise.", show_default=False)] = None,
    holdout: Annotated[float, typer.Option(help="Share of the rows that is fitted to predict the rest.")] = 0.5,
    r0: Annotated[
        float | None,
        typer.Option(
            "--r0", help="compute: reward at no compute; fitted from the first row otherwise.", show_default=False
        ),
    ] = None,
    start: Annotated[float, typer.Option("--from", help="compute: leave out rows with less compute.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Where will training end? Fit the entropy law or the compute law to a run, with intervals."""
    from offleash.jobs import laws as job

    job.run(what, metrics, x=x, y=y, holdout=holdout, r0=r0, start=start, as_json=as_json)


laws.__doc__ = f"{laws.__doc__}\n{EXAMPLES}"
