"""Records, hashed randomness and errors: what every other room may use. Standard library and numpy only."""

from offleash.core.errors import InputError, OffleashError, unknown_name
from offleash.core.records import SPLITS, Completion, Estimate, Problem, Split, Verdict

__all__ = [
    "SPLITS",
    "Completion",
    "Estimate",
    "InputError",
    "OffleashError",
    "Problem",
    "Split",
    "Verdict",
    "unknown_name",
]
