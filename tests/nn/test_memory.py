"""Scoring holds the logits of a chunk of tokens, never those of all."""

from __future__ import annotations

import pytest

from offleash.jobs.benchmarks.scoring import _in_process

VOCAB, TOKENS, CHUNK = 32_768, 1024, 64


@pytest.mark.slow
def test_the_peak_of_scoring_is_that_of_a_chunk() -> None:
    chunk_mib = CHUNK * VOCAB * 4 / 2**20
    chunked, whole = (_in_process(VOCAB, chunk, TOKENS) for chunk in (CHUNK, TOKENS))
    # Some copies of a chunk live at one time (logits, their softmax, gradients), and the backbone beside them.
    assert chunked < 8 * chunk_mib + 60
    assert whole > 2 * TOKENS * VOCAB * 4 / 2**20
