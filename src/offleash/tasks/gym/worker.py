"""What is asked of reasoning-gym, in a worker (`isolation`). Nothing else imports it."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import Any

from offleash.tasks.splits import canonical, split_of

# pycosat has no wheel and needs a compiler; the package imports it always, and zebra_puzzles alone calls it.
if importlib.util.find_spec("pycosat") is None:
    sys.modules["pycosat"] = ModuleType("pycosat")

NO_DATA_SETS = {"composite"}
"""Names that are no data set of their own: composite mixes others."""

# These scorers run eval() on the answer. What they expect is a literal, so that is what they get.
_EVALUATES = (
    "algorithmic.string_insertion",
    "algorithmic.spiral_matrix",
    "algorithmic.binary_matrix",
    "games.n_queens",
)
# These give it to sympy's parse_expr, which evaluates Python; an expression needs none of the ways out of it.
_PARSES = {"countdown", "puzzle24", "polynomial_multiplication", "simple_integration", "intermediate_integration"}
_NO_EXPRESSION = re.compile(r"""__|["'`\\@:;=\[\]{}]|\.\s*[A-Za-z_]|\blambda\b|\*\*\s*\(?[0-9]{4}|[0-9]{40}""")

# Scorers of 0.1.25 that accept what is wrong, or raise on what is no answer; docs/tasks.md has the measurements.
FORMS = {
    "boxnet": r"\[\s*\{.*\}\s*\]",  # raises on other JSON
    "coin_flip": r"[0-9]{1,9}(\.[0-9]{1,20})?|\.[0-9]{1,20}|[0-9]{1,12}/[1-9][0-9]{0,11}",  # raises on 1e999
    "complex_arithmetic": r"[-+.0-9ij()\s]+",  # takes nan for any number
    "game_of_life": r"\[\s*\[.*\]\s*\]",  # raises on {}
    "prime_factorization": r"[0-9]{1,30}(\s*×\s*[0-9]{1,30})*",  # raises on anything else
    "sokoban": r"[UDLRudlr\s]+",  # reads the letters of any text as moves
}
EXACT = {
    "game_of_life_halting",  # takes every answer: it compares bool(text)
    "letter_jumble",  # takes an answer with more words behind it
}
# Besides, coin_flip gives the full score to a beginning (0 for 0.125), puzzle24 to 24 made of other numbers.

# Making these anew for every problem takes up to 0.4 s; what they make depends on the seed that is set, not on when.
_RESEEDED = {"arc_agi", "codeio", "figlet_font", "group_anagrams", "rush_hour", "spell_backward"}


def describe() -> dict[str, int]:
    """Every data set and how many levels its curriculum has (0: none)."""
    from reasoning_gym.factory import DATASETS

    return {name: _levels(name) for name in sorted(set(DATASETS) - NO_DATA_SETS)}


def _levels(name: str) -> int:
    from reasoning_gym.factory import create_curriculum, has_curriculum

    if not has_curriculum(name):
        return 0
    return max((len(attribute.levels) for attribute in create_curriculum(name).attributes.values()), default=0)


def fields(name: str) -> dict[str, str]:
    """The fields of a data set's configuration that a user may set, by name: `int`, `float`, `bool`, or "" for what else they are."""
    from reasoning_gym.factory import DATASETS

    plain: dict[Any, str] = {int: "int", float: "float", bool: "bool"}
    plain |= {kind | None: name for kind, name in plain.items()}
    own = {field.name: plain.get(field.type, "") for field in dataclasses.fields(DATASETS[name][1])}
    return {field: own[field] for field in sorted(own.keys() - {"seed", "size"})}


def answers(name: str, level: int | str, seeds: list[int]) -> list[str]:
    """The answers of the problems of these seeds."""
    return [str(_problem(name, level, seed)[1]["answer"]) for seed in seeds]


def draw(
    name: str, level: int | str, seeds: list[int], task: str, split: str, shares: Mapping[str, float]
) -> dict[str, Any] | None:
    """The first seed whose question falls into a split, with its problem; None where there is none."""
    for seed in seeds:
        _, entry = _problem(name, level, seed)
        if split_of(task, canonical(entry["question"]), shares) == split:
            answer = entry["answer"]
            shown = "" if answer is None else str(answer)
            return {"seed": seed, "question": entry["question"], "answer": shown, "gold": _gold(name, entry)}
    return None


def score(name: str, level: int | str, seed: int, answer: str) -> float:
    """The data set's own score of an answer, where the answer has the form that was asked for."""
    if name in _PARSES and _NO_EXPRESSION.search(answer):
        return 0.0
    if name in FORMS and not re.fullmatch(FORMS[name], answer, re.DOTALL):
        return 0.0
    dataset, entry = _problem(name, level, seed)
    if name in EXACT and " ".join(answer.casefold().split()) != " ".join(str(entry["answer"]).casefold().split()):
        return 0.0
    if name == "coin_flip" and abs(Fraction(answer) - Fraction(entry["answer"])) > Fraction(1, 10_000):
        return 0.0
    if name == "puzzle24" and sorted(re.findall(r"[0-9]+", answer)) != sorted(map(str, entry["metadata"]["numbers"])):
        return 0.0
    return float(dataset.score_answer(answer, entry))


@lru_cache(maxsize=256)
def _problem(name: str, level: int | str, seed: int) -> tuple[Any, dict[str, Any]]:
    _disarm()
    dataset = _made(name, level, 0 if name in _RESEEDED else seed)
    if name in _RESEEDED:
        dataset.seed = dataset.config.seed = seed
    return dataset, dataset[0]


@lru_cache(maxsize=256)
def _made(name: str, level: int | str, seed: int) -> Any:
    """The data set at a level, or with a configuration of one's own, as JSON."""
    from reasoning_gym.factory import DATASETS, create_curriculum, create_dataset

    if isinstance(level, str):
        return create_dataset(name, seed=seed, size=1, **json.loads(level))
    if level == 0:
        return create_dataset(name, seed=seed, size=1)
    curriculum = create_curriculum(name)
    curriculum.set_global_level(level - 1)
    return DATASETS[name][0](config=curriculum.generate_configuration({"seed": seed, "size": 1}))


@lru_cache(maxsize=1)
def _disarm() -> None:
    for module in _EVALUATES:
        vars(importlib.import_module(f"reasoning_gym.{module}"))["eval"] = ast.literal_eval


def _gold(name: str, entry: Mapping[str, Any]) -> str | None:
    """A solution; the data sets that keep theirs among the metadata have no answer."""
    metadata = entry["metadata"]
    if name == "graph_color":
        return json.dumps(metadata["possible_answer"])
    if name == "propositional_logic":
        return str(metadata["example_answer"])
    if name == "rubiks_cube":
        return str(metadata["example_correct_answer"])
    return None if entry["answer"] is None else str(entry["answer"])
