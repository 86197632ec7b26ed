"""The fixed-shape decoding made for a GPU, on a CPU: same tokens, nothing the host knows burned in, nothing it would wait for.

A CUDA graph replays kernels on the same addresses with the same host numbers. `Recorded` does the same with torch's operators, so a
step that would go wrong in a graph goes wrong here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Qwen2ForCausalLM

from offleash.core import Completion, InputError, rng
from offleash.engines import SamplingSettings
from offleash.engines.native import NativeEngine, fixed
from offleash.engines.native.batch import Asked
from offleash.engines.native.fixed import BLOCK, CHUNK, FixedBatch, FixedRows
from offleash.engines.native.replay import Replay, Step
from offleash.engines.native.weights import Decoder
from offleash.jobs.benchmarks import rollouts, rollouts_gpu
from tests.engines.native_models import PROMPTS, TOKENIZER, hf_greedy, llama, requests
from tests.engines.test_native import FAMILIES, tiny

MIXED = ["1=", "10 12 13 25 4 10 12 13 25 4 10 12 13 25 4 10 12 13 25 4=999:", "5 5=", *PROMPTS]
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "is_nonzero", "item"}
"""Operators for which the host waits for the device."""


class Recorded(TorchDispatchMode):
    """Stands in for CUDA graphs: operators with the tensors they met, done again in the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self.mine: set[int] = set()
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.from_outside: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        assert name not in WAITS, name
        given = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        assert not (name in ("index", "index_put_") and any(x.dtype == torch.bool for x in given[1:])), name
        if func._schema.is_mutable:
            self._remember(given[0])
        assert given, f"{name} makes a tensor out of nothing: on the host, or of a host number"
        self.from_outside |= {x.untyped_storage().data_ptr() for x in given} - self.mine
        found = func(*args, **(kwargs or {}))
        outs = [x for x in tree_leaves(found) if isinstance(x, Tensor)]
        places = {x.untyped_storage().data_ptr() for x in given}
        fresh = [x for x in outs if x.untyped_storage().data_ptr() not in places]
        self.mine |= {x.untyped_storage().data_ptr() for x in fresh}
        if fresh or func._schema.is_mutable:
            self.calls.append((func, args, kwargs or {}, fresh))
        return found

    def _remember(self, x: Tensor) -> None:
        """Recording does nothing: what it changes outside itself is put back."""
        place = x.untyped_storage().data_ptr()
        if place not in self.mine and place not in self.before:
            whole = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
            self.before[place] = (whole, whole.clone())


class Recorder:
    """See `replay.Recorder`."""

    def __init__(self) -> None:
        self.from_outside: set[int] = set()
        self.prepared = self.recorded = self.replayed = 0

    def prepare(self, step: Step) -> None:
        self.prepared += 1
        step()

    def record(self, step: Step) -> Step:
        self.recorded += 1
        mode = Recorded()
        with mode:
            step()
        self.from_outside |= mode.from_outside
        for whole, values in mode.before.values():
            whole.copy_(values)

        def replay() -> None:
            self.replayed += 1
            for func, args, kwargs, fresh in mode.calls:
                found = [x for x in tree_leaves(func(*args, **kwargs)) if isinstance(x, Tensor)]
                for old, new in zip(fresh, found, strict=False):
                    old.copy_(new)

        return replay


def engine_in_fixed_shapes(model: Any, settings: SamplingSettings, rows: int = 256, **options: Any) -> NativeEngine:
    engine = NativeEngine(model, TOKENIZER, settings, rows, **options)
    engine._fixed = engine.decoder.stays = True  # type: ignore[union-attr]
    engine.refresh()
    return engine


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Replays as a GPU does."""
    one = Recorder()
    monkeypatch.setattr(fixed, "Replay", lambda _: Replay(one))
    return one


def assert_same(ours: list[Completion], theirs: list[Completion], ties: int = 0, atol: float = 4e-5) -> None:
    assert sum(a.token_ids != b.token_ids for a, b in zip(ours, theirs, strict=True)) <= ties
    for a, b in zip(ours, theirs, strict=True):
        if a.token_ids == b.token_ids:
            assert a.finish_reason == b.finish_reason and a.text == b.text
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=atol)
            np.testing.assert_allclose(a.entropies, b.entropies, atol=atol)


# ------------------------------------------------------------------------------------------------------- same numbers


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_hugging_face(family: str) -> None:
    model = tiny(family)
    for c in engine_in_fixed_shapes(model, SamplingSettings(0.0, 20), rows=3).generate(requests(1)):
        assert list(c.token_ids) == hf_greedy(model, c.problem_id, 20)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 5, 24, 100])
def test_the_same_samples_as_row_by_row_decoding(rows: int) -> None:
    """Refilled rows, ends within a chunk, long beside short prompts, widened and dropped columns."""
    model, settings = llama(max_position_embeddings=256), SamplingSettings(1.2, 100)
    asked = requests(9, MIXED)
    theirs = NativeEngine(model, TOKENIZER, settings, rows=rows).generate(asked)
    seen: list[int] = []
    ours = engine_in_fixed_shapes(model, settings, rows).generate(asked, seen.append)
    assert max(len(c.token_ids) for c in ours) > 40 and sum(seen) == len(asked)
    assert_same(ours, theirs)


def test_recorded_steps_give_the_same_samples(recorder: Recorder) -> None:
    model, settings, asked = llama(max_position_embeddings=256), SamplingSettings(1.2, 90), requests(6, MIXED)
    theirs = NativeEngine(model, TOKENIZER, settings, rows=20).generate(asked)
    engine = engine_in_fixed_shapes(model, settings, 20)
    assert_same(engine.generate(asked), theirs)
    assert engine._kept is not None
    assert 1 < recorder.recorded <= recorder.prepared < 40 < recorder.replayed
    # A step reads and writes nothing but the weights and the buffers, which are made on the weights' device.
    held: list[Any] = [vars(engine._kept), vars(engine._kept.cache), vars(engine.decoder)]
    held += [vars(layer) for layer in engine.decoder.layers]  # type: ignore[union-attr]
    known = {x.untyped_storage().data_ptr() for x in tree_leaves(held) if isinstance(x, Tensor)}
    assert recorder.from_outside <= known
    # The next rollout finds the memory and the recordings there, and reads the new weights through them.
    kept, recorded = engine._kept, recorder.recorded
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.9)
    engine.refresh()
    theirs = NativeEngine(model, TOKENIZER, settings, rows=20).generate(asked)
    assert_same(engine.generate(asked), theirs)
    assert engine._kept is kept and recorder.recorded - recorded < recorded
    engine.release()
    assert engine._kept is None


def test_rollouts_of_other_sizes_in_the_same_memory() -> None:
    model, settings = llama(), SamplingSettings(1.0, 20)
    engine = engine_in_fixed_shapes(model, settings, 30)
    for n, prompts in ((6, PROMPTS), (1, PROMPTS[:1]), (2, MIXED), (9, PROMPTS[:2])):
        asked = requests(n, prompts)
        assert_same(engine.generate(asked), NativeEngine(model, TOKENIZER, settings, rows=30).generate(asked))
    assert engine._kept is not None and engine._kept.room[0] == 30


def test_imposed_lengths_and_stop_strings() -> None:
    lengths = [1 + i % 20 for i in range(50)]
    engine = engine_in_fixed_shapes(llama(), SamplingSettings(1.5, 20), 16)
    assert [len(c.token_ids) for c in engine.generate(requests(10), lengths=lengths)] == lengths
    settings = SamplingSettings(1.5, 30, stop=("1", "=4"))
    asked = requests(10)
    ours = engine_in_fixed_shapes(llama(), settings, 16).generate(asked)
    assert_same(ours, NativeEngine(llama(), TOKENIZER, settings, rows=16).generate(asked))
    assert {c.finish_reason for c in ours} == {"stop", "length"} or all(c.finish_reason == "stop" for c in ours)


@pytest.mark.parametrize("model_dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_matrices(model_dtype: torch.dtype) -> None:
    model, settings, asked = llama().to(model_dtype), SamplingSettings(1.0, 16), requests(10)
    ours = engine_in_fixed_shapes(model, settings, 64, dtype=torch.bfloat16)
    theirs = NativeEngine(model, TOKENIZER, settings, rows=64, dtype=torch.bfloat16)
    assert ours.decoder.head.dtype == torch.float32  # type: ignore[union-attr]
    assert_same(ours.generate(asked), theirs.generate(asked), ties=2, atol=0.1)


def test_everything_in_bfloat16_as_on_a_gpu() -> None:
    """There the residual stream, keys and values are bfloat16 too, the head and the log-probs float32."""
    model, settings, asked = llama().to(torch.bfloat16), SamplingSettings(1.0, 16), requests(10)
    engine = engine_in_fixed_shapes(model, settings, 64)
    engine.decoder.stream = torch.bfloat16  # type: ignore[union-attr]
    engine.decoder.layers, engine.decoder.ends = [], []  # type: ignore[union-attr]
    engine.refresh()
    found = engine.generate(asked)
    assert engine._kept is not None and engine._kept.cache.owns[0].dtype == torch.bfloat16
    ids = [TOKENIZER(c.problem_id)["input_ids"] for c in found]
    errors = []
    for prompt, c in zip(ids, found, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *c.token_ids]])).logits[0, len(prompt) - 1 : -1].float()
        exact = logits.log_softmax(-1)[torch.arange(len(c.token_ids)), torch.tensor(c.token_ids)]
        errors += (exact - torch.tensor(c.logprobs)).abs().tolist()
    assert np.mean(errors) < 0.1  # weights this wide make logits of +-10, which bfloat16 rounds by 0.03


def test_uniform_numbers_are_those_of_each_position(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_in_fixed_shapes(llama(), SamplingSettings(1.0, 20), 4)
    asked = [Asked((5, 6), key, 300) for key in (11, 12, 13)]
    rows = FixedRows(engine.decoder, 4, 2, 2, 20)  # type: ignore[arg-type]
    batch = FixedBatch(rows, asked, 3, 1.0, [], None, lambda n: None)
    batch.request_R, batch.alive_R = np.array([0, 2, 1]), np.array([True, True, True])
    batch.age_R = np.array([0, 3, 60])
    calls: list[int] = []
    original = rng.uniforms
    monkeypatch.setattr(rng, "uniforms", lambda k, s, n: calls.append(len(k)) or original(k, s, n))
    for steps in [1, *[CHUNK] * 10, 5]:
        found = batch._chunk(0, steps)
        for row, (request, age) in enumerate(zip(batch.request_R, batch.age_R, strict=True)):
            np.testing.assert_array_equal(found[row], original([asked[request].key], int(age), steps)[0])
        batch.age_R += steps
    assert sum(calls) <= 3 * (2 + 166 // BLOCK)


def test_a_weight_that_is_not_finite_is_named_and_does_not_stay_in_the_memory() -> None:
    model = llama()
    engine = engine_in_fixed_shapes(model, SamplingSettings(1.0, 8))
    weight = model.model.layers[1].mlp.up_proj.weight
    kept = weight.detach().clone()
    before = engine.generate(requests(2))
    with torch.no_grad():
        weight[3:] = float("nan")
    engine.refresh()
    with pytest.raises(InputError, match=r"'model.layers.1.mlp.up_proj.weight' has values that are not finite"):
        engine.generate(requests(2))
    with torch.no_grad():
        weight.copy_(kept)
    engine.refresh()
    assert engine.generate(requests(2)) == before


def test_out_of_memory_halves_the_rows_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked, settings = llama(), requests(10), SamplingSettings(1.2, 24)
    expected = NativeEngine(model, TOKENIZER, settings, rows=8).generate(asked)
    original, calls = FixedRows.advance, iter(range(10**9))

    def advance(*args: Any) -> Any:
        if next(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(*args)

    monkeypatch.setattr(FixedRows, "advance", advance)
    engine = engine_in_fixed_shapes(model, settings, 8)
    with pytest.warns(UserWarning, match=r"out of memory with 8 rows \(.*allocate.*\); going on with 4"):
        assert_same(engine.generate(asked), expected)
    assert engine.rows == 4


# ------------------------------------------------------------------------------------------------------------ replaying


def test_a_shape_is_prepared_then_recorded_then_replayed_and_each_call_is_one_step() -> None:
    x, recorder = torch.zeros(3), Recorder()
    replay = Replay(recorder)

    def one_more() -> None:
        x.add_(1)

    def twice() -> None:
        x.mul_(2)

    for _ in range(4):
        replay("a", one_more)
    assert x.tolist() == [4.0] * 3
    replay("b", twice)
    assert x.tolist() == [8.0] * 3
    assert (recorder.prepared, recorder.recorded, recorder.replayed) == (2, 1, 3)


def test_the_stand_in_notices_what_a_graph_would_do_wrong() -> None:
    """A column given as a number stays what it was when it was recorded; a value the host waits for is refused."""
    x, column = torch.zeros(4), [0]

    def wrong() -> None:
        x[column[0]] += 1
        column[0] += 1

    replay = Replay(Recorder())
    for _ in range(4):
        replay("a", wrong)
    assert x.tolist() != [1.0] * 4

    replay = Replay(Recorder())
    replay("a", lambda: None)
    with pytest.raises(AssertionError, match="_local_scalar_dense"):
        replay("a", lambda: waits(x))


def waits(x: Tensor) -> None:
    x.fill_(float(x.sum()))


def test_a_recording_that_fails_goes_on_without_one() -> None:
    class Fails(Recorder):
        def record(self, step: Step) -> Step:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    class Full(Recorder):
        def record(self, step: Step) -> Step:
            raise torch.OutOfMemoryError("CUDA out of memory")

    done: list[int] = []
    replay = Replay(Fails())
    replay("a", lambda: done.append(1))
    with pytest.warns(
        UserWarning, match=r"no CUDA graph \(operation not permitted when stream is capturing\); going on"
    ):
        replay("a", lambda: done.append(2))
    replay("a", lambda: done.append(3))
    assert done == [1, 2, 3]
    full = Replay(Full())
    full("a", lambda: None)
    with pytest.raises(torch.OutOfMemoryError):
        full("a", lambda: None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: CUDA graphs are not run")
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu(family: str) -> None:
    """Graphs are recorded, no warning says otherwise, and the tokens are the CPU's."""
    model, asked = tiny(family), requests(6)
    for settings, ties in ((SamplingSettings(0.0, 60), 0), (SamplingSettings(1.0, 60), 1)):
        expected = NativeEngine(model.cpu(), TOKENIZER, settings, rows=12).generate(asked)
        engine = NativeEngine(model.cuda(), TOKENIZER, settings, rows=12)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = engine.generate(asked)
        assert_same(found, expected, ties, atol=2e-4)
        assert engine._kept is not None and any(engine._kept.replay.graphs.values())
        assert engine.generate(asked) == found  # and so is the next rollout, to the last bit
        for p in model.parameters():
            p.data.mul_(0.9)
        engine.refresh()
        expected = NativeEngine(model.cpu(), TOKENIZER, settings, rows=12).generate(asked)
        assert_same(engine.generate(asked), expected, ties, atol=2e-4)


# -------------------------------------------------------------------------------------------------------------- weights


def places(engine: NativeEngine) -> list[int]:
    decoder: Any = engine.decoder
    return [t.data_ptr() for layer in decoder.layers for t in vars(layer).values() if t is not None] + [
        t.data_ptr() for t in decoder.ends
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_refreshed_weights_stay_where_they_are(dtype: torch.dtype) -> None:
    model = tiny("qwen3")
    engine = engine_in_fixed_shapes(model, SamplingSettings(0.0, 10), dtype=dtype)
    decoder: Any = engine.decoder
    before = places(engine)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(-1.1)
    engine.refresh()
    assert places(engine) == before and decoder.version == 0
    fresh: Any = NativeEngine(model, TOKENIZER, SamplingSettings(0.0, 10), dtype=dtype).decoder
    for a, b in zip([*decoder.layers, decoder], [*fresh.layers, fresh], strict=True):
        names = ["norm", "embedding", "head"] if a is decoder else list(vars(a))
        for name in names:
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None) == (y is None) and (x is None or torch.equal(x, y))


def test_a_parameter_given_other_memory_is_read_there_and_its_old_memory_left_alone() -> None:
    model, settings = llama(), SamplingSettings(1.0, 10)
    engine = engine_in_fixed_shapes(model, settings)
    engine.generate(requests(2))
    kept, parameter = engine._kept, model.model.layers[0].self_attn.o_proj.weight
    old = parameter.data
    values = old.clone()
    parameter.data = old * 0.5
    engine.refresh()
    assert torch.equal(old, values) and engine.decoder.version == 1  # type: ignore[union-attr]
    found = engine.generate(requests(2))
    assert engine._kept is not kept
    assert_same(found, NativeEngine(model, TOKENIZER, settings).generate(requests(2)))


def test_sharded_parameters_are_gathered(tmp_path: Any) -> None:
    """A group of one process: torch's own sharded tensors, nothing to send."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    settings, asked = SamplingSettings(1.0, 12), requests(3)
    expected = NativeEngine(llama(), TOKENIZER, settings).generate(asked)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        model = llama()
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        assert all(isinstance(p, DTensor) for p in model.parameters())
        engine = NativeEngine(model, TOKENIZER, settings)
        assert engine.generate(asked) == expected
        fixed_engine = engine_in_fixed_shapes(model, settings)
        assert_same(fixed_engine.generate(asked), expected)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.5)
        fixed_engine.refresh()
        engine.refresh()
        assert_same(fixed_engine.generate(asked), engine.generate(asked))
    finally:
        dist.destroy_process_group()


# ------------------------------------------------------------------------------------------------------- the benchmark


def test_the_memory_floor_is_arithmetic() -> None:
    changes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
               "num_key_value_heads": 1, "vocab_size": 32}  # fmt: skip
    model = rollouts_gpu.random_qwen2(rollouts_gpu.shape(**changes), torch.float32, "cpu")
    decoder = Decoder(model, torch.bfloat16)
    # q, k, v with biases, output, gate, up, down in bfloat16; two norms a layer, the last norm and the head in float32
    layer = 2 * (16 * 8 + 16 + 8 * 8 + 2 * 16 * 8 + 8 * 16) + 4 * 2 * 8
    weights = 3 * layer + 4 * (8 + 32 * 8)
    assert rollouts_gpu.weight_bytes(decoder) == weights
    # keys and values of a token: 2 x 3 layers x 1 head x 4 x 4 bytes
    lengths = [3, 1, 2, 5]
    read = 10 * 2 + 20 * 4 + (1 + 2) + 0 + 1 + (1 + 2 + 3 + 4)
    assert rollouts_gpu.cache_bytes(decoder, [10, 20], lengths) == 96 * read
    floor = rollouts_gpu.memory_floor(decoder, [10, 20], lengths, speed=50.0, bandwidth=1e6)
    assert floor["steps"] == 4 and floor["floor_tokens_per_s"] == pytest.approx(11 * 1e6 / (4 * weights))
    assert floor["of_floor"] == pytest.approx(50 / floor["floor_tokens_per_s"])
    assert floor["of_floor_with_cache"] == pytest.approx(50 * (4 * weights + 96 * read) / 1e6 / 11)
    assert rollouts_gpu.bandwidth(torch.device("cpu"), 2**20, 3) > 0


def test_the_shape_is_that_of_half_a_billion_parameters() -> None:
    with torch.device("meta"):
        model = Qwen2ForCausalLM(rollouts_gpu.shape())
    assert sum(p.numel() for p in model.parameters()) == 494_032_768  # what Qwen2.5-0.5B states: 0.49 B


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is chosen there")
def test_without_a_gpu_that_work_is_left_out() -> None:
    assert rollouts.qwen2_half_billion(torch.bfloat16) is None
