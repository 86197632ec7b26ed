"""The problems and results that every peer's log here holds: what the make_*.py scripts feed in and the tests expect out.

Four questions, four samples each, two models. The counts are chosen so that each class of problem occurs: gained, lost, kept, and
solved by none.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
QUESTIONS = ("What is 2 + 3?", "What is 4 * 5?", "What is 9 - 4?", "What is 7 + 8?")
ANSWERS = ("5", "20", "5", "15")
N = 4
CORRECT = {"base": (1, 4, 0, 2), "tuned": (3, 4, 2, 0)}
EARLIER = {"base": (0, 2, 0, 1), "tuned": (1, 2, 0, 1)}
"""At the step before, where a peer logs steps."""
WRONG = "I do not know."


def outputs(correct: tuple[int, ...]) -> list[tuple[int, str]]:
    """(problem, text) of every sample; the first ones of a problem are right."""
    return [(p, ANSWERS[p] if i < c else WRONG) for p, c in enumerate(correct) for i in range(N)]


def record(peer: str, *packages: str) -> None:
    """Note the versions that wrote a peer's files."""
    path = HERE / "versions.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[peer] = {name: metadata.version(name) for name in packages}
    path.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")
