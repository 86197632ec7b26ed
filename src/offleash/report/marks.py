"""What happened to a run between two steps, as upright lines on its charts: resets, new stages, what the guard did."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from offleash.report.looks import Look

Json = Mapping[str, Any]
KINDS = ("reset", "stage", "guard")
NAMED = 4
"""Charts are small: with more marks than this the lines stand without names, which the table of events has."""


def marks(runs: Mapping[str, Json], look: Mapping[str, Look]) -> dict[str, Any]:
    """The parts of a plotly layout that mark events at their steps; empty where there are none."""
    found = {(label, step): names for label, run in runs.items() for step, names in _at(run).items()}
    if not found:
        return {}
    shapes = [_line(step, look[label]) for label, step in found]
    if len(found) > NAMED:
        return {"shapes": shapes}
    return {"shapes": shapes, "annotations": [_name(step, ", ".join(names)) for (_, step), names in found.items()]}


def _at(run: Json) -> dict[int, list[str]]:
    """By step, what kinds of things happened there."""
    found: dict[int, dict[str, None]] = {}
    for event in run.get("events", ()):
        step, kind = event.get("step"), event.get("kind")
        if isinstance(step, int) and kind in KINDS and event.get("do") != "warn":
            found.setdefault(step, {})[str(kind)] = None  # what it did is in the table of events
    return {step: list(names) for step, names in sorted(found.items())}


def _line(step: int, look: Look) -> dict[str, Any]:
    at = {"xref": "x", "x0": step, "x1": step, "yref": "paper", "y0": 0, "y1": 1}
    return {
        "type": "line",
        **at,
        "layer": "below",
        "line": {"color": f"{look.colour}/0.55", "width": 1.25, "dash": "dot"},
    }


def _name(step: int, text: str) -> dict[str, Any]:
    place = {"x": step, "y": 1, "yref": "paper", "xanchor": "left", "yanchor": "top", "xshift": 3}
    return {
        **place,
        "text": escape(text),
        "showarrow": False,
        "textangle": 90,
        "font": {"size": 10, "color": "var(--soft)"},
    }
