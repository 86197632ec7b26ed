"""Completions worth reading: a few problems, and of each arm its most frequent right and wrong texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from offleash.report.reading import Sample

Json = dict[str, Any]

RIGHT, WRONG = 2, 3
LONGEST = 2000
# Control characters become the visible pictures of them; direction overrides, which could make a text read as another one,
# are spelt out.
_CONTROLS: dict[int, int | str] = {
    **{i: 0x2400 + i for i in range(32) if chr(i) not in "\n\t"},
    127: 0x2421,
    **{i: f"\\u{i:04x}" for i in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}


def choose(problems: Sequence[Mapping[str, Any]], baseline: str) -> dict[str, str]:
    """Up to four problem ids, each with why it was chosen: the clearest loss, gain and improvement, and a typical one.

    Args:
        problems: the report's problem rows, ordered by the base's success rate.
        baseline: the label of the base.
    """
    full = [p for p in problems if baseline in p["arms"]]
    if not full:
        return {str(p["id"]): "" for p in problems[:3]}

    def rate(problem: Mapping[str, Any], label: str) -> float:
        own = problem["arms"][label]
        return float(own["c"] / own["n"])

    def classed(problem: Mapping[str, Any], name: str) -> list[str]:
        return [label for label, own in problem["arms"].items() if own["class"] == name]

    def lost(problem: Mapping[str, Any]) -> tuple[float, float]:
        return (rate(problem, baseline) if classed(problem, "shrunk") else 0.0, float(len(classed(problem, "shrunk"))))

    def gained(problem: Mapping[str, Any]) -> float:
        return max((rate(problem, label) for label in classed(problem, "expanded")), default=0.0)

    def raised(problem: Mapping[str, Any]) -> float:
        return max((rate(problem, label) - rate(problem, baseline) for label in problem["arms"]), default=0.0)

    picks: dict[str, str] = {}
    for score, why in ((lost, "lost"), (gained, "gained"), (raised, "raised most")):
        best = max(full, key=score)
        value = score(best)
        if (value[0] if isinstance(value, tuple) else value) > 0:
            picks.setdefault(str(best["id"]), _why(why, best, baseline, classed))
    typical = full[len(full) // 2]
    picks.setdefault(str(typical["id"]), f"in the middle of the {baseline}'s order of difficulty")
    return picks


def _why(kind: str, problem: Mapping[str, Any], baseline: str, classed: Any) -> str:
    if kind == "lost":
        return f"the {baseline} solves it; lost by {', '.join(classed(problem, 'shrunk'))}"
    if kind == "gained":
        return f"the {baseline} never solved it; gained by {', '.join(classed(problem, 'expanded'))}"
    return "its success rate rose most"


def of_arm(samples: Sequence[Sample]) -> Json:
    """One arm on one problem: c correct of n decided, how many different texts, and some of them."""
    return {
        "c": sum(s.correct is True for s in samples),
        "n": sum(s.correct is not None for s in samples),
        "distinct_texts": len({s.text for s in samples}),
        "texts": texts(samples),
    }


def texts(samples: Sequence[Sample]) -> list[Json]:
    """The most frequent correct texts, then the most frequent others; ties go to the first drawn."""
    groups: dict[tuple[bool | None, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.correct, sample.text), []).append(sample)
    ordered = sorted(groups.values(), key=lambda group: (-len(group), group[0].index))
    right = [group for group in ordered if group[0].correct is True][:RIGHT]
    wrong = _varied([group for group in ordered if group[0].correct is not True])[:WRONG]
    return [_text(group) for group in right + wrong]


def _varied(groups: Sequence[Sequence[Sample]]) -> list[Sequence[Sample]]:
    """The same groups, one of each kind of ending and reason first, so that different failures are seen."""
    seen: set[tuple[str, str, bool]] = set()
    first: list[Sequence[Sample]] = []
    rest: list[Sequence[Sample]] = []
    for group in groups:
        kind = (group[0].finish_reason, group[0].reason.split(" ")[0], group[0].correct is None)
        (rest if kind in seen else first).append(group)
        seen.add(kind)
    return first + rest


def _text(group: Sequence[Sample]) -> Json:
    sample = group[0]
    return {
        "text": sample.text[:LONGEST],
        "cut": max(0, len(sample.text) - LONGEST),
        "times": len(group),
        "index": sample.index,
        "correct": sample.correct,
        "answer": sample.answer[:LONGEST],
        "reason": sample.reason[:LONGEST],
        "finish_reason": sample.finish_reason,
        "length": sample.length,
    }


def visible(text: str) -> str:
    """The text with its control characters made visible; empty and blank texts are named.

    >>> visible("a" + chr(27) + "[31m")
    'a␛[31m'
    >>> visible("")
    '(empty)'
    """
    return text.translate(_CONTROLS) if text.strip() else f"({'blank' if text else 'empty'})"


def note(entry: Mapping[str, Any]) -> str:
    """What stands below a text: the reason or answer, how often it was drawn, how it ended."""
    parts = []
    if entry["correct"] is None:
        parts.append("not decided")
    if entry["reason"]:
        parts.append(visible(entry["reason"]))
    if entry["finish_reason"] == "length":
        parts.append("cut off at the length limit")
    if entry["cut"]:
        parts.append(f"{entry['cut']} more characters")
    if entry["times"] > 1:
        parts.append(f"drawn {entry['times']} times")
    return "; ".join(parts)
