"""A figure of the theory room as an SVG: panels of lines or cells, in the report's colours, without a library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

from offleash.theory.statement import Figure, Line, Map, Panel

# The report's colours of arms on a light page (report/templates/style.css), and two more.
COLOURS = ("#9aa0a8", "#2b5bd1", "#da5f01", "#1a9e8a", "#8b2868", "#614900", "#1f2328")
INK, SOFT, GRID = "#1f2328", "#5b636d", "#e3e6ea"
LEVELS = 20
SIZES = {1: (620, 300), 2: (430, 260), 3: (310, 220), 4: (240, 170)}
LEFT, RIGHT, TOP, BOTTOM, LINE = 58, 20, 30, 40, 16
FONT = 11


@dataclass(frozen=True)
class Axis:
    """A scale from data to pixels, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        """Pixel of a value, held within the axis."""
        a, b, x = (math.log10(max(v, 1e-300)) if self.log else v for v in (self.low, self.high, value))
        share = 0.5 if b == a else min(max((x - a) / (b - a), 0.0), 1.0)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Values and their labels."""
        if not self.log:
            return [(value, f"{value:g}") for value in _even(self.low, self.high)]
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        room = max(1, int(abs(self.end - self.start) // 40))
        every = max(1, math.ceil((last - first + 1) / room))
        return [(10.0**e, _power(e)) for e in range(first, last + 1, every)]


def draw(figure: Figure) -> str:
    """The SVG document."""
    width, height = SIZES[figure.columns]
    rows = [figure.panels[i : i + figure.columns] for i in range(0, len(figure.panels), figure.columns)]
    total = figure.columns * width
    parts = [_text(12, 24, figure.title, 15, bold=True)]
    y = 34.0
    for line in _wrapped(figure.caption, total - 24, FONT):
        y += LINE
        parts.append(_text(12, y - 4, line, FONT, SOFT))
    if any(isinstance(p, Map) for p in figure.panels):
        parts.append(_scale(total - 212, 13))
    y += 6
    for row in rows:
        legends = [_legend(panel, width - LEFT - RIGHT) for panel in row]
        deepest = max(len(legend) for legend in legends)
        for i, (panel, legend) in enumerate(zip(row, legends, strict=True)):
            parts.append(_panel(panel, i * width, y, width, height, legend))
        y += height + LINE * deepest + 6
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {y + 6:.0f}" width="{total}" height="{y + 6:.0f}" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">\n'
        f"<title>{escape(figure.title)}</title>\n"
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _panel(panel: Panel | Map, x: float, y: float, width: float, height: float, legend: list[list[Line]]) -> str:
    x0, x1, y0, y1 = x + LEFT, x + width - RIGHT, y + TOP, y + height - BOTTOM
    across, up = _axes(panel, x0, x1, y0, y1)
    body = _cells(panel, across, up) if isinstance(panel, Map) else _lines(panel, across, up)
    frame = [f'<path d="M{x0:.1f} {y0:.1f}V{y1:.1f}H{x1:.1f}" fill="none" stroke="{SOFT}"/>']
    for value, label in across.ticks():
        frame.append(_text(across(value), y1 + 14, label, 10, SOFT, "middle"))
    for value, label in up.ticks():
        frame.append(_text(x0 - 6, up(value) + 3.5, label, 10, SOFT, "end"))
        if isinstance(panel, Panel):
            frame.append(f'<path d="M{x0:.1f} {up(value):.1f}H{x1:.1f}" stroke="{GRID}"/>')
    title = _text(x0, y + 20, panel.title, 12, INK, bold=True)
    labels = _text((x0 + x1) / 2, y1 + 30, panel.x_label, FONT, SOFT, "middle")
    if panel.y_label:
        middle = (y0 + y1) / 2
        labels += (
            f'<text transform="translate({x + 14:.1f} {middle:.1f}) rotate(-90)" text-anchor="middle" '
            f'font-size="{FONT}" fill="{SOFT}">{escape(panel.y_label)}</text>'
        )
    return "\n".join([title, *frame, body, labels, _keys(legend, x0, y1 + 44)])


def _axes(panel: Panel | Map, x0: float, x1: float, y0: float, y1: float) -> tuple[Axis, Axis]:
    if isinstance(panel, Map):
        return Axis(panel.x[0], panel.x[-1], x0, x1, panel.x_log), Axis(panel.y[0], panel.y[-1], y1, y0, False)
    xs = [v for line in panel.lines for v in line.x if math.isfinite(v)]
    ys = [v for line in panel.lines for v in line.y if math.isfinite(v) and not (panel.y_log and v <= 0)]
    low, high = panel.y_range or (min(ys), max(ys))
    if not panel.y_range:
        if panel.y_log:
            low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
        else:
            low, high = min(low, 0.0) if low < 0.3 * high else low, high + 0.05 * (high - low)
    return Axis(min(xs), max(xs), x0, x1, panel.x_log), Axis(low, high, y1, y0, panel.y_log)


def _lines(panel: Panel, across: Axis, up: Axis) -> str:
    drawn = [_line(line, across, up) for line in panel.lines]
    drawn += [
        f'<path d="M{across.start:.1f} {up(v):.1f}H{across.end:.1f}" stroke="{INK}" stroke-dasharray="2 3"/>'
        for v in panel.reference
    ]
    return "\n".join(drawn)


def _line(line: Line, across: Axis, up: Axis) -> str:
    points = [(across(a), up(b)) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    colour = _colour(line)
    if line.dots and line.dashed:
        arms = "".join(f"M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0 -7l-7 7" for x, y in points)
        return f'<path d="{arms}" stroke="{colour}" stroke-width="1.6" fill="none"/>'
    if line.dots:
        return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>' for x, y in points)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    width = 0.7 if line.colour < 0 else 1.8
    dash = ' stroke-dasharray="5 3"' if line.dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'


def _cells(panel: Map, across: Axis, up: Axis) -> str:
    """Rectangles, equal neighbours of a row in one."""
    columns, rows = len(panel.x), len(panel.y)
    wide, tall = (across.end - across.start) / columns, (up.start - up.end) / rows
    drawn = []
    for j, row in enumerate(panel.values):
        y = up.start - (j + 1) * tall
        i = 0
        while i < columns:
            level = _level(row[i])
            run = i
            while run < columns and _level(row[run]) == level:
                run += 1
            if level is not None:
                drawn.append(
                    f'<rect x="{across.start + i * wide:.1f}" y="{y:.1f}" width="{(run - i) * wide + 0.3:.1f}" '
                    f'height="{tall + 0.3:.1f}" fill="{_shade(level / LEVELS)}"/>'
                )
            i = run
    return "\n".join(drawn)


def _level(value: float | None) -> int | None:
    return None if value is None or not math.isfinite(value) else round(value * LEVELS)


def _shade(share: float) -> str:
    """From a light grey to the first colour, and on to a dark blue: ordered in lightness, so that it prints."""
    stops = ((0.0, (243, 244, 246)), (0.5, (122, 160, 226)), (1.0, (27, 58, 138)))
    for (a, low), (b, high) in pairwise(stops):
        if share <= b:
            part = (share - a) / (b - a)
            return "#" + "".join(f"{round(x + part * (y - x)):02x}" for x, y in zip(low, high, strict=True))
    return "#1b3a8a"


def _scale(x: float, y: float) -> str:
    """The key of the shades."""
    steps = "".join(
        f'<rect x="{x + 70 + 5 * i:.1f}" y="{y}" width="5.3" height="11" fill="{_shade(i / LEVELS)}"/>'
        for i in range(LEVELS + 1)
    )
    return steps + _text(x + 64, y + 10, "found in none", 10, SOFT, "end") + _text(x + 180, y + 10, "all", 10, SOFT)


def _legend(panel: Panel | Map, room: float) -> list[list[Line]]:
    """The labelled lines in rows that fit."""
    rows: list[list[Line]] = []
    used = room + 1
    for line in panel.lines if isinstance(panel, Panel) else ():
        if not line.label:
            continue
        needed = _length(line.label, 10) + 32
        if used + needed > room:
            rows.append([])
            used = 0.0
        rows[-1].append(line)
        used += needed
    return rows


def _keys(rows: list[list[Line]], x0: float, y: float) -> str:
    drawn = []
    for i, row in enumerate(rows):
        x = x0
        for line in row:
            sample = Line("", (0.0, 1.0), (0.0, 0.0), line.colour, line.dashed, line.dots)
            middle = y + i * LINE
            drawn.append(_line(sample, Axis(0, 1, x, x + 16, False), Axis(0, 1, middle - 3.5, middle - 20, False)))
            drawn.append(_text(x + 21, middle, line.label, 10, INK))
            x += _length(line.label, 10) + 32
    return "".join(drawn)


def _colour(line: Line) -> str:
    return COLOURS[0] if line.colour < 0 else COLOURS[1 + (line.colour - 1) % (len(COLOURS) - 1)]


def _text(
    x: float, y: float, text: str, size: float, fill: str = INK, anchor: str = "start", bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _wrapped(text: str, room: float, size: float) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and _length(f"{lines[-1]} {word}", size) > room:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines if text else []


def _length(text: str, size: float) -> float:
    """About how wide a text is, in pixels."""
    return 0.56 * size * len(text)


def _even(low: float, high: float, about: int = 5) -> Sequence[float]:
    """Round numbers within a range."""
    raw = (high - low) / about or 1.0
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _power(exponent: int) -> str:
    if -2 <= exponent <= 3:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
