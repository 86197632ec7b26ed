"""From a completion to a program: fenced blocks, whole modules, and continuations of a prompt that is itself code."""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

from offleash.core import rng

MAX_CHARS = 100_000
"""Longer completions are refused unread."""
_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"\n*[ \t]+\S")
# Where a function that continues a prompt has ended (M. Chen et al., arXiv 2107.03374, sec. 2.1), and a fence's end.
_END = re.compile(r"\n(?:class\b|def\b|#|if\b|print\b|```)")


class Program(NamedTuple):
    """Python source, and how the completion gave it: `fenced`, `module`, `completion`, or `none`."""

    source: str
    form: str


def program(text: str, entry: str = "", prompt_code: str = "") -> Program:
    """The program a completion stands for.

    The last fenced block that defines `entry` is taken, else the last fenced block, else the text itself; where the prompt is
    code, also a text that begins with an indented line. What defines `entry` replaces its definition in such a prompt; what
    does not continues it, up to where the function ends.

    Args:
        text: the completion.
        entry: the function that is asked for; "" for a program that reads standard input.
        prompt_code: the prompt where it is Python that the completion may continue, else "".
    """
    if len(text) > MAX_CHARS:
        return Program("", "none")
    continues = bool(prompt_code) and _INDENTED.match(text) is not None
    defines = re.compile(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(entry)}\b|^{re.escape(entry)}[ \t]*=", re.MULTILINE)
    blocks = [] if continues else [_unindented(block, defines) for block in _FENCE.findall(text) if block.strip()]
    if blocks:
        code, form = next((b for b in reversed(blocks) if entry and defines.search(b)), blocks[-1]), "fenced"
    else:
        code, form = text, "module"
    if not prompt_code:
        return Program(code, form)
    if not continues and defines.search(code):
        return Program(f"{prompt_code}\n\n{code}", form)
    end = _END.search(code)
    return Program(prompt_code + (code[: end.start()] if end else code), form if blocks else "completion")


def _unindented(block: str, defines: re.Pattern[str]) -> str:
    """A fence inside a list item is indented with its text; what continues a prompt of code keeps its indentation."""
    flat = textwrap.dedent(block)
    return flat if defines.search(flat) else block


def canonical(source: str) -> str:
    """A short name of a program that does not depend on blank lines, comment lines and blanks at the ends of lines."""
    kept = (line.rstrip() for line in source.splitlines())
    text = "\n".join(k for k in kept if k and not k.lstrip().startswith("#"))
    return rng.digest("program", text.encode(errors="surrogatepass"), size=8).hex()
