"""The commands of the `offleash` program, and how their errors become one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, Exit, TyperException

from offleash import __version__
from offleash.cli.audit import audit
from offleash.cli.bench import bench
from offleash.cli.compare import compare
from offleash.cli.demo import demo
from offleash.cli.doctor import doctor
from offleash.cli.laws import laws
from offleash.cli.likelihood import likelihood
from offleash.cli.objectives import objectives
from offleash.cli.plan import plan
from offleash.cli.pretrain import pretrain
from offleash.cli.report import report
from offleash.cli.sample import sample
from offleash.cli.tasks import tasks
from offleash.cli.theory import theory
from offleash.cli.train import train
from offleash.core import InputError, OffleashError

COMMANDS = (
    demo,
    train,
    pretrain,
    sample,
    compare,
    plan,
    audit,
    likelihood,
    laws,
    report,
    objectives,
    tasks,
    theory,
    bench,
    doctor,
)

# What a disk can refuse, and the exit code; any other OSError is a bug and keeps its traceback.
PLACES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG), 2),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), 1),
}

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
    """Run one command line; returns the exit code. Errors the user can mend are one line on stderr, never a traceback.

    Raises:
        KeyboardInterrupt: its message, if any, says where the work stopped.
    """
    try:
        with typer.main.get_command(app).make_context("offleash", list(arguments) or ["--help"]) as context:
            context.command.invoke(context)
    except Exit as done:
        return done.exit_code
    except Abort as stop:
        raise KeyboardInterrupt from stop
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
    except OSError as error:
        if error.errno not in PLACES:
            raise
        mend = "mend that, or choose another place with --out"
        return _say(f"{error.filename or 'the disk'}: {error.strerror}; {mend}", PLACES[error.errno])
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
