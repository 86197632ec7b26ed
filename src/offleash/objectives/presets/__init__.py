"""The rows: every named algorithm, what it is composed of, and where paper and released code differ."""

import importlib

from offleash.objectives.preset import PRESETS

# Importing a file registers its rows; this is their order in the table.
for _file in [
    "group",
    "batch",
    "negative",
    "ratios",
    "covariance",
    "tokens",
    "outcomes",
    "agents",
    "mismatch",
    "demonstrations",
]:
    importlib.import_module(f"offleash.objectives.presets.{_file}")

__all__ = ["PRESETS"]
