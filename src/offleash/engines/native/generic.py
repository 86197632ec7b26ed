"""Any other causal language model, through its own forward and cache: slower than the engine's own decoder, and right.

Rows that live at the same time have prompts of one length, so that nothing is padded and no model has to know how: absolute and
relative positions, ALiBi, sliding windows and recurrent states are all as if each row were alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from offleash.engines.native.batch import Ids, Ints
from offleash.engines.native.limits import context_length


class Generic:
    """The model as it is; there is nothing to refresh."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.context = context_length(model.config)
        self.device, self.dtype = model.device, model.dtype

    def refresh(self) -> None:
        """The model is read in place."""


class GenericRows:
    """See `batch.Rows`."""

    refills = False

    def __init__(self, decoder: Generic) -> None:
        self.model, self.device = decoder.model, decoder.device
        self.cache: DynamicCache | None = None

    def admit(self, prompts: Sequence[Ids]) -> Tensor:
        """Read as many prompts from the front as have one length, each once, and spread them over their rows."""
        same = next((i for i, p in enumerate(prompts) if len(p) != len(prompts[0])), len(prompts))
        distinct = {p: i for i, p in enumerate(dict.fromkeys(prompts[:same]))}
        self.cache = DynamicCache(config=self.model.config)
        logits = self._forward(torch.tensor(list(distinct), device=self.device))
        which = torch.tensor([distinct[p] for p in prompts[:same]], device=self.device)
        self.cache.batch_select_indices(which)
        return logits[which]

    def decode(self, ids_R: Tensor) -> Tensor:
        """One step of all rows."""
        return self._forward(ids_R[:, None])

    def keep(self, alive_R: NDArray[np.bool_]) -> Ints:
        """Drop the others."""
        order = np.flatnonzero(alive_R)
        if self.cache is not None and len(order):
            self.cache.batch_select_indices(torch.from_numpy(order).to(self.device))
        return order

    def _forward(self, ids_RS: Tensor) -> Tensor:
        out = self.model(input_ids=ids_RS, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].float()
