"""The `offleash` program: its commands, and how errors become one line and an exit code.

Exit codes: 0 done, 1 the run failed, 2 bad input (one line naming the field and the mend), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, Exit, TyperException

from offleash import __version__
from offleash.cli.bench import bench
from offleash.cli.compare import compare
from offleash.cli.demo import demo
from offleash.cli.doctor import doctor
from offleash.cli.objectives import objectives
from offleash.cli.pretrain import pretrain
from offleash.cli.report import report
from offleash.cli.sample import sample
from offleash.cli.tasks import tasks
from offleash.cli.train import train
from offleash.core import InputError, OffleashError

COMMANDS = (demo, train, pretrain, sample, compare, report, objectives, tasks, bench, doctor)

# Read by OpenMP and tokenizers when torch loads. Without the first two, torch on busy cores spins and slows down tenfold.
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false"}

app = typer.Typer(
    help="Train language models with verifiable rewards and measure what that does to their capability boundary.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"offleash {__version__}")
        raise Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train language models with verifiable rewards and measure what that does to their capability boundary."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. Errors the user can mend are one line on stderr, never a traceback."""
    try:
        with typer.main.get_command(app).make_context("offleash", list(arguments) or ["--help"]) as context:
            context.command.invoke(context)
    except Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, Abort) as stop:
        return _say(str(stop) or "interrupted; what was finished is on disk", 130)
    except TyperException as error:
        return _usage(error)
    except InputError as error:
        return _say(str(error), 2)
    except OffleashError as error:
        return _say(str(error), 1)
    except BrokenPipeError:
        # The reader of a pipe went away (`offleash tasks | head`); keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _usage(error: TyperException) -> int:
    """A mistyped command line."""
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "offleash"
    return _say(f"{message.rstrip('.')}; see {path} --help", 2)


def _say(message: str, code: int) -> int:
    typer.echo(f"offleash: {' '.join(message.split())}", err=True)
    return code


def main() -> None:
    """Entry point of the console script."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    sys.exit(run(sys.argv[1:]))
