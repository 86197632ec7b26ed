"""What `offleash tasks NAME` prints: one task, its problems, a verdict."""

from __future__ import annotations

import math
import shlex
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from offleash.core import InputError, Verdict

if TYPE_CHECKING:
    from offleash.jobs.task_try import Numbered

WIDTH = 100
RIGHT = {True: "right", False: "wrong", None: "undecided"}


def check_options(
    name: str | None,
    show: int | None,
    judge: str | None,
    problem: str | None,
    level: int | None,
    split: str | None,
    measure: Path | None,
) -> None:
    """Refuse options that go with another one that is not there, or not with one that is."""
    if measure and (show or judge is not None):
        raise InputError(f"--measure: goes without {'--show' if show else '--judge'}; give one of them")
    if name is None and (show or judge is not None):
        raise InputError(f"{'--show' if show else '--judge'}: of which task? name one: offleash tasks NAME")
    if show and judge is not None:
        raise InputError("--judge: goes without --show; give one of them")
    if problem is not None and judge is None:
        raise InputError("--problem: goes with --judge FILE")
    if (level is not None or split) and not (show or judge is not None):
        raise InputError(f"{'--level' if level is not None else '--split'}: goes with --show N or --judge FILE")
    if (show or judge is not None or measure) and name is not None and members(name) is not None:
        raise InputError(f"{name}: is a family; name one of its tasks, {name}/NAME (offleash tasks {name} lists them)")


def members(name: str) -> list[str] | None:
    """The tasks of a family, where this is the name of one."""
    from offleash.tasks import families

    found = next((family for family in families() if family.name == name), None)
    return found.members() if found and found.members else None


def family(name: str, *, as_json: bool) -> None:
    """The names of a family's tasks."""
    from offleash.cli.output import print_json
    from offleash.cli.tasks import family_row
    from offleash.tasks import families

    found, listed = next(family for family in families() if family.name == name), members(name) or []
    if as_json:
        print_json({"families": [family_row(found, listed)]})
    else:
        typer.echo(_wrapped(f"{len(listed)} tasks, each {name}/NAME:", listed))


def card(found: dict[str, Any], *, as_json: bool) -> None:
    """One task in full."""
    from offleash.cli.output import print_json, print_table
    from offleash.cli.tasks import LEVEL_HEADER, level_cells

    if as_json:
        print_json({"tasks": [found], "families": []})
        return
    typer.echo(found["name"] if found["missing"] else f"{found['name']}, version {found['version']}")
    for label, text in _facts(found).items():
        if text:
            typer.echo(textwrap.fill(text, WIDTH, initial_indent=f"  {label:10}", subsequent_indent=" " * 12))
    if found["missing"]:
        return
    typer.echo("")
    cells = [level_cells(level) for level in found["levels"]]
    kept = [i for i in range(len(LEVEL_HEADER)) if any(line[i] for line in cells)]
    print_table([LEVEL_HEADER[i] for i in kept], [[line[i] for i in kept] for line in cells])
    typer.echo(f"\nits problems: offleash tasks {shlex.quote(found['asked'])} --show 3")
    typer.echo(f"a verdict:    offleash tasks {shlex.quote(found['asked'])} --judge FILE")


def _facts(found: dict[str, Any]) -> dict[str, str]:
    """The lines above the table of levels, by what they are about; "" for none."""
    origin = {"needs": found["needs"], "source": found["source"]}
    if found["missing"]:
        return {"is": found["about"], "not here": found["missing"], **origin}
    levels = ", ".join(str(level["level"]) for level in found["levels"])
    splits = ", ".join(f"{s} {'' if n is None else n}".strip() for s, n in found["splits"].items())
    drawn = " (drawn, as many as are asked for)" if None in found["splits"].values() else " problems"
    formats = ", ".join(f"{form} {share:.0%}" for form, share in found["formats"].items())
    gold = found["gold"]
    said = {True: "accepted by its verifier", False: "NOT accepted by its verifier", None: "undecided"}[gold["correct"]]
    reason = f": {gold['reason']}" if gold["reason"] else ""
    return {
        "is": found["about"],
        "levels": f"{levels}; {found['main_level']} where none is named" if len(found["levels"]) > 1 else levels,
        "splits": splits + drawn,
        "formats": f"{formats} of its solutions" if formats else "",
        "solution": (said if gold["given"] else "none") + reason,
        "verifier": found["verifier_version"],
        **origin,
    }


def show(name: str, count: int, level: int | None, split: str | None, *, as_json: bool) -> None:
    """Problems, with their ids, prompts and golds, and the verdict on each gold."""
    from offleash.cli.output import print_json
    from offleash.jobs import task_try

    task = task_try.opened(name)
    level, split = task_try.place(task, level, split)
    found = task_try.some(task, level, split, count)
    golds = [task_try.gold(task, each.problem) for each in found]
    if as_json:
        rows = [
            {**_problem(each), "prompt": each.problem.prompt, "answer": each.problem.answer, "gold": gold if verdict else None,
             "verdict": _verdict(verdict) if verdict else None, "reason": why}
            for each, (gold, verdict, why) in zip(found, golds, strict=True)
        ]  # fmt: skip
        print_json({"task": task.name, "problems": rows})
        return
    for each, (gold, verdict, why) in zip(found, golds, strict=True):
        typer.echo(f"problem {each.number} of level {level}, {split}; id {each.problem.id}")
        typer.echo(textwrap.indent(printable(each.problem.prompt), "    ", lambda line: True))
        solution = textwrap.indent(printable(gold).rstrip("\n"), "    ", lambda line: True)
        typer.echo(f"  solution ({_said(verdict)}):\n{solution}\n" if verdict else f"  no solution: {why}\n")
    if len(found) < count:
        typer.echo(f"level {level} of {split} has no more", err=True)


def judge(name: str, file: str, which: str, level: int | None, split: str | None, *, as_json: bool) -> None:
    """One line: the verdict on a completion and why. Exit code 1 where it is not right."""
    from offleash.cli.output import print_json
    from offleash.jobs import task_try

    text = _completion(file)
    task = task_try.opened(name)
    found = task_try.find(task, level, split, which)
    verdict = task_try.judged(task, found.problem, text)
    if as_json:
        print_json({"task": task.name, "problem": _problem(found), "verdict": _verdict(verdict)})
    else:
        about = found.problem
        typer.echo(f"{_said(verdict)}; problem {found.number} of level {about.level}, {about.split} ({about.id[:12]})")
    if verdict.correct is not True:
        raise typer.Exit(1)


def _completion(file: str) -> str:
    """A text as a model would have written it: an editor's mark at the start, and a last line end, are no part of it."""
    if file == "-":
        if sys.stdin.isatty():
            typer.echo("the completion, ended by Ctrl-D on a line of its own:", err=True)
        data = sys.stdin.buffer.read()
    elif Path(file).is_file():
        data = Path(file).read_bytes()
    else:
        raise InputError(f"--judge: no file {file}; give one with the completion, or - for standard input")
    try:
        return data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"--judge: {file} is no UTF-8 text ({error}); give one") from None


def _said(verdict: Verdict) -> str:
    """A verdict in one line."""
    parts = [RIGHT[verdict.correct] + (f": {verdict.reason}" if verdict.reason else "")]
    parts += [f"answer {verdict.answer}"] if verdict.answer else []
    parts += [f"format {verdict.format}"] if verdict.format else []
    parts += [f"reward {verdict.reward:g}"] if verdict.reward != float(verdict.correct is True) else []
    return printable(" ".join("; ".join(parts).split()))


def _problem(found: Numbered) -> dict[str, Any]:
    about = found.problem
    return {"number": found.number, "id": about.id, "level": about.level, "split": about.split}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {name: getattr(verdict, name) for name in Verdict.__slots__}


def _wrapped(head: str, words: list[str]) -> str:
    """The words in columns, below each other."""
    width = max(map(len, words)) + 2
    columns = max(1, WIDTH // width)
    height = math.ceil(len(words) / columns)
    lines = ["".join(word.ljust(width) for word in words[row::height]).rstrip() for row in range(height)]
    return "\n".join([head, *lines])


def printable(text: str) -> str:
    r"""A text of somebody else's for a terminal: what is no sign, line end or tab is written as an escape.

    >>> printable("a\x1b[31m")
    'a\\x1b[31m'
    """
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape").decode() for sign in text
    )
