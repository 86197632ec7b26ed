"""The vllm engine's reading and writing of vLLM's records, against a stand-in with their documented shape.

What vLLM itself does is tested by tests/contract/test_engines.py, where it can run.
"""

from __future__ import annotations

import math
import sys
import types
from typing import Any

import pytest

from offleash import nn
from offleash.core import Completion, InputError, rng
from offleash.engines import Request, SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.engines.vllm import VllmEngine


class _LLM:
    """Answers as `vllm.LLM` does, with completions of the native engine."""

    asked: list[Any]

    def __init__(self, model: str, **options: Any) -> None:
        self.model, self.tokenizer = nn.load("base")
        self.options = options
        config = types.SimpleNamespace(max_model_len=64, dtype="torch.float32")
        self.llm_engine = types.SimpleNamespace(model_config=config)

    def get_tokenizer(self) -> Any:
        return self.tokenizer

    def generate(self, prompts: list[Any], params: list[Any], use_tqdm: bool) -> list[Any]:
        type(self).asked = params
        return [self._one(p["prompt_token_ids"], q) for p, q in zip(prompts, params, strict=True)]

    def _one(self, ids: list[int], params: Any) -> Any:
        text = self.tokenizer.decode(ids[1:])
        settings = SamplingSettings(params.temperature, params.max_tokens)
        c: Completion = NativeEngine(self.model, self.tokenizer, settings).generate(
            [Request("", text, 0, params.seed)]
        )[0]
        out = types.SimpleNamespace(
            text="not read", token_ids=c.token_ids, finish_reason=c.finish_reason,
            logprobs=[{t: types.SimpleNamespace(logprob=x)} for t, x in zip(c.token_ids, c.logprobs, strict=True)],
        )  # fmt: skip
        return types.SimpleNamespace(outputs=[out])


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> VllmEngine:
    params = type("SamplingParams", (types.SimpleNamespace,), {})
    monkeypatch.setitem(sys.modules, "vllm", types.SimpleNamespace(LLM=_LLM, SamplingParams=params))
    return VllmEngine(str(nn.model_folder("base")), SamplingSettings(0.9, 12), gpu_memory_utilization=0.5)


def test_requests_and_completions_are_carried_over(engine: VllmEngine) -> None:
    asked = [Request(p, p, i, rng.key64(p, i)) for p in ("1 2 3=7:", "5 5=10:") for i in range(3)]
    told: list[int] = []
    found = engine.generate(asked, told.append)
    assert sum(told) == 6 and [(c.problem_id, c.index) for c in found] == [(r.problem_id, r.index) for r in asked]
    params = _LLM.asked[0]
    assert (params.temperature, params.max_tokens, params.stop, params.logprobs) == (0.9, 12, None, 0)
    assert [p.seed for p in _LLM.asked] == [r.key & (2**63 - 1) for r in asked]
    assert params.stop_token_ids == [engine.tokenizer.eos_token_id] and not params.skip_special_tokens
    for c in found:
        assert len(c.token_ids) == len(c.logprobs) == len(c.entropies) and all(map(math.isnan, c.entropies))
        kept = c.token_ids[:-1] if c.finish_reason == "stop" else c.token_ids
        assert c.text == engine.tokenizer.decode(list(kept))
    assert engine.generate([]) == []


def test_it_asks_for_log_probs_of_the_distribution_sampled_from(engine: VllmEngine) -> None:
    options = engine.llm.options
    assert options["logprobs_mode"] == "processed_logprobs" and options["generation_config"] == "vllm"
    assert options["trust_remote_code"] is False and options["gpu_memory_utilization"] == 0.5


def test_long_prompts_are_refused(engine: VllmEngine) -> None:
    with pytest.raises(InputError, match="exceed the model's context of 64"):
        engine.generate([Request("a", "1" * 60, 0, 1)])
