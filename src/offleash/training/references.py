"""Frozen copies of the policy: the one training started from, and the one the KL penalty pulls towards.

They are the same until the reference is reset (ProRL, arXiv 2505.24864); from then on both distances are logged.
"""

from __future__ import annotations

import copy
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from offleash.core import OffleashError

FILE = "reference.safetensors"


class References:
    """`original` never changes; `moving` is what `ref_logprobs` come from."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.original = copy.deepcopy(model).requires_grad_(False)
        self.moving = self.original

    @property
    def moved(self) -> bool:
        """Whether the reference was ever reset."""
        return self.moving is not self.original

    def reset(self, model: PreTrainedModel) -> None:
        """The present model becomes the reference."""
        self.moving = copy.deepcopy(model).requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Write the moved reference beside a checkpoint; nothing while it is the original."""
        if self.moved:
            # Tied tensors once each.
            seen: dict[int, str] = {}
            state = self.moving.state_dict()
            own = {name: t.contiguous() for name, t in state.items() if seen.setdefault(t.data_ptr(), name) == name}
            save_file(own, str(folder / FILE))

    def restore(self, folder: Path) -> None:
        """Take up the reference of a checkpoint."""
        self.moving = self.original
        if (folder / FILE).is_file():
            self.moving = copy.deepcopy(self.original)
            missing, unexpected = self.moving.load_state_dict(load_file(str(folder / FILE)), strict=False)
            tied = set(getattr(self.moving, "all_tied_weights_keys", None) or ())
            if unexpected or set(missing) - tied:
                raise OffleashError(f"checkpoint {folder}: {FILE} is not of this model; resume from an earlier one")
