"""The study as a table: rows for the page, for the terminal and for summary.json, all from the same facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from offleash.report import digits, sentences
from offleash.report.facts import study_facts

Json = Mapping[str, Any]

CHANCE = "chance"


@dataclass(frozen=True)
class Row:
    """One arm on one set of problems. Estimates are {value, low, high, ...} with None where undefined.

    `missing` says why there are no numbers; `verdict` is None for the base, for chance, and where nothing was compared.
    """

    stratum: str
    arm: str
    passes: dict[int, Json] = field(default_factory=dict)
    support: Json | None = None
    token_entropy: Json | None = None
    verdict: str | None = None
    sentence: str = ""
    missing: str = ""
    is_chance: bool = False


def study_table(folder: str | Path) -> list[Row]:
    """The rows of a study: for each set of problems the base, the other arms, and the chance baseline.

    Raises:
        InputError: no study there, or its store cannot be read.
    """
    return rows(study_facts(Path(folder)))


def rows(facts: Json) -> list[Row]:
    """`study_table` from facts at hand."""
    out: list[Row] = []
    for stratum in facts["strata"]:
        base = stratum["arms"][facts["baseline"]]
        for label, arm in stratum["arms"].items():
            out.append(_row(facts, stratum, label, arm, base))
        chance = {
            k: stratum["chance"]["pass_at_k"][str(k)] for k in facts["ks"] if str(k) in stratum["chance"]["pass_at_k"]
        }
        why = stratum["chance"]["reason"]
        out.append(Row(stratum["name"], CHANCE, passes=chance, missing="" if chance else why, is_chance=True))
    return out


def _row(facts: Json, stratum: Json, label: str, arm: Json, base: Json) -> Row:
    if not arm["pass_at_k"]:
        return Row(stratum["name"], label, missing=arm["reason"])
    found = arm["comparison"]
    support = None
    if found is not None:
        kept, lost, gained = (found["support"][name] for name in ("preserved", "shrunk", "expanded"))
        support = {"kept": kept, "lost": lost, "gained": gained}
    return Row(
        stratum["name"],
        label,
        passes={k: arm["pass_at_k"][str(k)] for k in facts["ks"]},
        support=support,
        token_entropy=arm["token_entropy"],
        verdict=found["verdict"] if found else None,
        sentence="" if label == facts["baseline"] else sentences.verdict(arm, base, facts["baseline"]),
    )


def summary(folder: str | Path) -> dict[str, Any]:
    """The table as JSON values, for summary.json: the numbers are those of report.json.

    Keys: title, baseline, ks, strata [{name, problems, arms {label: {pass_at_k {k: {value, low, high, n}}, kept, lost,
    gained, token_entropy {value, low, high, n}, verdict, because, missing}}, chance {k: value}}].
    """
    facts = study_facts(Path(folder))
    table = rows(facts)
    strata = []
    for stratum in facts["strata"]:
        own = [row for row in table if row.stratum == stratum["name"]]
        chance = own[-1]
        strata.append(
            {
                "name": stratum["name"],
                "problems": stratum["problem_count"],
                "arms": {row.arm: _summary(row) for row in own[:-1]},
                "chance": {str(k): e["value"] for k, e in chance.passes.items()},
            }
        )
    return {"title": facts["title"], "baseline": facts["baseline"], "ks": list(facts["ks"]), "strata": strata}


def _summary(row: Row) -> Json:
    def short(e: Json | None) -> Json | None:
        return None if e is None else {key: e[key] for key in ("value", "low", "high", "n", "reason")}

    return {
        "pass_at_k": {str(k): short(e) for k, e in row.passes.items()},
        **(row.support or {"kept": None, "lost": None, "gained": None}),
        "token_entropy": short(row.token_entropy),
        "verdict": row.verdict,
        "because": row.sentence,
        "missing": row.missing,
    }


def render_text(table: Sequence[Row], width: int = 120) -> str:
    """The rows as plain text for a terminal: each number with its 95% interval below, then the verdicts."""
    from rich.console import Console

    out = StringIO()
    console = Console(file=out, width=width, force_terminal=False, color_system=None, highlight=False, emoji=False)
    for name in dict.fromkeys(row.stratum for row in table):
        own = [row for row in table if row.stratum == name]
        console.print(_rich(name, own))
        for row in own:
            if row.sentence:
                console.print(f"{row.arm}: {row.sentence}", markup=False, soft_wrap=False)
        console.print()
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n") + "\n"


def _rich(name: str, own: Sequence[Row]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    ks = sorted({k for row in own for k in row.passes})
    table = Table(title=Text(name), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in (*(f"pass@{k}" for k in ks), "kept/lost/gained", "token entropy"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in own:
        if row.missing:
            table.add_row(Text(row.arm), *["–"] * (len(ks) + 2))
            continue
        support = ""
        if row.support is not None:
            support = "/".join(sentences.shown_count(row.support[key]) for key in ("kept", "lost", "gained"))
        cells = [_cell(row.passes.get(k)) for k in ks]
        table.add_row(Text(row.arm), *cells, support, _cell(row.token_entropy))
    for row in own:
        if row.missing:
            table.caption = Text("\n".join(f"{r.arm}: {r.missing}" for r in own if r.missing))
            table.caption_justify = "left"
    return table


def _cell(e: Json | None) -> str:
    if e is None:
        return ""
    value = digits.number(e["value"], e["low"], e["high"])
    ends = digits.interval(e["low"], e["high"])
    return f"{value}\n{ends}" if ends else value
