"""Frozen copies of the policy: the one training started from, and the one the KL penalty pulls towards.

They are the same until the reference is reset (ProRL, arXiv 2505.24864); from then on both distances are logged.
"""

from __future__ import annotations

import copy
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from offleash.core import OffleashError
from offleash.training.sharding import METHOD, put, weights_of

FILE = "reference.safetensors"


class References:
    """`original` never changes; `moving` is what `ref_logprobs` come from."""

    def __init__(self, model: PreTrainedModel) -> None:
        # Weights that are not trained are the policy's own: beside adapters, a reference is other adapters and no more memory.
        self._frozen = {id(p): p for p in model.parameters() if not p.requires_grad}
        self.original = self._copy(model)
        self.moving = self.original

    @property
    def moved(self) -> bool:
        """Whether the reference was ever reset."""
        return self.moving is not self.original

    def reset(self, model: PreTrainedModel) -> None:
        """The present model becomes the reference."""
        if hasattr(model, METHOD):  # in the hands of FSDP or DeepSpeed, which no copy is to be
            self.moving = self._copy(self.original)
            put(self.moving, weights_of(model))
            return
        self.moving = self._copy(model)

    def _copy(self, model: PreTrainedModel) -> PreTrainedModel:
        return copy.deepcopy(model, dict(self._frozen)).requires_grad_(False)

    def _shared(self, model: PreTrainedModel) -> set[str]:
        return {name for name, p in model.named_parameters(remove_duplicate=False) if id(p) in self._frozen}

    def save(self, folder: Path) -> None:
        """Write the moved reference beside a checkpoint; nothing while it is the original."""
        if self.moved:
            # Tied tensors once each, and none of the policy's own.
            seen: dict[int, str] = {}
            shared, state = self._shared(self.moving), self.moving.state_dict()
            own = {
                name: t.contiguous()
                for name, t in state.items()
                if name not in shared and seen.setdefault(t.data_ptr(), name) == name
            }
            save_file(own, str(folder / FILE))

    def restore(self, folder: Path) -> None:
        """Take up the reference of a checkpoint."""
        self.moving = self.original
        if (folder / FILE).is_file():
            self.moving = self._copy(self.original)
            missing, unexpected = self.moving.load_state_dict(load_file(str(folder / FILE)), strict=False)
            tied = set(getattr(self.moving, "all_tied_weights_keys", None) or ())
            if unexpected or set(missing) - tied - self._shared(self.moving):
                raise OffleashError(f"checkpoint {folder}: {FILE} is not of this model; resume from an earlier one")
