"""How a completion's advantage is spread over its tokens: one idea a file, each `fn(batch, *, settings) -> adv_NT`."""

from offleash.objectives.credits.planning import everywhere, planning_tokens

__all__ = ["everywhere", "planning_tokens"]
