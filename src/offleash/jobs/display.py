"""Progress on the terminal: a live line where there is a terminal, an occasional plain line where there is none."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0


class Report(Protocol):
    """Called with how much is done (absolute) and a short text of what is seen."""

    def __call__(self, done: int, text: str = "") -> None:
        """Show it."""
        ...


def console() -> Console:
    """People's text goes to stderr, so that stdout holds results only."""
    return Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """A plain line on stderr; a console would fold it at 80 columns where there is no terminal."""
    print(line.rstrip(), file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, total: int) -> Iterator[Report]:
    """A progress display of `total` units."""
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(title, total=total, seen="")
            yield lambda done, text="": bar.update(task, completed=done, seen=text)
    else:
        yield _Plain(title, total)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[seen]}"),
        console=console(),
    )


class _Plain:
    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, total
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, text: str = "") -> None:
        now = time.monotonic()
        if now - self.last < PLAIN_SECONDS and done < self.total:
            return
        self.last = now
        left = (now - self.start) / max(1, done) * (self.total - done)
        print(f"{self.title} {done}/{self.total}  {left:.0f} s left  {text}", file=sys.stderr, flush=True)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, right-aligned, two spaces apart."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in (header, *rows)]


def step_text(metrics: dict[str, float], timings: dict[str, float]) -> str:
    """What the training display shows of a step."""
    if math.isnan(metrics["reward"]):  # a supervised objective draws nothing
        return f"loss {metrics['loss']:.4f}"
    return (
        f"reward {metrics['reward']:.3f}  entropy {metrics['token_entropy']:.3f}  "
        f"length {metrics['completion_length']:.1f}  {timings['tokens_per_s']:.0f} tok/s"
    )
