"""Replies with RLVMR's tags, and the rewards of tagged steps (Z. Zhang et al., arXiv 2507.22844)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

TAGS = ("planning", "explore", "reflection", "monitor")
"""In the order of the released code's precedence; `monitor` is never rewarded."""
REWARDED = TAGS[:3]
NONE = "none"
"""The kind of a step that is invalid, only monitors, or is not as it should be; such steps are compared with each other."""
WRONG_FORMAT = -0.1
INSTRUCTIONS = (
    "Before each command, think inside one of <planning>, <explore>, <reflection> or <monitor>, then give the command: "
    "<explore>The apple may be there.</explore><action>go to table 1</action>"
)
_TAG = re.compile(rf"<(/?)({'|'.join((*TAGS, 'action'))})>")


class Reply(NamedTuple):
    """A reply as its tags divide it: the command, the kind, how often each tag occurs, and what is wrong with the form."""

    action: str
    tag: str
    counts: dict[str, int]
    errors: tuple[str, ...]


class Played(NamedTuple):
    """One step of an episode, as far as its reward depends on it."""

    tag: str
    action: str
    valid: bool
    errors: tuple[str, ...] = ()


def parse(text: str) -> Reply:
    """Read a reply. The command is the last action's text; of several kinds the first in `TAGS` counts.

    >>> parse("<monitor>fine</monitor><explore>there?</explore><action>go to table 1</action>")[:2]
    ('go to table 1', 'explore')
    >>> parse("<planning>first<action>look</action>").errors
    ('<action> inside <planning>', 'unclosed <planning>', 'no tag')
    """
    found: Counter[str] = Counter()
    errors: list[str] = []
    actions: list[str] = []
    opened: list[tuple[str, int]] = []
    outside, last = "", 0
    for match in _TAG.finditer(text):
        closing, name = match.groups()
        if not opened:
            outside += text[last : match.start()]
        if not closing:
            if opened:
                errors.append(f"<{name}> inside <{opened[-1][0]}>")
            opened.append((name, match.end()))
        elif any(name == n for n, _ in opened):
            while opened and opened[-1][0] != name:
                errors.append(f"unclosed <{opened.pop()[0]}>")
            start = opened.pop()[1]
            found[name] += 1
            if name == "action":
                actions.append(text[start : match.start()].strip())
        else:
            errors.append(f"stray </{name}>")
        last = match.end()
    errors += [f"unclosed <{name}>" for name, _ in reversed(opened)]
    if not opened and (outside + text[last:]).strip():
        errors.append("text outside the tags")
    if len(actions) != 1:
        errors.append("several actions" if actions else "no action")
    elif not actions[0]:
        errors.append("an empty action")
    tag = next((name for name in TAGS if found[name]), "")
    if not tag:
        errors.append("no tag")
    return Reply(actions[-1] if actions else "", tag, dict(found), tuple(errors))


def rewards(steps: Sequence[Played], solved: bool) -> list[tuple[str, float]]:
    """Kind and reward of each step, as the released code gives them; the penalty for a wrong form is the paper's.

    planning: 1 if the episode is solved. explore: 1 if no earlier valid action is the same text. reflection: 1 if the step
    before was invalid and this action differs from it. monitor, invalid steps and wrong forms are of kind `none`: 0, a wrong
    form WRONG_FORMAT. (The paper's explore asks for a new object or place; text that is new without leading anywhere new is paid here.)
    """
    done: set[str] = set()
    found: list[tuple[str, float]] = []
    before: Played | None = None
    for step in steps:
        if step.errors:
            found.append((NONE, WRONG_FORMAT))
        elif not step.valid or step.tag not in REWARDED:
            found.append((NONE, 0.0))
        elif step.tag == "planning":
            found.append((step.tag, float(solved)))
        elif step.tag == "explore":
            found.append((step.tag, float(step.action not in done)))
        else:
            corrects = before is not None and not before.valid and before.action != step.action
            found.append((step.tag, float(corrects)))
        if step.valid:
            done.add(step.action)
        before = step
    return found
