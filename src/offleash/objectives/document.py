"""A row as a document: what `offleash objectives --json` prints and docs/objectives.md is made of."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from offleash.objectives.checks import CHECKS, applicable
from offleash.objectives.preset import Preset, build


def describe(preset: Preset) -> dict[str, Any]:
    """Everything known of a row in JSON's types.

    `proven` lists the contract checks it passes, name to sentence; `settings` every setting with its default; `needs`
    the TokenBatch fields it reads beyond logprobs, mask and advantages.
    """
    row = asdict(preset)
    for key in ("advantage", "surrogate", "reduction", "rows"):
        del row[key]
    row["settings"] = preset.defaults()
    row["deviations"] = list(preset.deviations)
    row["needs"] = sorted(build(preset).needs)
    row["proven"] = {name: CHECKS[name].says for name in applicable(preset)}
    return row
