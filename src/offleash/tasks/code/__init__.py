"""Programs judged by tests, each in a disposable namespace of its own. What the isolation covers: `sandbox`."""

from offleash.tasks.code import families as _families  # registers them
from offleash.tasks.code.data import Item, Unusable, humaneval, humaneval_file, mbpp, plain
from offleash.tasks.code.extract import Program, program
from offleash.tasks.code.sandbox import Limits, Outcome, Sandbox, require, unavailable
from offleash.tasks.code.task import CodeTask, read

__all__ = [
    "CodeTask",
    "Item",
    "Limits",
    "Outcome",
    "Program",
    "Sandbox",
    "Unusable",
    "humaneval",
    "humaneval_file",
    "mbpp",
    "plain",
    "program",
    "read",
    "require",
    "unavailable",
]
del _families
