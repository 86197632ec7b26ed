"""Rewriting in plain words, with a reference (for dro). Many texts are right.

    prompt  "plain 27:the very moneyed medic got the vessel="
        direct  "the rich medic got the boat"
        steps   "very=;moneyed=rich;vessel=boat>the rich medic got the ship"
        code    "-very;moneyed/rich;vessel/boat"

A rewriting is right if it says the same (each word of the sentence, or another of its meaning, in its place, and nothing
else), has no filler ("very") and no heavy word ("vessel"), and at most as many characters as the prompt says. A code is right
if the sentence that it makes is. The reference is the shortest right text. A wrong text that can be read earns half of the
share of its words that are right.

The limit on chance does not apply to open-ended text; `guess` is the exact chance of a sentence of the right form, each word
drawn from all plain ones of its kind.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import NamedTuple

import numpy as np

from offleash.core import Problem, Verdict
from offleash.tasks.base import register
from offleash.tasks.families.family import MAX_CHARS, Drawn, Format, Procedural, StepOf

# A line is a meaning: its plain words, and behind the bar its heavy one.
ADJECTIVES = """
big large huge|sizable
little small tiny|minute
old aged|ancient
fast quick swift|speedy
glad happy merry|jovial
sad gloomy|doleful
rich wealthy|moneyed
smart clever|erudite
odd strange weird|bizarre
"""
PERSONS = """
man fellow|gent
child kid|minor
doctor medic|healer
boss chief|manager
thief crook|bandit
teacher tutor|mentor
farmer grower|rancher
cook chef|caterer
"""
VERBS = """
bought got|procured
fixed mended|repaired
saw spotted|beheld
made built|erected
left quit|vacated
sold traded|vended
found located|espied
kept held|retained
liked loved|adored
"""
THINGS = """
car auto|vehicle
home house|abode
boat ship|vessel
shop store|outlet
road street|avenue
dress gown|apparel
bag sack|valise
coat jacket|garment
rock stone|boulder
"""
FILLERS = ("very", "quite", "rather", "really", "truly", "just")


class Meaning(NamedTuple):
    """Words that say the same."""

    plain: tuple[str, ...]
    heavy: str


def _meanings(lines: str) -> tuple[Meaning, ...]:
    found = (line.partition("|") for line in lines.split("\n") if line)
    return tuple(Meaning(tuple(plain.split()), heavy) for plain, _, heavy in found)


KINDS = tuple(map(_meanings, (ADJECTIVES, PERSONS, VERBS, THINGS)))
"""The kinds of word of a sentence "the ADJECTIVE PERSON VERB the THING", each a list of meanings."""
MEANING = {word: meaning for kind in KINDS for meaning in kind for word in (*meaning.plain, meaning.heavy)}


class Size(NamedTuple):
    """Of the problems of a level."""

    fillers: int
    heavy: int
    fitting: float
    """Share of the plain rewritings that are short enough, about."""


SIZES = {1: Size(1, 1, 1.0), 2: Size(1, 2, 0.5), 3: Size(2, 2, 0.2), 4: Size(1, 3, 0.03)}
LONGEST = 124
"""Characters of a prompt and a solution together."""


def sentence(words: tuple[str, ...]) -> str:
    """The sentence of an adjective, a person, a verb and a thing."""
    return "the {} {} {} the {}".format(*words)


def rewritings(words: tuple[str, ...]) -> list[str]:
    """Every plain rewriting of a sentence of these words, however long; the first words of each meaning first."""
    return [sentence(chosen) for chosen in itertools.product(*(MEANING[word].plain for word in words))]


def reference(words: tuple[str, ...]) -> str:
    """The shortest rewriting, the first of several."""
    return min(rewritings(words), key=len)


def edited(source: str, edits: str) -> str:
    """A sentence after edits such as "-very;vessel/boat"; words that are not there change nothing."""
    changes = {}
    for edit in edits.split(";"):
        old, _, new = edit.removeprefix("-").partition("/")
        changes[old] = new
    words = [changes.get(word, word) for word in source.split(" ")]
    return " ".join(word for word in words if word)


def fault(problem: Problem, text: str) -> str:
    """Why a sentence is no right rewriting; "" if it is one."""
    wanted, said = _places(problem), text.split(" ")
    if filler := next((word for word in said if word in FILLERS), ""):
        return f"the filler {filler} is left"
    if heavy := next((word for word in said if word in MEANING and word == MEANING[word].heavy), ""):
        return f"the heavy word {heavy} is left"
    if len(said) != len(wanted):
        return f"{len(said)} words, not {len(wanted)}"
    if wrong := next((word for word, good in zip(said, wanted, strict=True) if word not in good), ""):
        return f"{wrong} does not say what is said there"
    limit = problem.meta["limit"]
    return f"{len(text)} characters, more than {limit}" if len(text) > limit else ""


def _places(problem: Problem) -> list[tuple[str, ...]]:
    """The words that are right at each place of a rewriting."""
    adjective, person, verb, thing = (MEANING[word].plain for word in problem.meta["words"])
    return [("the",), adjective, person, verb, ("the",), thing]


def kept(problem: Problem, text: str) -> float:
    """The share of a sentence's words that are right, in their order; 1 if all are there and nothing else."""
    wanted, said = _places(problem), text.split(" ")
    at = 0
    for word in said:
        if at < len(wanted) and word in wanted[at]:
            at += 1
    return at / max(len(wanted), len(said))


def _fitting(problem: Problem) -> list[str]:
    return [text for text in rewritings(tuple(problem.meta["words"])) if len(text) <= problem.meta["limit"]]


def _direct(problem: Problem, generator: np.random.Generator) -> str:
    found = _fitting(problem)
    return found[int(generator.integers(len(found)))]


def _edits(problem: Problem, text: str) -> list[tuple[str, str]]:
    """What makes a rewriting of a problem's sentence, in its order: (word, "") cuts it, (word, other) replaces it."""
    new = dict(zip(problem.meta["words"], (text.split(" ")[i] for i in (1, 2, 3, 5)), strict=True))
    wanted = ((old, "" if old in FILLERS else new.get(old, old)) for old in problem.meta["source"].split(" "))
    return [(old, other) for old, other in wanted if old != other]


def _faulty(word: str) -> bool:
    return word in FILLERS or word == MEANING[word].heavy


def _steps(problem: Problem, generator: np.random.Generator) -> str:
    text = _direct(problem, generator)
    return ";".join(f"{old}={new}" for old, new in _edits(problem, text) if _faulty(old)) + ">" + text


def _code(problem: Problem, generator: np.random.Generator) -> str:
    every = [_edits(problem, text) for text in _fitting(problem)]
    fewest = min(map(len, every))
    found = [edits for edits in every if len(edits) == fewest]
    chosen = found[int(generator.integers(len(found)))]
    return ";".join(f"{old}/{new}" if new else f"-{old}" for old, new in chosen)


_WORDS = r"[a-z]+(?: [a-z]+)*"
_STEP = r"[a-z]+=[a-z]*"
_EDIT = r"(?:-[a-z]+|[a-z]+/[a-z]+)"


class Rewrite(Procedural):
    """The family. Levels differ in the number of fillers and heavy words and in how much the length leaves open; see `SIZES`.

    Satisfies `HasReference`: the reasoning of a text is what stands up to its last ">".
    """

    name = "rewriting"
    levels = tuple(SIZES)
    main_level = 4
    about = "a sentence again in plain words and short; open-ended, with a reference"
    formats = (
        Format("direct", 0.6, _direct, re.compile(f"(?P<answer>{_WORDS})")),
        Format("steps", 0.3, _steps, re.compile(f"{_STEP}(?:;{_STEP})*>(?P<answer>{_WORDS})")),
        Format("code", 0.1, _code, re.compile(f"(?P<answer>{_EDIT}(?:;{_EDIT})*)")),
    )

    def draw(self, level: int, generator: np.random.Generator) -> Drawn | None:
        """See `Procedural.draw`: what is said decides the split, however it is worded."""
        size = SIZES[level]
        meanings = [kind[int(generator.integers(len(kind)))] for kind in KINDS]
        words = [meaning.plain[int(generator.integers(len(meaning.plain)))] for meaning in meanings]
        for i in generator.permutation(len(words))[: size.heavy]:
            words[i] = meanings[i].heavy
        places, fillers = generator.permutation(3)[: size.fillers], generator.permutation(len(FILLERS))
        filler = {int(place): FILLERS[i] + " " for place, i in zip(places, fillers, strict=False)}
        adjective, person, verb, thing = words
        source = f"the {filler.get(0, '')}{adjective} {person} {filler.get(1, '')}{verb} the {thing}"
        if 2 in filler:
            source = filler[2] + source
        lengths = sorted(map(len, rewritings(tuple(words))))
        limit = lengths[math.ceil(size.fitting * len(lengths)) - 1]
        prompt = f"plain {limit}:{source}="
        swaps = [len(f"{m.heavy}=;") + max(map(len, m.plain)) for m in meanings if m.heavy in words]
        if len(prompt) + limit + sum(swaps) + sum(len(word) + 1 for word in filler.values()) > LONGEST:
            return None
        content = " ".join(meaning.plain[0] for meaning in meanings)
        return Drawn(prompt, reference(tuple(words)), content, {"words": words, "source": source, "limit": limit})

    def verify(self, problem: Problem, text: str) -> Verdict:
        """See `Task.verify`. The answer is the sentence that is meant; a wrong one earns up to a half."""
        reading = self.read(text)
        if reading.reason:
            return Verdict(False, 0.0, "", reading.format, reading.reason, self.verifier_version)
        said = edited(problem.meta["source"], reading.answer) if reading.format == "code" else reading.answer
        reason = fault(problem, said)
        reward = kept(problem, said) / 2 if reason else 1.0
        return Verdict(not reason, reward, said, reading.format, reason, self.verifier_version)

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: a plain word of its kind at each place, all as likely."""
        every = math.prod(sum(len(meaning.plain) for meaning in kind) for kind in KINDS)
        return len(_fitting(problem)) / every

    def operations(self, problem: Problem) -> list[str]:
        """See `HasOperations.operations`: fillers and heavy words, as "very=" and "vessel=boat" (the first plain word)."""
        words = [word for word in problem.meta["source"].split(" ") if word != "the" and _faulty(word)]
        return [f"{word}=" + ("" if word in FILLERS else MEANING[word].plain[0]) for word in words]

    def steps_of(self, problem: Problem, text: str) -> list[StepOf]:
        """See `Procedural.steps_of`; the edits of a code are steps too, and any plain word of the meaning does."""
        found = super().steps_of(problem, text[:MAX_CHARS])
        if self.read(text).format == "code":
            pieces = re.finditer(r"-?([a-z]+)(?:/([a-z]+))?", text[:MAX_CHARS])
            found = [StepOf(m.start(), m.end(1), m.end(), f"{m[1]}={m[2] or ''}") for m in pieces]
        return [step._replace(operation=_operation(step.operation)) for step in found]

    def reference(self, problem: Problem) -> str:
        """See `HasReference.reference`: the shortest right rewriting."""
        return problem.answer

    def reasoning(self, problem: Problem, text: str) -> str:
        """See `HasReference.reasoning`: what stands up to the last ">", with it; "" where there is none."""
        return text[: text.rfind(">") + 1]


def _operation(step: str) -> str:
    """The name of a step: with the first plain word, whichever of a meaning was taken."""
    old, _, new = step.rpartition("=")
    same = old in MEANING and new in MEANING[old].plain
    return f"{old}={MEANING[old].plain[0] if same else new}"


REWRITE = Rewrite()
register(REWRITE)
