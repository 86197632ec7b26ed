"""Products with weights are the same whichever library makes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from offleash.engines.native import products


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 100])
@pytest.mark.parametrize("biased", [False, True])
def test_linear(rows: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    x, weight = torch.randn(rows, 48, generator=generator), torch.randn(70, 48, generator=generator)
    bias = torch.randn(70, generator=generator) if biased else None
    exact = F.linear(x.double(), weight.double(), bias.double() if bias is not None else None)
    with torch.inference_mode():
        assert (products.linear(x, weight, bias).double() - exact).abs().max() < 2e-5
        low = products.linear(x, weight.bfloat16(), bias.bfloat16() if bias is not None else None)
    assert low.dtype == torch.float32 and (low.double() - exact).abs().max() < 0.5


def test_without_onednn_torch_makes_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_onednn", lambda: None)
    x, weight = torch.ones(64, 8), torch.ones(5, 8)
    assert torch.equal(products.linear(x, weight), F.linear(x, weight))
