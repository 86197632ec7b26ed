"""Credit for tokens that plan (HICRA).

H. Wang et al., "Emergent Hierarchical Reasoning in LLMs through Reinforcement Learning", arXiv 2509.03646.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import credit


@credit("none")
def everywhere(batch: TokenBatch) -> Float[Tensor, "N _"]:
    """The same advantage at every token."""
    return batch.advantages_NT


@credit("planning", needs=("planning",))
def planning_tokens(batch: TokenBatch, *, planning_alpha: float = 0.2) -> Float[Tensor, "N T"]:
    """A + planning_alpha x |A| at planning tokens: winners' plans count more, losers' less. Not zero-mean."""
    if not 0 <= planning_alpha < 1:
        raise InputError(f"planning_alpha: is {planning_alpha}; give a number from 0 to below 1")
    adv = batch.advantages_NT
    return adv + planning_alpha * adv.abs() * batch.require("planning")
