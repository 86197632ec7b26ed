"""Keys and values of the rows being decoded: row r holds `length[r]` positions, the live rows are always the first ones."""

from __future__ import annotations

import torch
from torch import Tensor

from offleash.engines.native.weights import Decoder


class Cache:
    """(layers, rows, kv heads, positions, D), allocated once."""

    def __init__(self, decoder: Decoder, rows: int, positions: int) -> None:
        shape = (rows, decoder.kv_heads, positions, decoder.head_dim)
        make = torch.zeros
        self.keys = [make(shape, dtype=decoder.dtype, device=decoder.device) for _ in decoder.layers]
        self.values = [make(shape, dtype=decoder.dtype, device=decoder.device) for _ in decoder.layers]
        self.length = torch.zeros(rows, dtype=torch.long, device=decoder.device)
        self.positions = positions

    def width(self, rows: int) -> int:
        """The longest of the first `rows` rows."""
        return int(self.length[:rows].max())

    def bias(self, rows: int, width: int) -> Tensor:
        """(R, 1, 1, width) boolean: True where a row may look, its own new position included."""
        return (torch.arange(width, device=self.length.device) <= self.length[:rows, None])[:, None, None]

    def fill(self, rows: Tensor, keys: Tensor, values: Tensor, lengths: Tensor) -> None:
        """Put prompts (layers, R, kv heads, S, D) into the given rows."""
        steps = keys.shape[-2]
        for i in range(len(self.keys)):
            self.keys[i][rows, :, :steps] = keys[i]
            self.values[i][rows, :, :steps] = values[i]
        self.length[rows] = lengths

    def keep(self, rows: Tensor) -> None:
        """Move the given rows to the front, in this order."""
        n = len(rows)
        width = self.width(len(self.length))
        for i in range(len(self.keys)):
            self.keys[i][:n, :, :width] = self.keys[i][rows, :, :width]
            self.values[i][:n, :, :width] = self.values[i][rows, :, :width]
        self.length[:n] = self.length[rows].clone()
