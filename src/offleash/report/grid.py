"""The grid of problems: one row a problem, one cell an arm, coloured by how often the arm solved it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

SHADES = 9
ROWS_A_BLOCK = 25
CERTAIN = 0.95
"""Confidence (1 - false discovery rate) from which a lost or gained problem gets a full mark."""


def shade(c: int, n: int, most: int) -> int:
    """The colour step of c correct of n: 0 for none, 1 to 9 evenly in log(c / n) from 1 / most to 1.

    >>> [shade(c, 256, 256) for c in (0, 1, 16, 128, 256)]
    [0, 1, 5, 8, 9]
    """
    if c == 0:
        return 0
    if most <= 1:
        return SHADES
    place = 1 + math.log(c / n) / math.log(most)
    return 1 + round((SHADES - 1) * min(1.0, max(0.0, place)))


def blocks(problems: Sequence[Json], labels: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Rows for the page, cut into short blocks that stand side by side where there is room."""
    most = max((counts["n"] for p in problems for counts in p["arms"].values()), default=1)
    rows = [_row(problem, labels, most) for problem in problems]
    count = 6 * math.ceil(len(rows) / (6 * ROWS_A_BLOCK)) if len(rows) >= 48 else math.ceil(len(rows) / ROWS_A_BLOCK)
    height = math.ceil(len(rows) / max(1, count))
    return [rows[i : i + height] for i in range(0, len(rows), max(1, height))]


def width(labels: Sequence[str]) -> float:
    """Width of a block in rem: the prompt, and a cell for each arm."""
    return max(20.0, 9.4 + 2.9 * len(labels))


def _row(problem: Json, labels: Sequence[str], most: int) -> dict[str, Any]:
    return {"prompt": problem["prompt"].strip(), "cells": [_cell(problem, label, most) for label in labels]}


def _cell(problem: Json, label: str, most: int) -> dict[str, str]:
    counts = problem["arms"].get(label)
    prompt = problem["prompt"].strip()
    short = prompt if len(prompt) <= 300 else prompt[:300] + "…"
    if counts is None or counts["n"] == 0:
        return {"css": "none", "text": "·", "mark": "", "tip": f"{short}\n{label}: not measured"}
    mark = {"expanded": "gained", "shrunk": "lost"}.get(counts["class"], "")
    tip = f"{short}\n{label}: {counts['c']} of {counts['n']} correct"
    sure = counts["confidence"] is not None and counts["confidence"] >= CERTAIN
    if mark:
        tip += f", {mark}" if sure else f", {mark}, which may be luck"
    return {
        "css": f"q{shade(counts['c'], counts['n'], most)}" + (" gone" if mark == "lost" else ""),
        "text": str(counts["c"]),
        "mark": mark and (mark if sure else f"{mark} faint"),
        "tip": tip,
    }
