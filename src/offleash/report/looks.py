"""How an arm looks on every chart: one colour, one marker and one dash, so that no chart needs colour alone to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = 6
MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "x")


@dataclass(frozen=True)
class Look:
    """How an arm looks everywhere. The base (index 0) has the colour of the text."""

    label: str
    index: int

    @property
    def slot(self) -> int:
        """Which of the page's arm colours; arms past the sixth share colours and differ by dash and marker."""
        return self.index if self.index < COLOURS else 1 + (self.index - 1) % (COLOURS - 1)

    @property
    def colour(self) -> str:
        """A CSS variable."""
        return f"var(--arm-{self.slot})"

    @property
    def dash(self) -> str:
        """Plotly's name of the dash."""
        return "solid" if self.index < COLOURS else "dash"

    @property
    def marker(self) -> str:
        """Plotly's name of the marker."""
        return MARKERS[(self.index + self.index // COLOURS) % len(MARKERS)]


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """The look of each arm, by its place in the study."""
    return {label: Look(label, index) for index, label in enumerate(labels)}
