"""`offleash audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from offleash.cli.options import AsJson, Level, SamplerId, Seed, Split, Task, Temperature

EXAMPLES = """
\b
Examples:
  offleash audit runs/store#base
  offleash audit runs/store#base runs/store#GRPO --json > audit.json       (also what moved from A to B)
  offleash audit runs/demo#GRPO --level 7

\b
A hand audit: write samples that the verifier calls correct into a file, judge them, and read them again:
  offleash audit runs/store#GRPO --out runs/audit        (fill in each "truth" in runs/audit/to_label.jsonl)
  offleash audit runs/store#GRPO --labels runs/audit/to_label.jsonl
Its lines are {"problem": ID, "index": 3, "truth": true}, with model, sampler, seed and completion so that labels of another
model are refused; lines of your own may leave those out.

\b
A second verifier's verdicts on the same samples, lines of {"problem": ID, "index": 3, "correct": true}:
  offleash audit runs/store#GRPO --verdicts second.jsonl

Shown are: what blind guessing explains; what errors of the verifier would do to pass@k; formats, repetition, lengths and
entropies, and how they moved from A to B.
"""


def audit(
    a: Annotated[str, typer.Argument(metavar="A", help="STORE#MODEL, STUDY#ARM, or a run of a study.")],
    b: Annotated[
        str | None, typer.Argument(metavar="B", help="The same; B is audited against A.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help='A hand audit of B\'s samples (of A\'s where it is alone): lines of {"problem": ID, "index": 3, "truth": true}.',
            show_default=False,
        ),
    ] = None,
    verdicts: Annotated[
        Path | None,
        typer.Option(
            help='A second verifier on the same samples: lines of {"problem": ID, "index": 3, "correct": true}.',
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for audit.json, and without labels for to_label.jsonl (under another name beside another model's).",
            show_default=False,
        ),
    ] = None,
    task: Task = None,
    level: Level = None,
    split: Split = None,
    seed: Seed = None,
    sampler: SamplerId = None,
    temperature: Temperature = None,
    as_json: AsJson = False,
) -> None:
    """What do the samples look like, and can their verdicts be trusted?"""
    from offleash.jobs import audit as job
    from offleash.jobs.sides import Selection

    selection = Selection(task=task, level=level, split=split, seed=seed, sampler=sampler, temperature=temperature)
    job.run(a, b, labels=labels, verdicts=verdicts, out=out, selection=selection, as_json=as_json)


audit.__doc__ = f"{audit.__doc__}\n{EXAMPLES}"
