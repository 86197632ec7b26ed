"""Products with weights.

In float32, torch hands them to MKL, which on AMD processors does not use their wide registers: 100 GFLOP/s a core where oneDNN, which
torch carries too, makes 210. So oneDNN is asked where it is there. The sum is float32 either way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FEW = 32
"""Rows below which oneDNN's fixed cost is more than it saves."""


@functools.cache
def _onednn() -> Callable[..., Tensor] | None:
    """oneDNN's product in float32, if this torch has it and it does what it should."""
    if not torch.backends.mkldnn.is_available():
        return None
    try:
        product: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise
        x, weight = torch.ones(FEW, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        right = torch.equal(product(x, weight, None, "none", [], ""), F.linear(x, weight))
    except (AttributeError, RuntimeError):
        return None
    return product if right else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W' + b of (R, H) in the weight's dtype, returned in that of x."""
    if weight.dtype == x.dtype == torch.float32 and weight.device.type == "cpu" and len(x) >= FEW:
        product: Any = _onednn()
        if product is not None:
            found: Tensor = product(x, weight, bias, "none", [], "")
            return found
    return F.linear(x.to(weight.dtype), weight, bias).to(x.dtype)
