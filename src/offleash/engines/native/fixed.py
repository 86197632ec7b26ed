"""Decoding in fixed shapes, for a GPU: the host says what comes and reads back what came only every `CHUNK` steps.

In between, a step reads and writes nothing but buffers that stay where they are: token, position, column and step number are tensors, so
the same work can be recorded once and replayed (`replay.py`). Rows, columns, prompts and the rows of the largest group are rounded
up to powers of two, so that there are few shapes; padding rows compute what nobody reads. A row that ends within a chunk goes on to
its end, as finished rows do anyway.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offleash.core import rng
from offleash.engines.native.batch import Batch, NotFinite
from offleash.engines.native.cache import COLUMNS, FEWEST, Cache, Step
from offleash.engines.native.forward import decode
from offleash.engines.native.replay import CudaGraphs, Replay
from offleash.engines.native.rows import NativeRows
from offleash.engines.native.sample import sample
from offleash.engines.native.weights import Decoder

CHUNK = 16
"""Steps between two looks at what was sampled."""
BLOCK = 64
"""Uniform numbers computed at one time for a row, besides those of one chunk more."""
FEWEST_ROWS = 8


class Shape(NamedTuple):
    """What a recorded step is bound to."""

    rows: int
    columns: int
    groups: int
    largest: int
    temperature: float


def room(n: int, least: int, most: int) -> int:
    """The power of two from `n` on, within bounds.

    >>> [room(n, 8, 100) for n in (1, 8, 9, 65)]
    [8, 8, 16, 100]
    """
    return min(most, max(least, 1 << max(n - 1, 0).bit_length()))


class FixedCache(Cache):
    """All of its memory at once, and the column as a tensor."""

    def __init__(self, decoder: Decoder, rows: int, groups: int, width: int, limit: int) -> None:
        self.grids: dict[tuple[int, int], Tensor] = {}
        self.places = torch.zeros(rows * decoder.kv_heads, dtype=torch.long, device=decoder.device)
        self.column_1 = torch.zeros(1, dtype=torch.long, device=decoder.device)
        # A chunk may begin where the last column of the longest row is.
        super().__init__(decoder, rows, groups, width, limit + CHUNK)
        self.limit = limit
        self.owns = [own.new_zeros((*own.shape[:3], self.most, own.shape[4])) for own in self.owns]

    def chunk(self, temperature: float) -> Shape:
        """Make room for `CHUNK` columns of the live rows."""
        np.maximum(self.begin_R, self.column - self.limit, out=self.begin_R)
        np.minimum(self.length_R, self.decoder.context - 1, out=self.length_R)
        first, end = int(self.begin_R[: self.rows].min()), self.column + CHUNK
        # Moving everything left costs as much as a few steps: only where it makes steps cheaper, or there is no room.
        if first >= COLUMNS and (end > self.most or self._columns(end - first) < self._columns(end)):
            self._drop_old_columns()
        self.column_1.fill_(self.column)
        rows = room(self.rows, FEWEST_ROWS, len(self.group_R))
        return Shape(rows, self._columns(self.column + CHUNK), self.groups, self.largest, temperature)

    def fixed(self, shape: Shape, positions_R: Tensor) -> Step:
        """A step of that shape; its column is `column_1`."""
        return Step(
            column=-1,
            columns=shape.columns,
            groups=shape.groups,
            width=self.width,
            positions_R=positions_R[: shape.rows],
            grid=self.grids[shape.groups, shape.largest],
            ungrid=self.places[: shape.rows * self.decoder.kv_heads],
            bias_RT=self.bias[: shape.rows, : self.width + shape.columns],
        )

    def write(self, layer: int, step: Step, keys_RKD: Tensor, values_RKD: Tensor) -> None:
        """Put a step's keys and values into the present column."""
        own = self.owns[layer][:, : len(keys_RKD)]
        own[0].index_copy_(2, self.column_1, keys_RKD[:, :, None])
        own[1].index_copy_(2, self.column_1, values_RKD[:, :, None])

    def _columns(self, n: int) -> int:
        return room(n, FEWEST, self.most)

    def _indices(self) -> tuple[Tensor, Tensor]:
        self.groups = room(len(self.slot), 1, self.prompts.shape[2])
        self.largest = room(self._largest(), 1, len(self.group_R))
        grid, ungrid = self._rectangle(self.groups, self.largest)
        if (self.groups, self.largest) not in self.grids:
            self.grids[self.groups, self.largest] = torch.zeros(len(grid), dtype=torch.long, device=self.bias.device)
        kept = self.grids[self.groups, self.largest]
        kept.copy_(torch.from_numpy(grid))
        self.places.zero_()  # padding rows read where everybody may
        self.places[: len(ungrid)].copy_(torch.from_numpy(ungrid))
        return kept, self.places


class FixedRows(NativeRows):
    """See `batch.Rows`, with `advance` in place of `decode`. It outlives a rollout: what was recorded is bound to its memory.

    Args:
        decoder: whose weights stay where they are while its `version` does.
        rows, groups, width, limit: most rows, prompts, tokens of a prompt, tokens of a completion.
    """

    cache: FixedCache

    def __init__(self, decoder: Decoder, rows: int, groups: int, width: int, limit: int) -> None:
        self.decoder, self.version = decoder, decoder.version
        self.room = (rows, groups, width, limit)
        self.cache = FixedCache(decoder, rows, groups, width, limit)
        self.replay = Replay(CudaGraphs(decoder.device) if decoder.device.type == "cuda" else None)
        where: dict[str, Any] = {"device": decoder.device}
        self.token_R = torch.zeros(rows, dtype=torch.long, **where)
        self.position_R = torch.zeros(rows, dtype=torch.long, **where)
        self.at_1 = torch.zeros(1, dtype=torch.long, **where)
        self.uniform_RC = torch.zeros((rows, CHUNK), dtype=torch.float64, **where)
        self.token_RC = torch.zeros((rows, CHUNK), dtype=torch.long, **where)
        self.logprob_RC, self.entropy_RC = (torch.zeros((rows, CHUNK), **where) for _ in range(2))

    def fits(self, room: tuple[int, int, int, int]) -> bool:
        """Whether a rollout of that size can use this memory, and the weights are where they were."""
        return self.version == self.decoder.version and all(a >= b for a, b in zip(self.room, room, strict=True))

    def reset(self) -> None:
        """Forget all rows and prompts. What lies in the memory is finite, and hidden."""
        self.cache.slot, self.cache.rows, self.cache.column = {}, 0, 0

    def advance(
        self, token_R: Tensor, uniform_RC: NDArray[np.float64], temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Lengthen each row by as many tokens as there are uniform numbers for it.

        Returns:
            tokens, log-probs and entropies (R, steps), on the host.
        """
        rows, steps = uniform_RC.shape
        shape = self.cache.chunk(temperature)
        self.token_R[:rows].copy_(token_R)
        self.position_R.copy_(torch.from_numpy(self.cache.length_R))
        self.uniform_RC[:rows, :steps].copy_(torch.from_numpy(uniform_RC))
        self.at_1.zero_()
        for _ in range(steps):
            self.replay(shape, lambda: self._step(shape))
        self.cache.column += steps
        self.cache.length_R[:rows] += steps
        # A copy also where that is the same device: the buffers are written again.
        tokens, logprobs, entropies = (
            x[:rows, :steps].to("cpu", copy=True) for x in (self.token_RC, self.logprob_RC, self.entropy_RC)
        )
        return tokens, logprobs, entropies

    def _step(self, shape: Shape) -> None:
        """One token for each row. Nothing here may depend on a value that only the host knows, or that it would wait for."""
        cache, rows, at = self.cache, shape.rows, self.at_1
        token_R, position_R = self.token_R[:rows], self.position_R[:rows]
        cache.bias[:rows].index_fill_(1, cache.column_1 + cache.width, 0.0)
        logits_RV = decode(self.decoder, token_R, cache, cache.fixed(shape, position_R))
        uniform_R = self.uniform_RC[:rows].index_select(1, at).squeeze(1)
        token, logprob, entropy = sample(logits_RV, uniform_R, shape.temperature)
        self.token_RC[:rows].index_copy_(1, at, token[:, None])
        self.logprob_RC[:rows].index_copy_(1, at, logprob[:, None])
        self.entropy_RC[:rows].index_copy_(1, at, entropy[:, None])
        token_R.copy_(token)
        position_R.add_(1).clamp_(max=self.decoder.context - 1)
        cache.column_1.add_(1)
        at.add_(1)


class FixedBatch(Batch):
    """Rows that grow by a chunk at a time."""

    state: FixedRows

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Of each request: uniform numbers from position `base` on.
        self.uniform_NB = np.zeros((len(self.asked), BLOCK + CHUNK))
        self.base_N = np.full(len(self.asked), -(BLOCK + CHUNK), dtype=np.int64)

    def _advance(self) -> None:
        left_R = self.limits[self.request_R] - self.age_R
        steps = min(CHUNK, int(left_R[self.alive_R].max()))
        tokens, logprobs, entropies = self.state.advance(self.token_R, self._chunk(0, steps), self.temperature)
        if not torch.isfinite(logprobs[torch.from_numpy(self.alive_R)]).all():
            raise NotFinite
        self.token_R = self.state.token_R[: len(tokens)]
        for t in range(steps):
            self._record(0, tokens[:, t], logprobs[:, t], entropies[:, t])

    def _close(self) -> None:
        """Only where it makes the shape smaller."""
        most = self.state.room[0]
        if room(int(self.alive_R.sum()), FEWEST_ROWS, most) < room(len(self.alive_R), FEWEST_ROWS, most):
            self._keep()

    def _record(self, first: int, token: Tensor, logprob: Tensor, entropy: Tensor) -> None:
        super()._record(first, token.cpu(), logprob.cpu(), entropy.cpu())

    def _uniforms(self, first: int, device: torch.device) -> Tensor:
        return torch.from_numpy(self._chunk(first, 1)[:, 0]).to(device)

    def _chunk(self, first: int, steps: int) -> NDArray[np.float64]:
        """Each row's uniform numbers for its next tokens, (R, steps)."""
        request_R, age_R, alive_R = self.request_R[first:], self.age_R[first:], self.alive_R[first:]
        if self.temperature == 0:
            return np.zeros((len(request_R), steps))
        used_up_R = alive_R & (age_R + steps > self.base_N[request_R] + BLOCK + CHUNK)
        used_up = request_R[used_up_R]
        self.base_N[used_up] = age_R[used_up_R] // BLOCK * BLOCK
        for base in np.unique(self.base_N[used_up]):
            some = used_up[self.base_N[used_up] == base]
            self.uniform_NB[some] = rng.uniforms(self.keys[some], int(base), BLOCK + CHUNK)
        # Those of a finished row do not matter.
        column_RC = (age_R - self.base_N[request_R])[:, None] + np.arange(steps)
        return self.uniform_NB[request_R[:, None], column_RC.clip(0, BLOCK + CHUNK - 1)]
