"""The `hf` engine: Hugging Face `generate`, for any causal language model. Slow, and right by construction.

`generate` decides nothing here: its token is the likeliest of scores in which the token that the request's own uniform number
chose is the only one left. So the same request gives the same tokens alone and in any batch, as with the native engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from offleash.core import Completion, rng
from offleash.engines.base import Request, SamplingSettings, cut, prompt_ids
from offleash.engines.native.limits import context_length, end_tokens, require_vocabulary, tokenize
from offleash.engines.native.sample import sample
from offleash.engines.native.stops import Stops


class HfEngine:
    """Samples with `model.generate` in static batches of `rows` requests, prompts padded on the left."""

    name = "hf"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: SamplingSettings, rows: int = 64
    ) -> None:
        require_vocabulary(model.config, tokenizer)
        self.model: Any = model
        self.tokenizer, self.sampling, self.rows = tokenizer, sampling, rows
        self.end_tokens = end_tokens(tokenizer, model.generation_config, sampling.stop)
        self.spelled = Stops(tokenizer, sampling.stop) if sampling.stop else None
        self.context = context_length(model.config)

    def refresh(self) -> None:
        """Nothing: the weights are read in place."""

    def tokenize(self, prompts: Iterable[str]) -> dict[str, list[int]]:
        """The token ids of each different prompt; InputError for one that is empty or too long for the model."""
        return tokenize(self.tokenizer, prompts, self.sampling.max_completion_length, self.context)

    def settings(self) -> dict[str, Any]:
        """What makes samples comparable: stored as the sampler's identity."""
        return {
            "engine": self.name,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "temperature": self.sampling.temperature,
            "max_completion_length": self.sampling.max_completion_length,
            "stop": list(self.sampling.stop),
            "end_tokens": self.end_tokens,
        }

    def generate(
        self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One completion for each request, in their order; see `Sampler`."""
        prompts = prompt_ids(requests, self.tokenize)
        found: list[Completion] = []
        for start in range(0, len(requests), self.rows):
            batch = requests[start : start + self.rows]
            found += self._batch(batch, prompts[start : start + self.rows])
            if on_finished:
                on_finished(len(batch))
        return found

    @torch.inference_mode()
    def _batch(self, requests: Sequence[Request], prompts: Sequence[tuple[int, ...]]) -> list[Completion]:
        width, limit, device = max(map(len, prompts)), self.sampling.max_completion_length, self.model.device
        ids_RS = torch.tensor([[*[0] * (width - len(p)), *p] for p in prompts], device=device)
        length_R = torch.tensor([len(p) for p in prompts], device=device)
        mask_RS = torch.arange(width, device=device) >= width - length_R[:, None]
        uniform_RT = torch.from_numpy(rng.uniforms([r.key for r in requests], 0, limit)).to(device)
        draw = _Draw(uniform_RT, self.sampling.temperature)
        ends = _Ends(self, len(requests), width)
        # The model's own generation config may hold penalties and truncations: they would change the distribution.
        config, self.model.generation_config = self.model.generation_config, GenerationConfig()
        try:
            self.model.generate(
                ids_RS,
                attention_mask=mask_RS,
                generation_config=GenerationConfig(max_new_tokens=limit, do_sample=False, use_cache=True),
                logits_processor=[draw],
                stopping_criteria=[ends],
            )
        finally:
            self.model.generation_config = config
        table = [torch.stack(x, 1).tolist() for x in (draw.tokens, draw.logprobs, draw.entropies)]
        return [
            self._completion(r, ends.length[i], ends.stopped[i], *(x[i][: ends.length[i]] for x in table))
            for i, r in enumerate(requests)
        ]

    def _completion(
        self,
        request: Request,
        length: int,
        stopped: bool,
        ids: list[int],
        logprobs: list[float],
        entropies: list[float],
    ) -> Completion:
        text = decoded(self.tokenizer, ids, self.end_tokens)
        return Completion(
            problem_id=request.problem_id,
            index=request.index,
            text=cut(text, self.sampling.stop)[0],
            token_ids=tuple(ids),
            logprobs=tuple(logprobs),
            entropies=tuple(entropies),
            finish_reason="stop" if stopped else "length",
        )


class _Draw(LogitsProcessor):
    """Leaves in each row the one token that its uniform number chooses, and remembers it."""

    def __init__(self, uniform_RT: Tensor, temperature: float) -> None:
        self.uniform_RT, self.temperature = uniform_RT, temperature
        self.tokens: list[Tensor] = []
        self.logprobs: list[Tensor] = []
        self.entropies: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        token, logprob, entropy = sample(scores.float(), self.uniform_RT[:, len(self.tokens)], self.temperature)
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.entropies.append(entropy)
        return torch.full_like(scores, float("-inf")).scatter_(1, token[:, None], 0.0)


class _Ends(StoppingCriteria):
    """Knows of each row how many tokens it has and whether an end token or a stop string ended it."""

    def __init__(self, engine: HfEngine, rows: int, start: int) -> None:
        self.start, self.end, self.spelled = start, set(engine.end_tokens), engine.spelled
        self.length, self.stopped = [0] * rows, [False] * rows

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        for row, ids in enumerate(input_ids[:, self.start :].tolist()):
            if not self.stopped[row]:
                self.length[row] = len(ids)
                self.stopped[row] = ids[-1] in self.end or bool(self.spelled and self.spelled(ids))
        return torch.tensor(self.stopped, device=input_ids.device)


def decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], end: Sequence[int]) -> str:
    """The text of a completion, its end token left out."""
    kept = list(ids[:-1] if ids and ids[-1] in end else ids)
    return str(tokenizer.decode(kept, skip_special_tokens=False))
