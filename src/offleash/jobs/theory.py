"""`offleash theory`: try the statements of a study, draw its figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.jobs.display import progress, say
from offleash.jobs.recipe import parse_recipe
from offleash.jobs.theory_settings import check, describe, short_of
from offleash.theory import STUDIES, load

Json = dict[str, Any]


def run(
    name: str | None,
    settings: Sequence[str] = (),
    *,
    steps: int | None = None,
    seeds: int | None = None,
    out: Path | None = None,
    as_json: bool = False,
) -> Json:
    """Try one study, or list them all; returns the document of `--json`.

    Args:
        name: a key of `theory.STUDIES`; None for the list.
        settings: changes such as "rate=0.05" or "start=[0.3,0.02,0.68]", in YAML.
        steps: training steps, where the study trains.
        seeds: streams of luck.
        out: where to write the figure, an SVG.
        as_json: print the document.

    Raises:
        InputError: an unknown name or setting, a value that cannot be used, a figure of another format.
    """
    if name is None:
        if out is not None:
            raise InputError(f"--out: a figure is that of one study; name it: {', '.join(STUDIES)}")
        return _list(as_json)
    module = load(name)
    chosen = [
        *settings,
        *(f"{key}={value}" for key, value in (("steps", steps), ("seeds", seeds)) if value is not None),
    ]
    resolved = parse_recipe("{}", module.Settings, chosen, source=f"theory {name}")
    check(resolved)
    if out is not None and out.suffix.lower() != ".svg":
        raise InputError(f"--out: {str(out)!r} is no .svg file; the figure is drawn as SVG")
    with progress(f"theory {name}", module.UNITS) as report:
        study = module.study(resolved, lambda done: report(done))
    document: Json = study.to_json() | {"short_of": short_of(resolved)}
    if out is not None:
        from offleash.jobs.theory_svg import draw

        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(draw(study.figure), encoding="utf-8")
        say(f"figure in {out}")
    print(json.dumps(document, indent=2, allow_nan=False) if as_json else text_of(document))
    return document


def _list(as_json: bool) -> Json:
    document: Json = {"theories": [{"name": name, "question": question} for name, question in STUDIES.items()]}
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        width = max(map(len, STUDIES))
        print("\n".join(f"{name.ljust(width)}  {question}" for name, question in STUDIES.items()))
    return document


def describe_all(name: str | None) -> str:
    """The settings of one study, or of all."""
    return "\n\n".join(describe(one) for one in ((name,) if name else STUDIES))


def text_of(document: Json) -> str:
    """Each statement for people: whether it held, its numbers, where it fails."""
    short = document.get("short_of", {})
    blocks = []
    for s in document["statements"]:
        lines = [f"{_verdict(s['held'], short):<9} {s['name']}: {s['claim']}"]
        lines += [f"          {key}: {_number(value)}" for key, value in s["numbers"].items()]
        lines.append(f"          source: {s['source']}")
        if s["fails"]:
            lines.append(f"          where it ends: {s['fails']}")
        blocks.append("\n".join(lines))
    verdicts = [_verdict(s["held"], short) for s in document["statements"]]
    total = f"{verdicts.count('held')} of {len(verdicts)} statements held"
    if "short" in verdicts:
        full = ", ".join(f"{name}={value}" for name, value in short.items())
        total += f"; short: did not hold, but with less than the study's {full} that says little"
    if "untried" in verdicts:
        total += "; untried: these settings are not those the statement speaks of"
    return "\n\n".join([*blocks, total])


def _verdict(held: bool | None, short: Json) -> str:
    if held is None:
        return "untried"
    if held:
        return "held"
    return "short" if short else "FAILED"


def _number(value: Any) -> str:
    if value is None:
        return "never, or undefined"
    return str(value) if isinstance(value, bool | int) else f"{value:.4g}"
