"""The live rows of a decoder that the engine takes apart itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offleash.engines.native.cache import Cache, Ids, Ints
from offleash.engines.native.forward import decode, prefill
from offleash.engines.native.weights import Decoder

TOKENS = 8192
"""Prompt tokens read at one time, padding included."""


class NativeRows:
    """See `batch.Rows`."""

    refills = True

    def __init__(self, decoder: Decoder, prompts: Sequence[Ids], rows: int, limit: int) -> None:
        distinct = set(prompts)
        # One prompt more than rows: the last one is kept for its next rows, though it has none at present.
        self.cache = Cache(decoder, rows, min(len(distinct), rows) + 1, max(map(len, distinct)), limit)
        self.decoder = decoder

    def admit(self, prompts: Sequence[Ids]) -> Tensor:
        """Read the prompts that are not there and add the rows."""
        missing = self.cache.missing(prompts)
        per_part = max(1, TOKENS // max(map(len, missing), default=1))
        for start in range(0, len(missing), per_part):
            self._read(missing[start : start + per_part])
        self.cache.add(prompts)
        slots = torch.tensor([self.cache.slot[p] for p in prompts], device=self.decoder.device)
        return self.cache.logits_GV.index_select(0, slots)

    def _read(self, prompts: list[Ids]) -> None:
        ids_GS = torch.zeros((len(prompts), max(map(len, prompts))), dtype=torch.long)
        for row, ids in zip(ids_GS, prompts, strict=True):
            row[: len(ids)] = torch.tensor(ids)
        lengths_G, device = torch.tensor([len(p) for p in prompts]), self.decoder.device
        self.cache.put(prompts, *prefill(self.decoder, ids_GS.to(device), lengths_G.to(device)))

    def decode(self, ids_R: Tensor) -> Tensor:
        """One step of all rows."""
        return decode(self.decoder, ids_R, self.cache, self.cache.step())

    def keep(self, alive_R: NDArray[np.bool_]) -> Ints:
        """Drop the others."""
        return self.cache.keep(alive_R)
