"""The benchmark's own arithmetic, on a tiny work."""

from __future__ import annotations

import pytest
import torch

from offleash.jobs.benchmarks import rollouts
from tests.engines.native_models import TOKENIZER, llama


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_with_imposed_lengths(dtype: torch.dtype) -> None:
    lengths = [3, 9, 5, 1]
    work = rollouts.Work("tiny", llama().to(dtype), TOKENIZER, ["1 2=3:", "5=5:"], 2, 9, 2.0, 1, lengths)
    assert rollouts._generate(work) == 18 and rollouts._generate(work, 4) == 12
    row = rollouts._row(work, dtype)
    assert row["tokens"] == 18 and row["low"] <= row["ratio"] <= row["high"] and row["peer_threads"] == 1
    assert row["dtype"] == str(dtype).removeprefix("torch.") and row["floor_tokens_per_s"] > 0 and row["of_floor"] > 0
    # 2 x weights of the layers and of the head
    assert row["mflop_a_token"] == pytest.approx(2e-6 * (2 * (48 * 96 + 48 * 48 + 3 * 48 * 64) + 48 * len(TOKENIZER)))
    assert ("ratio_to_float32_peer" in row) == (dtype == torch.bfloat16)
