"""The `vllm` engine: vLLM in this process, for a GPU. It has its own copy of the weights.

Each request has its own seed, so vLLM draws the same completion for it while the batch computes the same numbers. Its kernels
do not promise that (VLLM_BATCH_INVARIANT=1 does, where it is supported), and its random numbers are not ours: the same
distribution as the native engine, other samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from transformers import GenerationConfig

from offleash.core import Completion
from offleash.engines.base import Request, SamplingSettings, cut, prompt_ids
from offleash.engines.hf import decoded
from offleash.engines.native.limits import end_tokens, tokenize


class VllmEngine:
    """Samples with `vllm.LLM`.

    Args:
        folder: a Hugging Face model folder.
        sampling: how completions are drawn.
        dtype: as vLLM names it; `auto` is the weights' own.
        options: more arguments of `vllm.LLM`, such as gpu_memory_utilization.
    """

    name = "vllm"

    def __init__(self, folder: str, sampling: SamplingSettings, dtype: str = "auto", **options: Any) -> None:
        import vllm

        self.sampling = sampling
        self.llm = vllm.LLM(
            model=folder,
            dtype=dtype,
            generation_config="vllm",  # not the model's: that may hold penalties and truncations
            logprobs_mode="processed_logprobs",  # of the distribution sampled from, temperature included
            trust_remote_code=False,
            **options,
        )
        self.params = vllm.SamplingParams
        self.tokenizer = self.llm.get_tokenizer()
        config = self.llm.llm_engine.model_config
        self.context, self.dtype = int(config.max_model_len), str(config.dtype).removeprefix("torch.")
        self.end_tokens = end_tokens(self.tokenizer, _generation_config(folder), sampling.stop)

    def tokenize(self, prompts: Iterable[str]) -> dict[str, list[int]]:
        """The token ids of each different prompt; InputError for one that is empty or too long for the model."""
        return tokenize(self.tokenizer, prompts, self.sampling.max_completion_length, self.context)

    def settings(self) -> dict[str, Any]:
        """What makes samples comparable: stored as the sampler's identity."""
        return {
            "engine": self.name,
            "dtype": self.dtype,
            "temperature": self.sampling.temperature,
            "max_completion_length": self.sampling.max_completion_length,
            "stop": list(self.sampling.stop),
            "end_tokens": self.end_tokens,
        }

    def generate(
        self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One completion for each request, in their order; entropies are NaN, which vLLM does not give."""
        if not requests:
            return []
        prompts = prompt_ids(requests, self.tokenize)
        outputs = self.llm.generate(
            [{"prompt_token_ids": list(ids)} for ids in prompts],
            [self._params(r) for r in requests],
            use_tqdm=False,
        )
        if on_finished:
            on_finished(len(requests))
        return [self._completion(r, output.outputs[0]) for r, output in zip(requests, outputs, strict=True)]

    def _params(self, request: Request) -> Any:
        return self.params(
            temperature=self.sampling.temperature,
            max_tokens=self.sampling.max_completion_length,
            stop=list(self.sampling.stop) or None,
            stop_token_ids=self.end_tokens,
            seed=request.key & (2**63 - 1),
            logprobs=0,  # of the chosen token alone
            skip_special_tokens=False,
        )

    def _completion(self, request: Request, output: Any) -> Completion:
        ids = [int(token) for token in output.token_ids]
        text = decoded(self.tokenizer, ids, self.end_tokens)
        return Completion(
            problem_id=request.problem_id,
            index=request.index,
            text=cut(text, self.sampling.stop)[0],
            token_ids=tuple(ids),
            logprobs=tuple(float(at[token].logprob) for at, token in zip(output.logprobs, ids, strict=True)),
            entropies=(math.nan,) * len(ids),
            finish_reason="length" if output.finish_reason == "length" else "stop",
        )


def _generation_config(folder: str) -> GenerationConfig | None:
    try:
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    except OSError:
        return None
