"""DAPO's soft penalty on length, added to the reward before any advantage.

Q. Yu et al., "DAPO", arXiv 2503.14476, Eq. 13.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from offleash.core.errors import InputError


def soft_overlong(lengths_PG: Int[Tensor, "P G"], max_length: int, cache: int) -> Float[Tensor, "P G"]:
    """0 up to max_length - cache tokens, falling linearly to -1 at max_length, -1 beyond.

    Args:
        lengths_PG: completion lengths in tokens.
        max_length: the length at which the penalty is full; the paper's is 20,480 = 16,384 expected + 4,096 cache.
        cache: length of the slope, at most max_length.
    """
    if not 0 < cache <= max_length:
        raise InputError(f"cache: is {cache}; give a number of tokens between 1 and max_length ({max_length})")
    over_PG = (lengths_PG - (max_length - cache)).to(torch.get_default_dtype()) / cache
    return -over_PG.clamp(0.0, 1.0)
