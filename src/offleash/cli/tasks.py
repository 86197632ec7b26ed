"""`offleash tasks`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from offleash.tasks import Family, Task

EXAMPLES = """
\b
Examples:
  offleash tasks
  offleash tasks reasoning-gym
  offleash tasks reasoning-gym/chain_sum --measured-on 20
  offleash tasks gsm8k:data/gsm8k --json
  offleash tasks --measure src/offleash/tasks/false_positives.json
"""
GENERATED = (
    "drawn by the package itself, Apache-2.0, no data; a task of an installed package or of your own is its author's"
)
SHOWN = 60
"""Characters of an example in the table."""


def tasks(
    name: Annotated[
        str | None,
        typer.Argument(help="A task, or a family; without it, the tasks that need nothing, and the families."),
    ] = None,
    measured_on: Annotated[
        int, typer.Option(min=1, help="Problems a level on which the guess baseline is measured.")
    ] = 5,
    measure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="First measure how often verifiers accept what is no answer, on the embedded bases, and write FILE; and the chance "
            "baselines, into guesses.json beside it.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """The tasks, their chance baselines, and how often their verifiers accept what is no answer."""
    from offleash.cli.output import print_json, print_table
    from offleash.jobs import false_positives, guesses
    from offleash.tasks import families, get, names

    known = {family.name: family for family in families()}
    family = known.get(name or "")
    if family and family.members:
        members = family.members()
        if as_json:
            print_json({"families": [_family(family, members)]})
        else:
            typer.echo(_wrapped(f"{len(members)} tasks, each {family.name}/NAME:", members))
        return
    measured = {row["task"]: row for row in false_positives.run(measure)} if measure else false_positives.load()
    if measure:
        guesses.record(measure.with_name("guesses.json"))
    rows = [_row(get(chosen), measured_on, measured) for chosen in ([name] if name else names())]
    if as_json:
        print_json({"tasks": rows, "families": [] if name else [_family(family, None) for family in known.values()]})
        return
    lines = [
        [
            row["name"], row["version"], str(level["level"]), _shown(level["guess"]), _passed(level["false_positives"], "random"),
            _passed(level["false_positives"], "other"), _line(level["example"]),
        ]
        for row in rows
        for level in row["levels"]
    ]  # fmt: skip
    header = ["task", "version", "level", "a guess is right", "noise passes", "another's passes", "example"]
    print_table(header, lines)
    if not name:
        typer.echo(f"\nsource: {GENERATED}\n")
        shown = [[f.name + ("/NAME" if f.members else ""), f.about, f.needs, f.source] for f in known.values()]
        print_table(["family", "about", "needs", "source and license"], shown)


tasks.__doc__ = f"{tasks.__doc__}\n{EXAMPLES}"


def _family(family: Family, members: list[str] | None) -> dict[str, Any]:
    return {
        "name": family.name,
        "about": family.about,
        "needs": family.needs,
        "source": family.source,
        "members": members,
    }


def _row(task: Task, measured_on: int, measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    from offleash.jobs import guesses

    found = measured.get(task.name, {})
    current = (
        found.get("verifier_version") == task.verifier_version
    )  # an old measurement says nothing of a new verifier
    return {
        "name": task.name,
        "version": task.version,
        "verifier_version": task.verifier_version,
        "levels": [
            {
                **guesses.of(task, level, measured_on),
                "false_positives": found if current and found["level"] == level else None,
            }
            for level in task.levels
        ],
    }


def _passed(measured: dict[str, Any] | None, kind: str) -> str:
    """The share of texts that passed; where none did, what it is below with 95 % confidence."""
    if not measured:
        return ""
    accepted, judged = measured[f"{kind}_accepted"], measured["judged"]
    return f"{accepted / judged:.2g}" if accepted else f"<{3 / judged:.1g}"


def _shown(guess: float | None) -> str:
    return "unknown" if guess is None else f"{guess:.2g}"


def _line(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= SHOWN else one[: SHOWN - 3] + "..."


def _wrapped(head: str, words: list[str]) -> str:
    """The words in columns, below each other, 100 characters wide."""
    width = max(map(len, words)) + 2
    columns = max(1, 100 // width)
    height = math.ceil(len(words) / columns)
    lines = ["".join(word.ljust(width) for word in words[row::height]).rstrip() for row in range(height)]
    return "\n".join([head, *lines])
