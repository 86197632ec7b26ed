"""Scoring holds the logits of a chunk of tokens, never those of all."""

from __future__ import annotations

import pytest

from offleash.jobs.benchmarks.scoring import _in_process

VOCAB, TOKENS, CHUNK = 32_768, 1024, 64


@pytest.mark.slow
def test_the_peak_of_scoring_is_that_of_a_chunk() -> None:
    chunked, whole = (_in_process(VOCAB, chunk, TOKENS) for chunk in (CHUNK, TOKENS))
    # All logits alone are 128 MiB, and some copies of them live at one time. What a chunk needs is 1/16 of that; the rest
    # of the allowance is for the backbone and for what threads and the allocator keep.
    everything = TOKENS * VOCAB * 4 / 2**20
    assert whole > 2 * everything
    assert chunked < whole / 2
