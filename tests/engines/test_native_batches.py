"""What the native engine's batching must not change: long beside short, refilled rows, worker threads, memory that runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from offleash import nn
from offleash.core import Completion, InputError, OffleashError
from offleash.engines import SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.engines.native import engine as engine_module
from offleash.engines.native.cache import Cache
from offleash.engines.native.limits import end_tokens
from offleash.engines.native.shares import Cancelled, in_threads, split
from tests.engines.native_models import PROMPTS, TOKENIZER, hf_greedy, llama, requests

MIXED = ["1=", "10 12 13 25 4 10 12 13 25 4 10 12 13 25 4 10 12 13 25 4=999:", "5 5=", *PROMPTS]


def tokens(completions: list[Completion]) -> list[tuple[int, ...]]:
    return [c.token_ids for c in completions]


def differing(a: list[Completion], b: list[Completion]) -> int:
    """Completions that are not the same token for token: a uniform number lay within rounding of a boundary."""
    return sum(x.token_ids != y.token_ids for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("rows", [1, 3, 8, 64])
def test_long_and_short_prompts_mixed(rows: int) -> None:
    model = llama()
    found = NativeEngine(model, TOKENIZER, SamplingSettings(0.0, 20), rows=rows).generate(requests(2, MIXED))
    for c in found:
        assert list(c.token_ids) == hf_greedy(model, c.problem_id, 20)


@pytest.mark.slow
def test_near_ties_between_batch_compositions_are_rare() -> None:
    """Batched products differ in the last bit: a token may differ where its uniform number lies that close to a boundary."""
    model, asked, settings = llama(), requests(60, MIXED), SamplingSettings(1.0, 24)
    wide = NativeEngine(model, TOKENIZER, settings, rows=480).generate(asked)
    for rows in (5, 100):
        other = NativeEngine(model, TOKENIZER, settings, rows=rows).generate(asked[::-1])[::-1]
        assert differing(wide, other) <= 1  # of 480 completions, about 9,000 tokens
    for a, b in zip(wide, other, strict=True):
        if a.token_ids == b.token_ids:
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=4e-5)


def test_completions_longer_than_the_room_they_begin_with() -> None:
    """Columns are widened, and old ones dropped while rows go on being refilled."""
    model = llama(max_position_embeddings=256)
    settings = SamplingSettings(1.2, 150)
    asked = requests(12)
    narrow = NativeEngine(model, TOKENIZER, settings, rows=7).generate(asked)
    wide = NativeEngine(model, TOKENIZER, settings, rows=60).generate(asked)
    assert max(map(len, tokens(wide))) > 60
    assert differing(narrow, wide) <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_worker_threads_draw_the_same_and_give_the_threads_back(dtype: torch.dtype) -> None:
    model, asked, settings = llama(), requests(20), SamplingSettings(1.0, 20)
    engine = NativeEngine(model, TOKENIZER, settings, rows=30, dtype=dtype)
    alone = engine.generate(asked)
    torch.set_num_threads(2)
    seen: list[int] = []
    together = engine.generate(asked, seen.append)
    again = engine.generate(asked)
    assert torch.get_num_threads() == 2
    assert together == again  # to the last bit: what shares hold does not depend on which thread is faster
    assert differing(alone, together) <= (1 if dtype == torch.float32 else 10)
    assert sum(seen) == len(asked)


def test_shares_hold_every_request_once() -> None:
    prompts = [tuple(range(1, 2 + i % 7)) for i in range(1000)]
    for workers, rows in ((1, 64), (2, 64), (2, 1), (3, 5000)):
        shares = split(prompts, workers, rows)
        assert sorted(i for share in shares for i in share) == list(range(1000))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert split(prompts[:1], 4, 64) == [[0]]


def test_the_first_error_stops_all_workers() -> None:
    def work(share: list[int], stop: Any) -> int:
        if share == [1]:
            raise ValueError("mine")
        assert stop.wait(10)
        raise Cancelled

    threads = torch.get_num_threads()
    with pytest.raises(ValueError, match="mine"):
        in_threads(work, [[0], [1]], 2)
    assert torch.get_num_threads() == threads


def test_imposed_lengths_are_kept() -> None:
    lengths = [1 + i % 17 for i in range(50)]
    engine = NativeEngine(llama(), TOKENIZER, SamplingSettings(1.5, 20), rows=16)
    assert [len(c.token_ids) for c in engine.generate(requests(10), lengths=lengths)] == lengths


@pytest.mark.slow
@pytest.mark.parametrize("rows", [2, 17, 40, 100])
def test_finished_rows_may_linger_at_the_end_of_the_context(rows: int) -> None:
    """Long and short lives mixed, the longest prompts with no position to spare: nothing is written where it does not belong."""
    asked = requests(40, [*PROMPTS, MIXED[1]])
    longest = max(len(TOKENIZER(r.prompt)["input_ids"]) for r in asked)
    model, settings = llama(max_position_embeddings=longest + 40), SamplingSettings(1.2, 40)
    lengths = [40 if i % 3 == 0 else 1 + i * 7 % 40 for i in range(len(asked))]
    found = NativeEngine(model, TOKENIZER, settings, rows=rows).generate(asked, lengths=lengths)
    wide = NativeEngine(model, TOKENIZER, settings, rows=len(asked)).generate(asked, lengths=lengths)
    assert [len(c.token_ids) for c in found] == lengths
    assert differing(found, wide) <= 1


# ------------------------------------------------------------------------------------------------------------- dtype


@pytest.mark.parametrize("name", ["tiny", "embedded base"])
def test_bfloat16_is_nearer_to_the_float32_model_than_its_own_bfloat16_forward(name: str) -> None:
    """Only matrices are rounded; the residual stream, norms, attention and head stay float32."""
    model, tokenizer = nn.load(nn.EMBEDDED) if name == "embedded base" else (llama(), TOKENIZER)
    engine = NativeEngine(model, tokenizer, SamplingSettings(1.0, 16), rows=64, dtype=torch.bfloat16)
    assert engine.settings()["dtype"] == "bfloat16"
    found = engine.generate(requests(20))
    prompts = [tokenizer(c.problem_id)["input_ids"] for c in found]
    batch = nn.pad(prompts, [list(c.token_ids) for c in found], 0)
    with torch.no_grad():
        exact = nn.score(model, batch)[0][batch.mask_NT].numpy()
        rounded = nn.score(model.to(torch.bfloat16), batch)[0][batch.mask_NT].numpy()
    ours = np.abs(np.concatenate([c.logprobs for c in found]) - exact)
    theirs = np.abs(rounded - exact)
    assert 0 < ours.mean() < 0.7 * theirs.mean() and ours.max() < theirs.max()
    if name == "embedded base":  # in nats; what docs/engine.md states
        assert ours.mean() < 0.01 and ours.max() < 0.15


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "lm_head.weight"])
def test_a_weight_that_is_not_finite_is_named(bad: float, name: str) -> None:
    model = llama()
    engine = NativeEngine(model, TOKENIZER, SamplingSettings(1.0, 8))
    with torch.no_grad():
        dict(model.named_parameters())[name][5:] = bad
    engine.refresh()
    with pytest.raises(InputError, match=f"'{name}' has values that are not finite"):
        engine.generate(requests(2))


def test_overflow_with_finite_weights_says_so() -> None:
    model = llama()
    with torch.no_grad():
        model.lm_head.weight.fill_(3e38)
    with pytest.raises(OffleashError, match="logits are not finite though its weights are; float32 overflows"):
        NativeEngine(model, TOKENIZER, SamplingSettings(1.0, 8)).generate(requests(2))


def test_no_end_token_is_refused_unless_a_string_ends_the_text() -> None:
    class NoEnd:
        eos_token_id = None

    model = llama()
    model.generation_config.eos_token_id = None
    with pytest.raises(InputError, match="names an end token; set eos_token, or give stop strings"):
        NativeEngine(model, NoEnd(), SamplingSettings())  # type: ignore[arg-type]
    assert end_tokens(NoEnd(), model.generation_config, ["x"]) == []  # type: ignore[arg-type]


CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:130] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)


def failing(original: Callable[..., Any], error: Exception, at: int) -> Callable[..., Any]:
    calls = iter(range(10**9))

    def work(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == at:
            raise error
        return original(*args, **kwargs)

    return work


@pytest.mark.parametrize("error", [CUDA, CPU])
def test_out_of_memory_halves_the_rows_and_goes_on(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = llama(), requests(10)
    settings = SamplingSettings(1.2, 24)
    expected = tokens(NativeEngine(model, TOKENIZER, settings, rows=8).generate(asked))
    engine, seen = NativeEngine(model, TOKENIZER, settings, rows=8), []
    monkeypatch.setattr(Cache, "step", failing(Cache.step, error, at=30))  # midway: some requests have finished
    with pytest.warns(UserWarning, match=r"out of memory with 8 rows \(.*allocate.*\); going on with 4"):
        found = engine.generate(asked, seen.append)
    assert tokens(found) == expected and engine.rows == 4
    assert sum(seen) == len(asked)


def test_out_of_memory_with_one_row_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> None:
        raise CPU

    monkeypatch.setattr(engine_module, "NativeRows", never)
    with (
        pytest.raises(OffleashError, match="out of memory with a single row"),
        pytest.warns(UserWarning, match="going on"),
    ):
        NativeEngine(llama(), TOKENIZER, SamplingSettings(), rows=4).generate(requests(2))


def test_other_runtime_errors_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cache, "step", failing(Cache.step, RuntimeError("a bug"), at=2))
    with pytest.raises(RuntimeError, match="a bug"):
        NativeEngine(llama(), TOKENIZER, SamplingSettings()).generate(requests(2))
