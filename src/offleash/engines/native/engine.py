"""The native engine: samples from the trainer's own weights, each prompt read once, one worker thread a core."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from threading import Event, Lock
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash.core import Completion, InputError, OffleashError
from offleash.engines.base import Request, SamplingSettings, cut, prompt_ids
from offleash.engines.native.batch import Asked, Batch, NotFinite, Row
from offleash.engines.native.cache import Ids
from offleash.engines.native.fixed import FixedBatch, FixedRows
from offleash.engines.native.generic import Generic, GenericRows
from offleash.engines.native.limits import end_tokens, reads, require_vocabulary, tokenize
from offleash.engines.native.rows import NativeRows
from offleash.engines.native.shares import Cancelled, in_threads, split
from offleash.engines.native.stops import Stops
from offleash.engines.native.weights import Decoder
from offleash.nn.load import check_finite


class NativeEngine:
    """Samples from a model's own weights. Call `refresh` after the weights have changed.

    Args:
        model: any causal language model. Families of `limits.FAMILIES` are decoded by the engine itself, others by their own
            forward.
        tokenizer: must name an end token, unless the model's generation config does or there are stop strings.
        rows: requests decoded at one time, over all worker threads.
        dtype: of the products with weights; None is the model's own. Anything else makes a packed copy, and only for the
            families that the engine decodes itself.

    Raises:
        InputError: nothing could end a completion.
    """

    name = "native"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: SamplingSettings,
        rows: int = 256,
        dtype: torch.dtype | None = None,
    ) -> None:
        if rows < 1:
            raise InputError(f"rows: {rows} is below 1")
        if dtype is not None and not dtype.is_floating_point:
            raise InputError(f"dtype: {dtype} is no floating-point type; give torch.float32 or torch.bfloat16")
        require_vocabulary(model.config, tokenizer)
        self.model, self.tokenizer, self.sampling, self.rows = model, tokenizer, sampling, rows
        self.decoder = Decoder(model, dtype) if reads(model.config) else Generic(model)
        self.ends = end_tokens(tokenizer, model.generation_config, sampling.stop)
        self.spelled = Stops(tokenizer, sampling.stop) if sampling.stop else None
        # Fixed shapes on a GPU (`fixed.py`). Their memory is kept from one rollout to the next.
        self._fixed = isinstance(self.decoder, Decoder) and self.decoder.stays
        self._kept: FixedRows | None = None

    @property
    def context(self) -> int:
        """Tokens of a prompt and its completion together."""
        return self.decoder.context

    def refresh(self) -> None:
        """Read the model's present weights."""
        self.decoder.refresh()

    def release(self) -> None:
        """Give back the keys' and values' memory that is kept on a GPU between rollouts; the next one makes it anew."""
        self._kept = None

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
            "end_tokens": self.ends,
        }

    def generate(
        self,
        requests: Sequence[Request],
        on_finished: Callable[[int], None] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> list[Completion]:
        """One completion for each request, in their order.

        Args:
            requests: those with the same prompt share its prefill.
            on_finished: called with the number of newly finished requests, by one thread at a time.
            lengths: for measurements: how many tokens each request gets, whatever it says.

        Raises:
            InputError: a prompt is empty or too long, or a weight is not finite (names the tensor).
            OffleashError: the numbers overflow though the weights are finite, or not even one row fits into memory.
        """
        if not requests:
            return []
        limits = lengths or [self.sampling.max_completion_length] * len(requests)
        prompts = prompt_ids(requests, self.tokenize)
        asked = [Asked(ids, r.key, limit) for r, ids, limit in zip(requests, prompts, limits, strict=True)]
        workers = torch.get_num_threads() if self.decoder.device.type == "cpu" else 1
        lock = Lock()

        def draw(share: list[int], stop: Event) -> dict[int, Row]:
            def tell(count: int) -> None:
                if stop.is_set():
                    raise Cancelled
                if on_finished:
                    with lock:
                        on_finished(count)

            found = self._share([asked[i] for i in share], workers, self.ends if lengths is None else [], tell)
            return {share[i]: row for i, row in found.items()}

        rows: dict[int, Row] = {}
        for part in in_threads(draw, split([a.prompt for a in asked], workers, self.rows), workers):
            rows |= part
        return self._completions(requests, [rows[i] for i in range(len(requests))])

    def _share(self, asked: list[Asked], workers: int, ends: list[int], tell: Callable[[int], None]) -> dict[int, Row]:
        """Draw a share. Out of memory, what is finished is kept and the rest goes on with half the rows."""
        found: dict[int, Row] = {}
        left = list(range(len(asked)))
        while left:
            capacity = min(max(1, self.rows // workers), len(left))
            some, short = self._try([asked[i] for i in left], capacity, ends, tell)
            found |= {left[i]: row for i, row in some.items()}
            left = [j for i, j in enumerate(left) if i not in some]
            if short:
                self._halve(capacity, workers, short)
        return found

    @torch.inference_mode()
    def _try(
        self, asked: list[Asked], capacity: int, ends: list[int], tell: Callable[[int], None]
    ) -> tuple[dict[int, Row], str]:
        """The finished requests, and why it is not all of them: the message of the allocator, or nothing."""
        batch = None
        try:
            batch = self._batch(asked, capacity, ends, tell)
            return batch.run(), ""
        except NotFinite:
            self.release()  # what is not finite would stay in it
            raise self._not_finite() from None
        except (RuntimeError, MemoryError) as error:
            self.release()
            if not _out_of_memory(error):
                raise
            return batch.drawn() if batch else {}, str(error).strip().splitlines()[0] if str(error) else "out of memory"

    def _batch(self, asked: list[Asked], capacity: int, ends: list[int], tell: Callable[[int], None]) -> Batch:
        rest = (asked, capacity, self.sampling.temperature, ends, self.spelled, tell)
        if isinstance(self.decoder, Generic):
            return Batch(GenericRows(self.decoder), *rest)
        prompts = [a.prompt for a in asked]
        if not self._fixed:
            return Batch(NativeRows(self.decoder, prompts, capacity, self.sampling.max_completion_length), *rest)
        return FixedBatch(self._fixed_rows(self.decoder, prompts, capacity), *rest)

    def _fixed_rows(self, decoder: Decoder, prompts: list[Ids], capacity: int) -> FixedRows:
        """Those of the rollout before if there is room; otherwise new ones, as large as either needs."""
        distinct = set(prompts)
        room = (
            capacity,
            min(len(distinct), capacity) + 1,
            max(map(len, distinct)),
            self.sampling.max_completion_length,
        )
        if self._kept is None or not self._kept.fits(room):
            if self._kept is not None:
                a, b = self._kept.room, room
                room = (max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
            self._kept = None  # before the new ones are made
            self._kept = FixedRows(decoder, *room)
        self._kept.reset()
        return self._kept

    def _halve(self, capacity: int, workers: int, why: str) -> None:
        if capacity <= 1:
            raise OffleashError(
                f"engine: out of memory with a single row ({why}); use a smaller model or shorter lengths"
            )
        rows = capacity * workers
        self.rows = min(self.rows, rows // 2)
        warnings.warn(f"engine: out of memory with {rows} rows ({why}); going on with {self.rows}", stacklevel=2)

    def _not_finite(self) -> OffleashError:
        try:
            check_finite(self.model)
        except InputError as error:
            return error
        dtype = str(self.decoder.dtype).removeprefix("torch.")
        return OffleashError(f"engine: the model's logits are not finite though its weights are; {dtype} overflows")

    def _completions(self, requests: Sequence[Request], rows: Sequence[Row]) -> list[Completion]:
        ends = set(self.ends)
        shown = [row.ids[:-1] if row.ids[-1] in ends else row.ids for row in rows]
        texts = self.tokenizer.batch_decode(shown, skip_special_tokens=False)
        return [
            Completion(
                problem_id=request.problem_id,
                index=request.index,
                text=cut(text, self.sampling.stop)[0],
                token_ids=tuple(row.ids),
                logprobs=tuple(row.logprobs),
                entropies=tuple(row.entropies),
                finish_reason="stop" if row.stopped else "length",
            )
            for request, text, row in zip(requests, texts, rows, strict=True)
        ]


def _out_of_memory(error: BaseException) -> bool:
    """CUDA has an error of its own; the CPU allocator says so in words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
