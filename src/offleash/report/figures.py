"""The charts as plotly figure descriptions: plain dicts made from the report's facts, drawn by templates/page.js.

Colours are CSS variables ("var(--arm-1)", with an opacity "var(--arm-1)/0.15"), resolved in the reader's light or dark page.
An arm has one colour, one marker and one dash on every chart, so that no chart needs colour alone to be read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from offleash.report.looks import MARKERS, Look
from offleash.report.marks import marks

Figure = dict[str, Any]
Json = Mapping[str, Any]

SMOOTHING = 9
STEP_AXIS = {"title": {"text": "step"}, "unifiedhovertitle": {"text": "step %{x}"}}


def pass_at_k(stratum: Json, look: Mapping[str, Look]) -> Figure | None:
    """pass@k over k with its bands, and the chance baseline."""
    data: list[dict[str, Any]] = []
    ks: set[int] = set()
    for label, arm in stratum["arms"].items():
        curve = _defined(arm["pass_at_k"])
        ks |= {k for k, _ in curve}
        data += _banded(curve, look[label], "%{y:.3f}")
    if not data:
        return None
    chance = [(k, e["value"]) for k, e in _defined(stratum["chance"]["pass_at_k"])]
    chance = [(k, v) for k, v in chance if k in ks]
    if chance:
        data.append(_chance(chance))
    layout = {
        "xaxis": _k_axis(ks),
        "yaxis": {"title": {"text": "pass@k"}, "range": [0, 1.02]},
        "hovermode": "x unified",
    }
    return {"data": data, "layout": layout}


def difference(stratum: Json, look: Mapping[str, Look]) -> Figure | None:
    """Each arm's pass@k minus the base's, with the band that holds for all k at once."""
    data: list[dict[str, Any]] = []
    ks: set[int] = set()
    for label, arm in stratum["arms"].items():
        if arm["comparison"] is None:
            continue
        curve = _defined(arm["comparison"]["difference"])
        ks |= {k for k, _ in curve}
        data += _banded(curve, look[label], "%{y:+.3f}")
    if not data:
        return None
    zero = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": 0,
        "y1": 0,
        "line": {"color": look_zero(), "width": 1.5},
    }
    layout = {
        "xaxis": _k_axis(ks),
        "yaxis": {"title": {"text": "pass@k minus the base's"}, "tickformat": "+.2~f"},
        "hovermode": "x unified",
        "shapes": [{**zero, "layer": "below"}],
    }
    return {"data": data, "layout": layout}


def look_zero() -> str:
    """The zero line stands for the base, and has its colour."""
    return "var(--arm-0)"


def frontier(facts: Json, look: Mapping[str, Look]) -> Figure | None:
    """pass@K against pass@1: one path an arm, from the base through its checkpoints."""
    data: list[dict[str, Any]] = []
    for label, points in facts["arms"].items():
        if not points:
            continue
        own, is_base = look[label], label == facts["baseline"]
        path = points if is_base else facts["arms"].get(facts["baseline"], []) + points
        data.append(_path(path, own, is_base))
    if not data:
        return None
    layout = {
        "xaxis": {"title": {"text": "pass@1"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": f"pass@{facts['k']}"}},
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def _path(points: Sequence[Json], own: Look, is_base: bool) -> dict[str, Any]:
    x, y = [p["pass_at_1"] for p in points], [p["pass_at_k"] for p in points]
    last = len(points) - 1
    names = [own.label if p["step"] is None else f"{own.label}, step {p['step']}" for p in points]
    if not is_base:
        names[0] = "base"
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(own.label),
        "meta": {"arm": own.label},
        "x": [e["value"] for e in x],
        "y": [e["value"] for e in y],
        "error_x": _errors(x, own, skip_first=not is_base),
        "error_y": _errors(y, own, skip_first=not is_base),
        "line": {"color": own.colour, "width": 2, "dash": own.dash},
        "marker": {
            "symbol": own.marker,
            "color": own.colour,
            "size": [11 if i == last else 0 if i == 0 and not is_base else 6 for i in range(len(points))],
            "line": {"color": "var(--surface)", "width": 1},
        },
        "hovertext": [escape(name) for name in names],
        "hovertemplate": "%{hovertext}<br>pass@1 %{x:.3f}<br>%{yaxis.title.text} %{y:.3f}<extra></extra>",
    }


def _errors(estimates: Sequence[Json], own: Look, *, skip_first: bool = False) -> dict[str, Any]:
    """Error bars; the first point of an arm's path is the base, which draws its own."""

    def reach(e: Json, end: str) -> float:
        hidden = e[end] is None or (skip_first and e is estimates[0])
        return 0.0 if hidden else abs(e[end] - e["value"])

    return {
        "type": "data",
        "symmetric": False,
        "array": [reach(e, "high") for e in estimates],
        "arrayminus": [reach(e, "low") for e in estimates],
        "color": own.colour + "/0.45",
        "thickness": 1,
        "width": 0,
    }


def training(metric: str, title: str, runs: Mapping[str, Json], look: Mapping[str, Look]) -> Figure | None:
    """One metric over steps, all arms overlaid: every step thin, a running mean on top."""
    data: list[dict[str, Any]] = []
    for label, run in runs.items():
        steps, values = run["step"], run["metrics"].get(metric)
        if values is None or all(v is None for v in values):
            continue
        own = look[label]
        shared = {"type": "scatter", "mode": "lines", "x": steps, "meta": {"arm": label}, "name": escape(label)}
        long = len(values) >= 3 * SMOOTHING
        if long:
            thin = {"color": own.colour + "/0.3", "width": 1}
            data.append({**shared, "y": values, "line": thin, "hoverinfo": "skip"})
        thick = {"color": own.colour, "width": 2, "dash": own.dash}
        smooth = running_mean(values, SMOOTHING) if long else list(values)
        data.append({**shared, "y": smooth, "line": thick, "hovertemplate": "%{y:.4~g}"})
    if not data:
        return None
    yaxis: dict[str, Any] = {"title": {"text": title}}
    seen = {v for trace in data for v in trace["y"] if v is not None}
    if len(seen) == 1 and seen != {0.0}:  # plotly centres a constant on a range that makes a small one look like 0
        (value,) = seen
        yaxis["range"] = [min(0.0, 2 * value), max(0.0, 2 * value)]
    layout = {"xaxis": STEP_AXIS, "yaxis": yaxis, "hovermode": "x unified", **marks(runs, look)}
    return {"data": data, "layout": layout}


def running_mean(values: Sequence[float | None], window: int) -> list[float | None]:
    """Mean over the `window` values centred on each place (fewer at the ends), undefined values left out.

    >>> running_mean([1.0, 2.0, 6.0], 3)
    [1.5, 3.0, 4.0]
    """
    half = window // 2
    means: list[float | None] = []
    for i in range(len(values)):
        near = [v for v in values[max(0, i - half) : i + half + 1] if v is not None]
        means.append(math.fsum(near) / len(near) if near else None)
    return means


def probes(points: Sequence[Json], look: Look, events: Sequence[Json] = ()) -> Figure | None:
    """pass@k over training steps, as the run's own probes measured it: one line a k, larger k stronger; events are marked."""
    ks = sorted({int(k) for point in points for k in point["pass_at_k"]})
    data, names = [], []
    for place, k in enumerate(ks):
        at = [p for p in points if (p["pass_at_k"].get(str(k)) or {}).get("value") is not None]
        opacity = 0.35 + 0.65 * place / max(1, len(ks) - 1)
        own = [p["pass_at_k"][str(k)] for p in at]
        if own:
            names.append(_name_at_end(f"pass@{k}", at[-1]["step"], own[-1]["value"]))
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"pass@{k}",
                "x": [p["step"] for p in at],
                "y": [e["value"] for e in own],
                "error_y": _errors([{"low": None, "high": None, **e} for e in own], look),
                "line": {"color": f"{look.colour}/{opacity:.2f}", "width": 2},
                "marker": {"symbol": MARKERS[place % len(MARKERS)], "size": 7, "color": f"{look.colour}/{opacity:.2f}"},
                "hovertemplate": "%{y:.3f}",
            }
        )
    if not data:
        return None
    layout = {
        "xaxis": {**STEP_AXIS, "range": _room_for_names([p["step"] for p in points])},
        "yaxis": {"title": {"text": "pass@k on probe problems"}, "rangemode": "tozero"},
        "hovermode": "x unified",
        **(marked := marks({look.label: {"events": events}}, {look.label: look})),
        "annotations": names + marked.get("annotations", []),
    }
    return {"data": data, "layout": layout}


def _name_at_end(name: str, x: float, y: float) -> dict[str, Any]:
    """A line's name beside its last point."""
    place = {"x": x, "y": y, "xanchor": "left", "yanchor": "middle", "xshift": 10}
    return {**place, "text": name, "showarrow": False, "font": {"size": 12, "color": "var(--soft)"}}


def _room_for_names(steps: Sequence[float]) -> list[float]:
    span = max(1.0, max(steps) - min(steps))
    return [min(steps) - 0.04 * span, max(steps) + 0.22 * span]


def _defined(curve: Mapping[str, Json]) -> list[tuple[int, Json]]:
    return sorted(((int(k), e) for k, e in curve.items() if e["value"] is not None), key=lambda pair: pair[0])


def _banded(curve: Sequence[tuple[int, Json]], own: Look, hover: str) -> list[dict[str, Any]]:
    """A line over k, and the polygon of its interval behind it."""
    if not curve:
        return []
    shared = {"type": "scatter", "name": escape(own.label), "meta": {"arm": own.label}, "legendgroup": own.label}
    line = {
        **shared,
        "mode": "lines+markers",
        "x": [k for k, _ in curve],
        "y": [e["value"] for _, e in curve],
        "customdata": [[e["low"], e["high"]] for _, e in curve],
        "line": {"color": own.colour, "width": 2.25, "dash": own.dash},
        "marker": {"symbol": own.marker, "size": 9 if "triangle" in own.marker else 7, "color": own.colour},
        "hovertemplate": hover + " (%{customdata[0]:.3f} to %{customdata[1]:.3f})",
    }
    edge = [(k, e["low"], e["high"]) for k, e in curve if e["low"] is not None and e["high"] is not None]
    band = {
        **shared,
        "mode": "lines",
        "x": [k for k, _, _ in edge] + [k for k, _, _ in reversed(edge)],
        "y": [low for _, low, _ in edge] + [high for _, _, high in reversed(edge)],
        "fill": "toself",
        "fillcolor": own.colour + "/0.13",
        "line": {"width": 0, "color": own.colour},
        "hoverinfo": "skip",
    }
    return [band, line] if edge else [line]


def _chance(points: Sequence[tuple[int, float]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "chance",
        "x": [k for k, _ in points],
        "y": [v for _, v in points],
        "line": {"color": "var(--chance)", "width": 2, "dash": "dot"},
        "hovertemplate": "%{y:.3f}",
    }


def _k_axis(ks: set[int]) -> dict[str, Any]:
    """A log axis that names the powers of two, and the largest k."""
    low, high = math.log10(min(ks)), math.log10(max(ks))
    room = max(0.02 * (high - low), 0.03)
    powers = sorted(k for k in ks if k & (k - 1) == 0)
    last = [max(ks)] if max(ks) >= 1.4 * (powers or [0])[-1] else []
    ticks = sorted({*powers, *last})
    return {
        "title": {"text": "k, completions tried (log scale)"},
        "type": "log",
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": [str(k) for k in ticks],
        "tickangle": 0,
        "range": [low - room, high + room],
        "hoverformat": ",d",
        "unifiedhovertitle": {"text": "k = %{x}"},
    }
