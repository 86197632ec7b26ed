"""`offleash theory`: try the statements of a study, draw its figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.jobs.display import progress, say
from offleash.jobs.recipe import parse_recipe
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
        return _list(as_json)
    module = load(name)
    chosen = [
        *settings,
        *(f"{key}={value}" for key, value in (("steps", steps), ("seeds", seeds)) if value is not None),
    ]
    resolved = parse_recipe("{}", module.Settings, chosen, source=f"theory {name}")
    _check(resolved)
    if out is not None and out.suffix.lower() != ".svg":
        raise InputError(f"--out: {str(out)!r} is no .svg file; the figure is drawn as SVG")
    with progress(f"theory {name}", module.UNITS) as report:
        study = module.study(resolved, lambda done: report(done))
    document: Json = study.to_json()
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


def _check(settings: Any) -> None:
    """Counts are at least 1; the rest is for the study to refuse."""
    for f in fields(settings):
        value = getattr(settings, f.name)
        if f.name in ("steps", "seeds", "patience", "coarse_seeds") and value < 1:
            raise InputError(f"{f.name}: is {value}; give a whole number of at least 1")
        if f.name in ("group", "groups") and min(value if isinstance(value, tuple) else (value,)) < 2:
            raise InputError(f"{f.name}: is {value}; groups need at least 2 rollouts")
        if f.name == "rate" and not value > 0:
            raise InputError(f"rate: is {value}; give a learning rate above 0")


def text_of(document: Json) -> str:
    """Each statement for people: whether it held, its numbers, where it fails."""
    blocks = []
    for s in document["statements"]:
        lines = [f"{'held' if s['held'] else 'FAILED':<7} {s['name']}: {s['claim']}"]
        lines += [f"        {key}: {_number(value)}" for key, value in s["numbers"].items()]
        lines.append(f"        source: {s['source']}")
        if s["fails"]:
            lines.append(f"        where it ends: {s['fails']}")
        blocks.append("\n".join(lines))
    held = sum(s["held"] for s in document["statements"])
    return "\n\n".join([*blocks, f"{held} of {len(document['statements'])} statements held"])


def _number(value: Any) -> str:
    if value is None:
        return "never, or undefined"
    return str(value) if isinstance(value, bool | int) else f"{value:.4g}"
