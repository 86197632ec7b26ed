"""Engines that turn prompts into completions. Import the one you need; `openai` needs no torch."""

from offleash.engines.base import Request, Sampler, SamplingSettings

__all__ = ["Request", "Sampler", "SamplingSettings"]
