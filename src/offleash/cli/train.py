"""`offleash train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from offleash.core import InputError

EXAMPLES = """
\b
Examples:
  offleash train recipes/countdown/grpo.yaml
  offleash train recipes/countdown/grpo.yaml steps=50 optimizer.learning_rate=3e-5 --out runs/short
  offleash train recipes/countdown/grpo.yaml --seeds 0,1,2 --out runs/grpo       (then: offleash compare base runs/grpo ...)
  offleash train recipes/countdown/grpo.yaml --dry-run       (prints the recipe as it would be run)
  offleash train recipes/countdown/grpo.yaml --resume        (goes on after the last complete checkpoint)
  torchrun --nproc_per_node 2 -m offleash train recipes/countdown/grpo.yaml       (two processes; docs/training.md)
"""


def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY.SUB=VALUE", help="Changes to the recipe.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    seeds: Annotated[
        str | None, typer.Option(help="Train once with each, such as 0,1,2, into OUT/seed_N.", show_default=False)
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(help="Also send metrics to trackio, wandb or tensorboard.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/NAME-OF-THE-RECIPE otherwise.", show_default=False)
    ] = None,
) -> None:
    """Train a model by a recipe, with any objective."""
    from offleash.jobs import train as job

    with job.one_voice() as processes:
        chosen = processes.agree(lambda: _numbers(seeds))
        if not chosen or dry_run:
            job.run(recipe, overrides or [], resume=resume, dry_run=dry_run, out=out, track=track)
        else:
            job.run_seeds(recipe, overrides or [], chosen, resume=resume, out=out, track=track)


def _numbers(seeds: str | None) -> list[int]:
    try:
        return [int(seed) for seed in seeds.split(",")] if seeds is not None else []
    except ValueError as error:
        raise InputError(f"--seeds: {seeds!r}; give whole numbers with commas between, such as 0,1,2") from error


train.__doc__ = f"{train.__doc__}\n{EXAMPLES}"
