"""The rows: every named algorithm, what it is composed of, and where paper and released code differ."""

from offleash.objectives.preset import PRESETS
from offleash.objectives.presets import covariance, demonstrations, group, negative, ratios  # noqa: F401  (registers)

__all__ = ["PRESETS"]
