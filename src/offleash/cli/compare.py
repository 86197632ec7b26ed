"""`offleash compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from offleash.cli.options import AsJson, Level, SamplerId, Seed, Split, Task, Temperature

EXAMPLES = """
\b
Examples:
  offleash compare runs/store#base runs/store#GRPO
  offleash compare base.jsonl trained.jsonl --k 64 --json > comparison.json     (lines of {"id": ..., "c": ..., "n": ...})

\b
Give models that are called alike names of their own when they are sampled; afterwards the id tells them apart:
  offleash sample --model runs/b/checkpoints/step_240 --label b-240 --task countdown --n 256 --out runs/store
  offleash compare runs/store#base runs/store#b-240

\b
Logs of TRL, verl, lm-evaluation-harness, lighteval, Inspect, verifiers and prime-rl; NAME=VALUE after # says what to take:
  offleash compare runs/a/completions runs/b/completions#step=200
  offleash compare base.eval tuned.eval --threshold 0.5
  offleash compare base.csv tuned.csv --columns id=problem,correct=passed

\b
Several training seeds of one method, against its base:
  offleash compare base.jsonl seed0.jsonl seed1.jsonl seed2.jsonl

\b
Models are sampled first, as far as samples are missing; --adaptive draws only where the verdict is open:
  offleash compare base runs/grpo/checkpoints/step_240 --task countdown --n 256 --out runs/compared
  offleash compare base runs/grpo/checkpoints/step_240 --task countdown --n 1024 --out runs/compared --adaptive

Where a store holds samples of several temperatures, the comparison is at 1 (or --temperature), and it is also asked what
is left of the difference at equal token entropy, and with each model at its best temperature.

B is judged against A, problem by problem: with both on the same problems, did the set of problems that can be solved at all
widen, narrow, both, or neither?
"""


SideA = Annotated[
    str,
    typer.Argument(
        metavar="A",
        help="PATH or PATH#MODEL: a store, a study, a run, a model, a jsonl file, or a log of another tool.",
    ),
]


def compare(
    a: SideA,
    b: Annotated[
        list[str], typer.Argument(metavar="B...", help="The same; B is judged against A. Several: training seeds.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.json, and samples of models.", show_default=False)
    ] = None,
    k: Annotated[
        int | None, typer.Option(help="Judge at this k; half the samples otherwise.", show_default=False)
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(help="Only problems with at least n samples; of models: samples to draw.", show_default=False),
    ] = None,
    task: Task = None,
    level: Level = None,
    split: Split = None,
    seed: Seed = None,
    sampler: SamplerId = None,
    temperature: Temperature = None,
    threshold: Annotated[
        float | None, typer.Option(help="In logs: a score from here on is correct.", show_default=False)
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Of a table: id=NAME,correct=NAME[,prompt=NAME].", show_default=False)
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Threshold of the ledger; what k misses in a row rule out, otherwise.", show_default=False),
    ] = None,
    beyond: Annotated[
        int | None, typer.Option(help="Continue both curves to this k, past the samples.", show_default=False)
    ] = None,
    problems: Annotated[
        int | None, typer.Option(help="Of models: how many problems; 100 otherwise.", show_default=False)
    ] = None,
    max_completion_length: Annotated[
        int | None, typer.Option(help="Of models: tokens, the end token included; 32 otherwise.", show_default=False)
    ] = None,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Of models: draw only where the verdict is open.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Did the capability boundary move from A to B?"""
    from offleash.jobs import compare as job
    from offleash.jobs.sampled import Order
    from offleash.jobs.sides import Selection
    from offleash.store import importers

    selection = Selection(task, level, split, seed, sampler, temperature)
    reading = importers.Reading(threshold, importers.parse_columns(columns) if columns is not None else {})
    order = Order.of(selection, out, problems, max_completion_length)
    job.run(
        a, *b, out=out, k=k, n=n, selection=selection, reading=reading, order=order, epsilon=epsilon, beyond=beyond,
        adaptive=adaptive, as_json=as_json,
    )  # fmt: skip


compare.__doc__ = f"{compare.__doc__}\n{EXAMPLES}"
