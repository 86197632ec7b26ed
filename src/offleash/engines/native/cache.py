"""Keys and values: each prompt's once for all its rows, each row's own completion besides.

    prompts  (2, layers, G, K, S, D)      right-aligned: a prompt of s tokens fills the last s positions
    own      layers of (2, R, K, T, D)    all rows write into one column at a time; a row that began later begins further right

Live rows and live prompts are always the first ones; `bias` hides what a row may not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offleash.engines.native.weights import Decoder

Ids = tuple[int, ...]
Ints = NDArray[np.int64]
COLUMNS = 8
"""Columns are read in multiples of this."""
FEWEST = 16
"""Columns made at first. (Over fewer, torch computes p V without its matrix library, three times slower.)"""


@dataclass
class Step:
    """What one decode step reads besides weights and cache; for the suffixes see `forward`."""

    column: int
    columns: int
    groups: int
    width: int
    """Positions of the longest live prompt."""
    positions_R: Tensor
    grid: Tensor
    """(G K M): which (row, key head) stands there."""
    ungrid: Tensor
    """(R K): where each (row, key head) stands."""
    bias_RT: Tensor


class Cache:
    """Room for `rows` rows of at most `limit` tokens and `groups` prompts of at most `width`."""

    def __init__(self, decoder: Decoder, rows: int, groups: int, width: int, limit: int) -> None:
        layers, heads, d = len(decoder.layers), decoder.kv_heads, decoder.head_dim
        where = {"dtype": decoder.stream, "device": decoder.device}
        # A row has fewer than `limit` columns, and the one that began first begins before column COLUMNS.
        self.most = max(FEWEST, limit + COLUMNS)
        # Zeros, not whatever was there: a hidden value is multiplied by a probability of 0, and 0 x NaN is NaN.
        self.prompts = torch.zeros((2, layers, groups, heads, width, d), **where)
        self.owns = [torch.zeros((2, rows, heads, FEWEST, d), **where) for _ in range(layers)]
        self.bias = torch.zeros((rows, width + self.most), **where)
        self.logits_GV = torch.zeros((groups, decoder.vocab_size), device=decoder.device)
        self.decoder, self.width, self.limit = decoder, width, limit
        self.slot: dict[Ids, int] = {}
        self.group_R, self.length_R, self.begin_R = (np.zeros(rows, dtype=np.int64) for _ in range(3))
        self.rows = 0
        self.column = 0
        self.grid, self.ungrid = self._indices()

    # ------------------------------------------------------------------------------------------------- one decode step

    def step(self) -> Step:
        """The next step of the live rows, each of which grows by one position."""
        # A live row has fewer than `limit` columns. A finished one that lingers may lose its first ones, and its position.
        np.maximum(self.begin_R, self.column - self.limit, out=self.begin_R)
        np.minimum(self.length_R, self.decoder.context - 1, out=self.length_R)
        if self.begin_R[: self.rows].min() >= COLUMNS:
            self._drop_old_columns()
        if self.column == self.owns[0].shape[3]:
            self._widen()
        r, column = self.rows, self.column
        columns = max(FEWEST, (column // COLUMNS + 1) * COLUMNS)
        width = max(map(len, self.slot))
        self.bias[:r, self.width + column] = 0.0
        step = Step(
            column=column,
            columns=columns,
            groups=len(self.slot),
            width=width,
            positions_R=torch.from_numpy(self.length_R[:r].copy()).to(self.bias.device),
            grid=self.grid,
            ungrid=self.ungrid,
            bias_RT=self.bias[:r, self.width - width : self.width + columns],
        )
        self.column += 1
        self.length_R[:r] += 1
        return step

    def write(self, layer: int, step: Step, keys_RKD: Tensor, values_RKD: Tensor) -> None:
        """Put a step's keys and values into its column."""
        self.owns[layer][0, : len(keys_RKD), :, step.column] = keys_RKD
        self.owns[layer][1, : len(values_RKD), :, step.column] = values_RKD

    def prompt(self, layer: int, step: Step) -> tuple[Tensor, Tensor]:
        """Keys and values of the live prompts, each (G K, S, D)."""
        both = self.prompts[:, layer, : step.groups].flatten(1, 2)[:, :, self.width - step.width :]
        return both[0], both[1]

    def own(self, layer: int, step: Step) -> tuple[Tensor, Tensor]:
        """Keys and values of the live rows' own tokens, each (R K, T, D)."""
        both = self.owns[layer][:, : len(step.positions_R)].flatten(1, 2)[:, :, : step.columns]
        return both[0], both[1]

    # ------------------------------------------------------------------------------------------------ rows come and go

    def missing(self, prompts: Sequence[Ids]) -> list[Ids]:
        """Those of the prompts, each once, that have to be read first."""
        return [p for p in dict.fromkeys(prompts) if p not in self.slot]

    def put(self, prompts: Sequence[Ids], keys_values: Tensor, logits_GV: Tensor) -> None:
        """Store prompts read by `prefill`: (2, layers, G, K, S, D), right-padded, and the logits after them."""
        for i, ids in enumerate(prompts):
            slot = self.slot[ids] = len(self.slot)
            self.logits_GV[slot] = logits_GV[i]
            self.prompts[:, :, slot, :, self.width - len(ids) :] = keys_values[:, :, i, :, : len(ids)]

    def add(self, prompts: Sequence[Ids]) -> None:
        """New rows behind the live ones, one for each prompt; the prompts are there."""
        if not self.rows:
            self.column = 0
        first, last = self.rows, self.rows + len(prompts)
        lengths = np.array([len(p) for p in prompts])
        self.group_R[first:last] = [self.slot[p] for p in prompts]
        self.length_R[first:last] = lengths
        self.begin_R[first:last] = self.column
        self.bias[first:last] = -torch.inf
        hidden = torch.from_numpy(self.width - lengths).to(self.bias.device)
        shown = torch.arange(self.width, device=self.bias.device) >= hidden[:, None]
        self.bias[first:last, : self.width].masked_fill_(shown, 0.0)
        self.rows = last
        self.grid, self.ungrid = self._indices()

    def keep(self, alive_R: NDArray[np.bool_]) -> Ints:
        """Drop the other rows: those at the end move into the gaps. Returns the rows in their new order."""
        order = _close_gaps(alive_R)
        moved = np.flatnonzero(order != np.arange(len(order)))
        if len(moved):
            to, source = (torch.from_numpy(x).to(self.bias.device) for x in (moved, order[moved]))
            for own in self.owns:
                used = own[:, :, :, : self.column]
                used[:, to] = used[:, source]
            self.bias[to] = self.bias[source]
        for state in (self.group_R, self.length_R, self.begin_R):
            state[: len(order)] = state[order]
        self.rows = len(order)
        self._drop_prompts()
        self.grid, self.ungrid = self._indices()
        return order

    def _drop_prompts(self) -> None:
        """Forget prompts without rows, except the last one: its next rows may still wait."""
        used = np.zeros(len(self.slot), dtype=bool)
        used[self.group_R[: self.rows]] = True
        used[-1] = True
        names = list(self.slot)
        if used.all():
            return
        order = _close_gaps(used)
        for to, source in enumerate(order):
            if to != source:
                self.prompts[:, :, to] = self.prompts[:, :, source]
                self.logits_GV[to] = self.logits_GV[source]
        new = np.zeros(len(names), dtype=np.int64)
        new[order] = np.arange(len(order))
        self.slot = {names[source]: to for to, source in enumerate(order)}
        self.group_R[: self.rows] = new[self.group_R[: self.rows]]

    def _widen(self) -> None:
        """Room for twice the columns, layer by layer: short completions never touch the memory of long ones."""
        columns = min(self.most, 2 * self.column)
        for i, own in enumerate(self.owns):
            wide = own.new_zeros((*own.shape[:3], columns, own.shape[4]))
            wide[:, : self.rows, :, : self.column] = own[:, : self.rows, :, : self.column]
            self.owns[i] = wide

    def _drop_old_columns(self) -> None:
        """Move everything left, as far as the row that began first allows."""
        first = int(self.begin_R[: self.rows].min())
        for own in self.owns:
            own[:, : self.rows, :, : self.column - first] = own[:, : self.rows, :, first : self.column].clone()
        shown = self.bias[: self.rows, self.width + first : self.width + self.column].clone()
        self.bias[: self.rows, self.width :] = -torch.inf
        self.bias[: self.rows, self.width : self.width + self.column - first] = shown
        self.begin_R[: self.rows] -= first
        self.column -= first

    def _indices(self) -> tuple[Tensor, Tensor]:
        """Rows as a rectangle (prompt, key head, row of the group), and back."""
        grid, ungrid = self._rectangle(max(len(self.slot), 1), self._largest())
        device = self.bias.device
        return torch.from_numpy(grid).to(device), torch.from_numpy(ungrid).to(device)

    def _largest(self) -> int:
        """Rows of the largest group."""
        return max(int(np.bincount(self.group_R[: self.rows], minlength=1).max()), 1)

    def _rectangle(self, groups: int, largest: int) -> tuple[Ints, Ints]:
        """The same with room for `groups` prompts of `largest` rows."""
        heads = self.decoder.kv_heads
        group_R = self.group_R[: self.rows]
        counts = np.bincount(group_R, minlength=groups)
        order = np.argsort(group_R, kind="stable")
        place = np.arange(self.rows) - np.repeat(counts.cumsum() - counts, counts)
        grid_GM = np.zeros((len(counts), largest), dtype=np.int64)
        grid_GM[group_R[order], place] = order
        ungrid_R = np.zeros(self.rows, dtype=np.int64)
        ungrid_R[order] = group_R[order] * heads * largest + place
        head_K = np.arange(heads)
        grid = grid_GM[:, None] * heads + head_K[:, None]
        ungrid = ungrid_R[:, None] + head_K * largest
        return grid.ravel(), ungrid.ravel()


def _close_gaps(alive: NDArray[np.bool_]) -> Ints:
    """The living, the first ones where they are, the last ones in the gaps.

    >>> _close_gaps(np.array([True, False, True, False, True])).tolist()
    [0, 4, 2]
    """
    n = int(alive.sum())
    order = np.arange(n)
    order[~alive[:n]] = n + np.flatnonzero(alive[n:])
    return order
