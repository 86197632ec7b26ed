r"""The data sets that are known by name: where their columns are, and where they come from. None travels with the package.

An answer column may hold a number, LaTeX with or without dollars, a list of answers, or a whole solution that ends in ####
or \boxed{...}; `load.answer_of` reads all of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PROMPT = "{question}\n\nReason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class DataSet:
    """A column map. Where several columns are named, the first that a row has counts."""

    name: str
    question: tuple[str, ...] = ("question", "problem")
    answer: tuple[str, ...] = ("answer",)
    solution: tuple[str, ...] = ("solution",)
    level: str = ""
    """The column with the level, 1 ... 9; without one every problem is of level 1."""
    levels: tuple[int, ...] = (1,)
    leave_out: str = ""
    """Rows that have something in this column are left out."""
    skip: Mapping[str, str] = field(default_factory=dict)
    """Rows whose gold is wrong or unreadable, "train 17" (1 is the first), with the reason."""
    number: bool = False
    """Every gold is a number, so the last number of a completion without a box is its answer."""
    prompt: str = PROMPT
    folder: str = ""
    """Below OFFLEASH_DATA; its files are train.jsonl, test.jsonl (or .parquet)."""
    hub: tuple[str, str] = ("", "")
    """Repository and configuration."""
    hub_splits: tuple[tuple[str, str], ...] = (("test", "test"),)
    """(our side, the hub's split)."""
    about: str = ""
    license: str = ""


DATA_SETS = {
    row.name: row
    for row in (
        DataSet(
            "gsm8k",
            solution=("answer",),
            number=True,
            folder="gsm8k",
            hub=("openai/gsm8k", "main"),
            hub_splits=(("train", "train"), ("test", "test")),
            about="grade school word problems; 7,473 for training, 1,319 for testing",
            license="MIT",
        ),
        DataSet(
            "math-500",
            level="level",
            levels=(1, 2, 3, 4, 5),
            folder="math500",
            hub=("HuggingFaceH4/MATH-500", ""),
            about="500 competition problems of MATH's test set",
            license="MIT",
        ),
        DataSet(
            "aime-2024",
            number=True,
            folder="aime2024",
            hub=("HuggingFaceH4/aime_2024", ""),
            hub_splits=(("test", "train"),),
            about="30 problems of the AIME 2024, answers 0 to 999",
            license="see the source",
        ),
        DataSet(
            "aime-2025",
            number=True,
            folder="aime2025",
            hub=("math-ai/aime25", ""),
            about="30 problems of the AIME 2025, answers 0 to 999",
            license="see the source",
        ),
        DataSet(
            "amc",
            number=True,
            folder="amc",
            hub=("AI-MO/aimo-validation-amc", ""),
            hub_splits=(("test", "train"),),
            about="83 problems of the AMC 12, 2022 and 2023, with numbers as answers",
            license="see the source",
        ),
        DataSet(
            "minerva",
            answer=("answer", "solution"),
            folder="minerva_math",
            hub=("math-ai/minervamath", ""),
            about="272 problems of science courses at MIT",
            license="see the source",
        ),
        DataSet(
            "olympiad-bench",
            answer=("final_answer",),
            leave_out="error",
            folder="olympiadbench",
            hub=("Hothan/OlympiadBench", "OE_TO_maths_en_COMP"),
            hub_splits=(("test", "train"),),
            about="674 olympiad problems in English, text only; those that ask for a tolerance are left out",
            license="see the source",
        ),
    )
}
