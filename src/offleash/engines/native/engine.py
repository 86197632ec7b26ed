"""The native engine: continuous batching over a fixed number of rows, prompts read once for all their samples.

    waiting requests -> rows (prompt's keys and values copied from its one prefill) -> decode, all rows together -> done

Finished rows stop counting at once; when a quarter of the rows is idle the live ones are moved together and the free ones
refilled from the queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash.core import Completion, rng
from offleash.engines.base import Request, SamplingSettings
from offleash.engines.native.cache import Cache
from offleash.engines.native.forward import decode, prefill
from offleash.engines.native.limits import tokenize
from offleash.engines.native.sample import sample
from offleash.engines.native.weights import Decoder


class NativeEngine:
    """Samples from a model's own weights. Call `refresh` after the weights have changed."""

    name = "native"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: SamplingSettings,
        rows: int = 256,
    ) -> None:
        self.tokenizer, self.sampling, self.rows = tokenizer, sampling, rows
        self.decoder = Decoder(model)
        self.eos = {tokenizer.eos_token_id}

    def refresh(self) -> None:
        """Read the model's present weights."""
        self.decoder.refresh()

    def tokenize(self, prompts: Iterable[str]) -> dict[str, list[int]]:
        """The token ids of each different prompt; InputError for one that the engine refuses."""
        return tokenize(self.tokenizer, prompts, self.sampling.max_completion_length, self.decoder.context)

    def settings(self) -> dict[str, Any]:
        """What makes samples comparable: stored as the sampler's identity."""
        return {
            "engine": self.name,
            "dtype": str(self.decoder.dtype).removeprefix("torch."),
            "temperature": self.sampling.temperature,
            "max_completion_length": self.sampling.max_completion_length,
            "stop": list(self.sampling.stop),
        }

    def generate(
        self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One completion for each request, in their order.

        Args:
            requests: those with the same prompt share one prefill when they stand together.
            on_finished: called with the number of newly finished requests.
        """
        if not requests:
            return []
        with torch.inference_mode():
            return _Batch(self, requests, on_finished).run()


class _Batch:
    """The state of one `generate` call."""

    def __init__(
        self, engine: NativeEngine, requests: Sequence[Request], on_finished: Callable[[int], None] | None
    ) -> None:
        self.engine, self.requests, self.on_finished = engine, requests, on_finished
        self.decoder, self.limit = engine.decoder, engine.sampling.max_completion_length
        device = self.decoder.device
        self.prompts = engine.tokenize(r.prompt for r in requests)
        longest = max(map(len, self.prompts.values())) + self.limit
        self.capacity = min(engine.rows, len(requests))
        self.cache = Cache(self.decoder, self.capacity, longest)
        self.pending = Counter(r.prompt for r in requests)
        self.prefixes: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        self.next = 0
        self.live = 0
        self.request_R = torch.zeros(self.capacity, dtype=torch.long, device=device)
        self.step_R = torch.zeros(self.capacity, dtype=torch.long, device=device)
        self.token_R = torch.zeros(self.capacity, dtype=torch.long, device=device)
        self.alive_R = torch.zeros(self.capacity, dtype=torch.bool, device=device)
        self.uniform_RT = torch.zeros((self.capacity, self.limit), dtype=torch.float64, device=device)
        n = len(requests)
        self.tokens = torch.zeros((n, self.limit), dtype=torch.long, device=device)
        self.logprobs = torch.zeros((n, self.limit), device=device)
        self.entropies = torch.zeros((n, self.limit), device=device)
        self.lengths = torch.zeros(n, dtype=torch.long, device=device)
        self.stopped = torch.zeros(n, dtype=torch.bool, device=device)
        self.eos = torch.tensor(sorted(engine.eos), device=device)

    def run(self) -> list[Completion]:
        self._admit()
        while self.live:
            logits = decode(self.decoder, self.token_R[: self.live], self.cache, self.live)
            self.cache.length[: self.live] += self.alive_R[: self.live]
            self._take(torch.arange(self.live, device=logits.device), logits)
            alive = int(self.alive_R[: self.live].sum())
            waiting = self.next < len(self.requests)
            if alive < self.live and (alive == 0 or alive <= 0.75 * (self.capacity if waiting else self.live)):
                self._compact()
                self._admit()
        return self._collect()

    def _take(self, rows: Tensor, logits: Tensor) -> None:
        """Sample the next token of the given rows and record it for those still alive."""
        step = self.step_R[rows]
        uniform = self.uniform_RT[rows, step.clamp(max=self.limit - 1)]
        token, logprob, entropy = sample(logits, uniform, self.engine.sampling.temperature)
        self.token_R[rows] = token
        alive = self.alive_R[rows]
        r, s = self.request_R[rows][alive], step[alive]
        self.tokens[r, s], self.logprobs[r, s], self.entropies[r, s] = token[alive], logprob[alive], entropy[alive]
        ended = torch.isin(token, self.eos) & alive
        full = (step + 1 >= self.limit) & alive
        self.lengths[r] = s + 1
        self.stopped[self.request_R[rows][ended]] = True
        self.alive_R[rows] = alive & ~ended & ~full
        self.step_R[rows] = step + 1
        done = int((ended | full).sum())
        if done and self.on_finished:
            self.on_finished(done)

    def _compact(self) -> None:
        """Move the live rows to the front."""
        keep = self.alive_R[: self.live].nonzero().squeeze(-1)
        self.cache.keep(keep)
        for state in (self.request_R, self.step_R, self.token_R, self.alive_R, self.uniform_RT):
            state[: len(keep)] = state[keep]
        self.live = len(keep)

    def _admit(self) -> None:
        """Fill free rows from the queue, sample their first token from the prompt's own logits."""
        while self.next < len(self.requests) and self.live < self.capacity:
            batch = self.requests[self.next : self.next + self.capacity - self.live]
            rows = torch.arange(self.live, self.live + len(batch), device=self.decoder.device)
            logits = self._place(batch, rows)
            keys = np.array([r.key for r in batch], dtype=np.uint64)
            self.uniform_RT[rows] = torch.from_numpy(rng.uniforms(keys, 0, self.limit)).to(self.uniform_RT.device)
            self.request_R[rows] = torch.arange(self.next, self.next + len(batch), device=rows.device)
            self.step_R[rows], self.alive_R[rows] = 0, True
            self.next += len(batch)
            self.live += len(batch)
            self._take(rows, logits)
            if not bool(self.alive_R[rows].all()):
                self._compact()

    def _place(self, batch: Sequence[Request], rows: Tensor) -> Tensor:
        """Copy each request's prompt into its row; returns the logits of the first token."""
        prompts = list(dict.fromkeys(r.prompt for r in batch))
        self._prefill([p for p in prompts if p not in self.prefixes])
        place = {p: i for i, p in enumerate(prompts)}
        which = torch.tensor([place[r.prompt] for r in batch], device=rows.device)
        width = max(len(self.prompts[p]) for p in prompts)
        pad = [torch.nn.functional.pad(self.prefixes[p][0], (0, 0, 0, width - len(self.prompts[p]))) for p in prompts]
        pad_v = [torch.nn.functional.pad(self.prefixes[p][1], (0, 0, 0, width - len(self.prompts[p]))) for p in prompts]
        lengths = torch.tensor([len(self.prompts[p]) for p in prompts], device=rows.device)
        self.cache.fill(rows, torch.stack(pad, 1)[:, which], torch.stack(pad_v, 1)[:, which], lengths[which])
        logits = torch.stack([self.prefixes[p][2] for p in prompts])[which]
        self.pending.subtract(r.prompt for r in batch)
        for p in prompts:
            if self.pending[p] <= 0:
                del self.prefixes[p]
        return logits

    def _prefill(self, prompts: list[str]) -> None:
        for start in range(0, len(prompts), 64):
            part = prompts[start : start + 64]
            lengths = [len(self.prompts[p]) for p in part]
            ids = torch.zeros((len(part), max(lengths)), dtype=torch.long)
            for i, p in enumerate(part):
                ids[i, : lengths[i]] = torch.tensor(self.prompts[p])
            device = self.decoder.device
            keys, values, logits = prefill(self.decoder, ids.to(device), torch.tensor(lengths, device=device))
            for i, p in enumerate(part):
                self.prefixes[p] = (keys[:, i, :, : lengths[i]], values[:, i, :, : lengths[i]], logits[i])

    def _collect(self) -> list[Completion]:
        lengths, stopped = self.lengths.tolist(), self.stopped.tolist()
        tokens = [row[:k] for row, k in zip(self.tokens.tolist(), lengths, strict=True)]
        texts = self.engine.tokenizer.batch_decode(
            [row[:-1] if stop else row for row, stop in zip(tokens, stopped, strict=True)], skip_special_tokens=False
        )
        return [
            Completion(
                problem_id=request.problem_id,
                index=request.index,
                text=text,
                token_ids=tuple(row),
                logprobs=tuple(logprobs[:k]),
                entropies=tuple(entropies[:k]),
                finish_reason="stop" if stop else "length",
            )
            for request, text, row, logprobs, entropies, k, stop in zip(
                self.requests,
                texts,
                tokens,
                self.logprobs.tolist(),
                self.entropies.tolist(),
                lengths,
                stopped,
                strict=True,
            )
        ]
