"""Engines that turn prompts into completions. Import the one you need; `openai` needs no torch."""

from offleash.engines.base import Refused, Request, Sampler, SamplingSettings, Unfinished
from offleash.engines.registry import ENGINES, Engine, Opened, get, open_engine

__all__ = [
    "ENGINES",
    "Engine",
    "Opened",
    "Refused",
    "Request",
    "Sampler",
    "SamplingSettings",
    "Unfinished",
    "get",
    "open_engine",
]
