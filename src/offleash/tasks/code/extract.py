"""From a completion to a program: fenced blocks, whole modules, and continuations of a prompt that is itself code."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from offleash.core import rng

MAX_CHARS = 100_000
"""Longer completions are refused unread."""
# A line that opens or closes a block, as CommonMark (4.5) has it but for the indentation, of which any is allowed: at least three
# backticks or tildes, then the language. Backticks in what follows make it a line of text.
_FENCE = re.compile(r"[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^\n]*)")
_PYTHON = re.compile(r"\{?\.?(?:python|py|ipython)[0-9.]*\b", re.IGNORECASE)
_MARKDOWN = re.compile(r"(?:markdown|md)\b", re.IGNORECASE)
_INDENTED = re.compile(r"\n*[ \t]+\S")
# Where a function that continues a prompt has ended (M. Chen et al., arXiv 2107.03374, sec. 2.1), and a fence's end.
_END = re.compile(r"\n(?:class\b|def\b|#|if\b|print\b|```|~~~)")


class Program(NamedTuple):
    """Python source, and how the completion gave it: `fenced`, `module`, `completion`, or `none`."""

    source: str
    form: str


class Block(NamedTuple):
    """What stands between two fences."""

    code: str
    info: str
    """The language, and whatever follows it in the line of the opening fence."""
    closed: bool
    """False where the text ends before the block does."""


def program(text: str, entry: str = "", prompt_code: str = "") -> Program:
    """The program a completion stands for.

    The last fenced block that defines `entry` is taken, one that is closed before one that is not; else what precedes the first
    fence, where that defines it; else the last block (see `_preferred`), else the text itself. Where the prompt is
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
    found = [] if continues else [b._replace(code=_unindented(b.code, defines)) for b in blocks(text)]
    if found:
        code, form = _chosen(found, defines if entry else None, text), "fenced"
    else:
        code, form = text, "module"
    if not prompt_code:
        return Program(code, form)
    if not continues and defines.search(code):
        return Program(f"{prompt_code}\n\n{code}", form)
    end = _END.search(code)
    return Program(prompt_code + (code[: end.start()] if end else code), form if found else "completion")


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a text that are not empty, in order; instead of a block of Markdown those inside it.

    A block ends at a fence of the same sign, at least as long; where that names a language, another block begins there.
    """
    found = []
    for block in _split(text):
        inside = list(_split(block.code)) if _MARKDOWN.match(block.info) else []
        found += inside or [block]
    return [block for block in found if block.code.strip()]


def _split(text: str) -> Iterator[Block]:
    mark, info, code = "", "", list[str]()
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if fence and fence["mark"][0] == "`" and "`" in fence["info"]:
            fence = None
        if fence and (not mark or fence["mark"].startswith(mark)):
            if mark:
                yield Block("".join(code), info, True)
            opens = not mark or bool(fence["info"].strip())
            mark, info, code = (fence["mark"] if opens else ""), fence["info"].strip(), []
        elif mark:
            code.append(line + "\n")
    if mark:
        yield Block("".join(code)[:-1], info, False)


def _chosen(found: list[Block], defines: re.Pattern[str] | None, text: str) -> str:
    if defines:
        if asked := [block for block in found if defines.search(block.code)]:
            return _preferred(asked).code
        # The prompt may have ended with an opening fence; then the first one in the text closes it.
        before = re.split(r"^[ \t]*(?:```|~~~)", text, maxsplit=1, flags=re.MULTILINE)[0]
        if defines.search(before):
            return before
    return _preferred(found).code


def _preferred(found: list[Block]) -> Block:
    """Of those that name Python, else of those that name no language, else of all: the last one that is closed, else the last."""
    same = [b for b in found if _PYTHON.match(b.info)] or [b for b in found if not b.info] or found
    return ([b for b in same if b.closed] or same)[-1]


def _unindented(block: str, defines: re.Pattern[str]) -> str:
    """A fence inside a list item is indented with its text; what continues a prompt of code keeps its indentation."""
    flat = textwrap.dedent(block)
    return flat if defines.search(flat) else block


def canonical(source: str) -> str:
    """A short name of a program that does not depend on blank lines, comment lines and blanks at the ends of lines."""
    kept = (line.rstrip() for line in source.splitlines())
    text = "\n".join(k for k in kept if k and not k.lstrip().startswith("#"))
    return rng.digest("program", text.encode(errors="surrogatepass"), size=8).hex()
