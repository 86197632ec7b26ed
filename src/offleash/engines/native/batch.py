"""Continuous batching: one share of the requests, decoded over a fixed number of rows.

    waiting requests -> rows (each prompt read once for all its rows) -> decode, all rows together -> finished

A finished row is decoded on until enough rows have finished that closing the gaps is worth it; what it samples meanwhile is
cut off at the end. What happens does not depend on time, so the same share gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offleash.core import rng
from offleash.engines.native.sample import sample

Ids = tuple[int, ...]
Ints = NDArray[np.int64]
AHEAD = 16
"""Uniform numbers computed at one time for a row."""
IDLE = 1 / 16
"""Share of finished rows at which the gaps are closed."""
ROUND = 16
"""Rows are kept in multiples of this where finished ones allow it: the matrix library prepares itself for every size it meets."""
FREE = 1 / 8
"""Share of free rows at which waiting requests are let in: reading a few prompts together is cheaper than one by one."""


class Rows(Protocol):
    """The live rows of a model: keys and values, and how they grow."""

    refills: bool
    """Whether rows can be added while others are live."""

    def admit(self, prompts: Sequence[Ids]) -> Tensor:
        """Add a row for each prompt, behind the live ones; float32 logits (R, V) of their first token."""
        ...

    def decode(self, ids_R: Tensor) -> Tensor:
        """Lengthen each row by a token; float32 logits (R, V) for the next one."""
        ...

    def keep(self, alive_R: NDArray[np.bool_]) -> Ints:
        """Drop the other rows; returns which old row each new one is."""
        ...


class Asked(NamedTuple):
    """A request: its prompt's token ids, the key of its stream, and the most tokens it may get."""

    prompt: Ids
    key: int
    limit: int


class Row(NamedTuple):
    """A finished request: token ids, log-probs, entropies, and whether it ended by itself."""

    ids: list[int]
    logprobs: list[float]
    entropies: list[float]
    stopped: bool


class NotFinite(ArithmeticError):
    """A log-prob came out as NaN."""


class Batch:
    """The state of one share. `drawn()` may be asked at any time, also after an error.

    Args:
        rows: where they live.
        asked: the requests; those of one prompt stand together.
        capacity: rows at one time.
        ends: end tokens.
        spelled: whether token ids end with a stop string in them; None without stop strings.
        on_finished: called with the number of newly finished requests; may raise, to stop.
    """

    def __init__(
        self,
        rows: Rows,
        asked: Sequence[Asked],
        capacity: int,
        temperature: float,
        ends: Sequence[int],
        spelled: Callable[[list[int]], bool] | None,
        on_finished: Callable[[int], None],
    ) -> None:
        self.state, self.asked, self.capacity, self.temperature = rows, asked, capacity, temperature
        self.spelled, self.on_finished = spelled, on_finished
        self.keys = np.array([a.key for a in asked], dtype=np.uint64)
        self.limits = np.array([a.limit for a in asked])
        self.ends = np.array(ends, dtype=np.int64)
        self.next = 0
        # Of the live rows: request, tokens so far, whether still alive, uniform numbers of the present block.
        self.request_R, self.age_R = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self.alive_R = np.zeros(0, dtype=bool)
        self.uniform_RB = np.zeros((0, AHEAD))
        self.token_R = torch.zeros(0, dtype=torch.long)
        self.said: list[list[int]] = []
        # Every step's request numbers and what was sampled for them, sorted out at the end.
        self.log: list[tuple[Ints, Tensor, Tensor, Tensor]] = []
        self.length: dict[int, int] = {}
        self.stopped: set[int] = set()

    def run(self) -> dict[int, Row]:
        """Draw everything."""
        self._admit()
        while self.alive_R.any():
            self._advance()
            free = self.capacity - int(self.alive_R.sum())
            self._close()
            if self._may_admit() and free >= FREE * self.capacity:
                self._admit()
        return self.drawn()

    def _advance(self) -> None:
        """Lengthen all rows."""
        self._take(self.state.decode(self.token_R), 0)

    def _close(self) -> None:
        """Close the gaps when there are enough of them."""
        dead = len(self.alive_R) - int(self.alive_R.sum())
        if dead and dead >= IDLE * len(self.alive_R):
            self._keep(ROUND)

    def _may_admit(self) -> bool:
        return self.next < len(self.asked) and (self.state.refills or not self.alive_R.any())

    def _admit(self) -> None:
        """Let waiting requests in, and sample their first token from their prompt's own logits."""
        while self._may_admit():
            if not self.alive_R.all():
                self._keep()
            old = len(self.alive_R)
            new = np.arange(self.next, min(self.next + self.capacity - old, len(self.asked)))
            if not len(new):
                return
            logits = self.state.admit([self.asked[i].prompt for i in new.tolist()])
            # A state that cannot mix them may have taken fewer.
            new = new[: len(logits)]
            self.next += len(new)
            self.request_R = np.concatenate([self.request_R, new])
            self.age_R = np.concatenate([self.age_R, np.zeros_like(new)])
            self.alive_R = np.concatenate([self.alive_R, np.ones(len(new), dtype=bool)])
            self.uniform_RB = np.concatenate([self.uniform_RB, np.zeros((len(new), AHEAD))])
            self.said += [[] for _ in new]
            self._take(logits, old)

    def _take(self, logits_RV: Tensor, first: int) -> None:
        """Sample a token for the rows from `first` on."""
        token, logprob, entropy = sample(logits_RV, self._uniforms(first, logits_RV.device), self.temperature)
        self.token_R = torch.cat([self.token_R[:first].to(token.device), token]) if first else token
        if not np.isfinite(logprob.sum().item()):
            raise NotFinite
        self._record(first, token, logprob, entropy)

    def _record(self, first: int, token: Tensor, logprob: Tensor, entropy: Tensor) -> None:
        """Note what the rows from `first` on got, and see who has finished."""
        request_R, ids_R = self.request_R[first:], token.cpu().numpy()
        self.log.append((request_R, token, logprob, entropy))
        age_R, alive_R = self.age_R[first:], self.alive_R[first:]
        age_R += 1
        stopped_R = np.isin(ids_R, self.ends) if len(self.ends) != 1 else ids_R == self.ends[0]
        if self.spelled:
            for row in np.flatnonzero(alive_R & ~stopped_R).tolist():
                self.said[first + row].append(int(ids_R[row]))
                stopped_R[row] = self.spelled(self.said[first + row])
        ended = np.flatnonzero(alive_R & (stopped_R | (age_R >= self.limits[request_R])))
        if not len(ended):
            return
        alive_R[ended] = False
        for row in ended.tolist():
            self.length[int(request_R[row])] = int(age_R[row])
            if stopped_R[row]:
                self.stopped.add(int(request_R[row]))
        self.on_finished(len(ended))

    def _uniforms(self, first: int, device: torch.device) -> Tensor:
        """Each row's uniform number for its next token."""
        age_R = self.age_R[first:]
        if self.temperature == 0:
            return torch.zeros(len(age_R), dtype=torch.float64, device=device)
        fresh = np.flatnonzero(age_R % AHEAD == 0)
        for age in np.unique(age_R[fresh]):
            rows = first + fresh[age_R[fresh] == age]
            self.uniform_RB[rows] = rng.uniforms(self.keys[self.request_R[rows]], int(age), AHEAD)
        return torch.from_numpy(self.uniform_RB[np.arange(first, len(self.age_R)), age_R % AHEAD]).to(device)

    def _keep(self, multiple: int = 1) -> None:
        """Drop the finished rows, but for a few that make the number a multiple."""
        finished = np.flatnonzero(~self.alive_R)
        kept_R = self.alive_R.copy()
        kept_R[finished[: -int(self.alive_R.sum()) % multiple]] = True
        if kept_R.all():
            return
        order = self.state.keep(kept_R)
        self.request_R, self.age_R, self.alive_R = self.request_R[order], self.age_R[order], self.alive_R[order]
        self.uniform_RB = self.uniform_RB[order]
        self.token_R = self.token_R[torch.from_numpy(order).to(self.token_R.device)]
        if self.spelled:
            self.said = [self.said[i] for i in order]
        else:
            self.said = self.said[: len(order)]

    def drawn(self) -> dict[int, Row]:
        """What has finished so far."""
        if not self.log:
            return {}
        requests, tokens, logprobs, entropies = zip(*self.log, strict=True)
        request = np.concatenate(requests)
        order = np.argsort(request, kind="stable")  # by request, and in each by step
        ids, logp, entropy = (torch.cat(x).cpu().numpy()[order] for x in (tokens, logprobs, entropies))
        begin = np.searchsorted(request[order], np.arange(len(self.asked)))
        found: dict[int, Row] = {}
        for i, length in self.length.items():
            part = slice(begin[i], begin[i] + length)
            found[i] = Row(ids[part].tolist(), logp[part].tolist(), entropy[part].tolist(), i in self.stopped)
        return found
