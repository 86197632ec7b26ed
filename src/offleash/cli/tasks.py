"""`offleash tasks`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offleash.core import InputError

if TYPE_CHECKING:
    from offleash.tasks import Family

EXAMPLES = """
\b
Examples:
  offleash tasks
  offleash tasks countdown
  offleash tasks countdown --show 3 --level 2 --split train
  offleash tasks countdown --judge answer.txt --problem 2
  offleash tasks reasoning-gym/chain_sum:max_terms=2 --show 5
  offleash tasks gsm8k:data/gsm8k --json
  offleash tasks --measure src/offleash/tasks/false_positives.json

\b
A task of your own, in a file or a module of the current folder, is tried the same way:
  offleash tasks sums.py:Sums --show 3
  echo 46 | offleash tasks sums.py:Sums --judge -
"""
SHOWN = 60
"""Characters of an example in the table."""


def tasks(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A task, a family, or a task of your own: file.py:Name, module:name. Without it, a table of the tasks that need "
            "nothing, and the families."
        ),
    ] = None,
    show: Annotated[
        int | None, typer.Option(min=1, help="Print so many problems, with ids and solutions.", show_default=False)
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Print the verdict on the completion in FILE, without its last line end; - is standard input. Exit code 0 if it is "
            "right, 1 if not.",
            show_default=False,
        ),
    ] = None,
    problem: Annotated[
        str | None, typer.Option(help="With --judge: a number of --show (1), or an id.", show_default=False)
    ] = None,
    level: Annotated[int | None, typer.Option(help="Of --show and --judge; the main one.", show_default=False)] = None,
    split: Annotated[str | None, typer.Option(help="Of --show and --judge; test.", show_default=False)] = None,
    measured_on: Annotated[
        int, typer.Option(min=1, help="Problems a level on which the guess baseline is measured.")
    ] = 5,
    measure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="First measure how often verifiers accept what is no answer, of all tasks or of NAME, and write FILE after each, whose "
            "other rows stay; and the chance baselines, into guesses.json beside it.",
            show_default=False,
        ),
    ] = None,
    written_by: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="MODEL",
            help="With --measure: also on the tasks with data (gsm8k, math-500, humaneval), with texts of this model.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """The tasks: what they are, their chance baselines, how often verifiers accept what is no answer; problems and verdicts of one."""
    from offleash.cli import one_task

    one_task.check_options(name, show, judge, problem, level, split, measure)
    if name is not None and show:
        one_task.show(name, show, level, split, as_json=as_json)
    elif name is not None and judge is not None:
        one_task.judge(name, judge, problem or "1", level, split, as_json=as_json)
    elif name is not None and one_task.members(name) is not None:
        one_task.family(name, as_json=as_json)
    else:
        _table(name, measured_on, measure, written_by, as_json=as_json)


tasks.__doc__ = f"{tasks.__doc__}\n{EXAMPLES}"


def _table(name: str | None, measured_on: int, measure: Path | None, written_by: str | None, *, as_json: bool) -> None:
    """All tasks, or one of them in full."""
    if written_by and not measure:
        raise InputError("--with: only with --measure FILE, the file to write")
    from offleash.cli import one_task
    from offleash.cli.output import print_json, print_table
    from offleash.jobs import false_positives, guesses, task_card
    from offleash.tasks import families, get, names

    if measure:
        guesses.read(measure.with_name("guesses.json"))  # refused before the work
    measured = (
        {row["task"]: row for row in false_positives.run(measure, written_by, name)}
        if measure
        else false_positives.load()
    )
    if measure:
        guesses.record(measure.with_name("guesses.json"), name)
    if name is not None:
        one_task.card(task_card.card(name, measured_on, measured), as_json=as_json)
        return
    rows = [task_card.row(get(chosen), measured_on, measured) for chosen in names()]
    known = families()
    if as_json:
        print_json({"tasks": rows, "families": [family_row(family, None) for family in known]})
        return
    lines = [[row["name"], row["version"], *level_cells(level)] for row in rows for level in row["levels"]]
    print_table(["task", "version", *LEVEL_HEADER], lines)
    typer.echo(f"\nsource: {task_card.GENERATED}\n")
    shown = [
        [f.name + ("/NAME" if f.members else ""), *shares(measured.get(f.name)), f.about, f.needs, f.source]
        for f in known
    ]
    print_table(["family", "noise passes", "another's passes", "about", "needs", "source and license"], shown)
    typer.echo(
        "\none of them: offleash tasks NAME; its problems: offleash tasks NAME --show 3; more: offleash tasks --help"
    )


def family_row(family: Family, members: list[str] | None) -> dict[str, Any]:
    """A family as JSON."""
    return {
        "name": family.name,
        "about": family.about,
        "needs": family.needs,
        "source": family.source,
        "members": members,
    }


LEVEL_HEADER = ("level", "a guess is right", "noise passes", "another's passes", "example")


def level_cells(level: dict[str, Any]) -> list[str]:
    """A row of the table: see LEVEL_HEADER."""
    return [
        str(level["level"]), _shown(level["guess"]), *shares(level["false_positives"]), _line(level["example"]),
    ]  # fmt: skip


def shares(measured: dict[str, Any] | None) -> list[str]:
    """How often noise passed, and another problem's text; empty where that was not measured."""
    return [_passed(measured, "random"), _passed(measured, "other")]


def _passed(measured: dict[str, Any] | None, kind: str) -> str:
    """The share of texts that passed; where none did, what it is below with 95 % confidence."""
    if not measured:
        return ""
    accepted, judged = measured[f"{kind}_accepted"], measured["judged"]
    return f"{accepted / judged:.2g}" if accepted else f"<{3 / judged:.1g}"


def _shown(guess: float | None) -> str:
    return "unknown" if guess is None else f"{guess:.2g}"


def _line(text: str) -> str:
    from offleash.cli.one_task import printable

    one = printable(" ".join(text.split()))
    return one if len(one) <= SHOWN else one[: SHOWN - 3] + "..."
