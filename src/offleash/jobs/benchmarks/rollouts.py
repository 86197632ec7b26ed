"""Rollouts beside transformers' `generate`.

Both sides draw from the same prompts, as many samples of each, at temperature 1, in turns in one process. `generate` gets its best
case: all samples in one left-padded batch, and one or two threads, whichever it is faster with. Tokens are those of the completions,
the end token included, so a side that decodes padding gains nothing by it. A model with trained weights stops where it stops; one
with random weights would never, so both sides are given the same list of lengths.
"""

from __future__ import annotations

import copy
import ctypes
import itertools
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from offleash import nn, tasks
from offleash.core import rng
from offleash.engines import Request, SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.engines.native.products import linear
from offleash.engines.native.weights import Decoder
from offleash.jobs.benchmarks.rollouts_gpu import bandwidth, memory_floor, random_qwen2, shape, synchronize
from offleash.jobs.benchmarks.smollm2 import smollm2
from offleash.nn.tiny import character_tokenizer

TRIAL = 6
"""Tokens of the trial that decides how many threads `generate` is given."""
Found = TypeVar("Found")
ALPHABET = "0123456789+-*/()= :"


@dataclass(frozen=True)
class Work:
    """What both sides draw: `samples` completions of each prompt, of at most `length` tokens."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompts: Sequence[str]
    samples: int
    length: int
    target: float
    pairs: int
    lengths: Sequence[int] | None = None
    """Tokens of each completion, prompt by prompt, where the model does not stop by itself."""

    @property
    def count(self) -> int:
        """Completions of one round."""
        return len(self.prompts) * self.samples


def beside_transformers() -> list[dict[str, Any]]:
    """One row a workload and dtype."""
    rows = []
    for make, dtypes in WORKS:
        for dtype in dtypes:
            work = make(dtype)
            if work is not None:
                rows.append(_row(work, dtype))
    return rows


# ----------------------------------------------------------------------------------------------------------- the works


def embedded_base(dtype: torch.dtype) -> Work:
    """Countdown with its real stop lengths."""
    model, tokenizer = nn.load(nn.EMBEDDED, dtype)
    problems = itertools.islice(tasks.problems(tasks.get("countdown"), 5, "train", 0), 32)
    return Work("embedded base", model, tokenizer, [p.prompt for p in problems], 16, 32, 4.0, 7)


def random_weights(layers: int, width: int, prompts: int, target: float) -> Callable[[torch.dtype], Work]:
    """A Llama of random weights; prompts of 48 tokens, lengths log-normal around 32, at most 96."""

    def make(dtype: torch.dtype) -> Work:
        tokenizer = character_tokenizer(ALPHABET, 256)
        config = LlamaConfig(
            vocab_size=512, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
            num_attention_heads=width // 32, num_key_value_heads=width // 32, max_position_embeddings=256,
            tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
        draw = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in model.parameters():
                if p.ndim > 1:
                    p.normal_(0.0, 0.02, generator=draw)
        stream = rng.stream("bench rollouts", "random weights")
        texts = ["".join(stream.choice(list(ALPHABET), 47)) for _ in range(prompts)]
        lengths = np.clip(np.exp(stream.normal(np.log(32), 0.5, prompts * 16)).round(), 4, 96).astype(int).tolist()
        size = sum(p.numel() for p in model.parameters()) / 1e6
        # transformers' own test of the class; it is a PreTrainedModel whatever `to` says
        ready: PreTrainedModel = model.to(dtype).eval()  # type: ignore[arg-type]
        name = f"{size:.0f} M parameters, {layers} x {width}, random weights"
        return Work(name, ready, tokenizer, texts, 16, 96, target, 3, lengths)

    return make


def smollm2_135m(dtype: torch.dtype) -> Work | None:
    """Two prompts of 256 tokens, if the package with the weights is installed; it stops where it stops."""
    found = smollm2(dtype)
    if found is None:
        return None
    model, tokenizer = found
    text = " ".join(f"{i}. What is {i * 7} + {i * 13 + 5}? It is {i * 20 + 5}." for i in range(1, 99))
    ids = tokenizer(text)["input_ids"]
    prompts = [str(tokenizer.decode(ids[start : start + 256])) for start in (0, 300)]
    return Work("SmolLM2-135M, prompts of 256 tokens", model, tokenizer, prompts, 16, 64, 2.0, 3)


def qwen2_half_billion(dtype: torch.dtype) -> Work | None:
    """256 sequences on a GPU, if there is one; 16 prompts of 128 tokens, lengths log-normal around 192, at most 512."""
    if not torch.cuda.is_available():
        return None
    stream = rng.stream("bench rollouts", "half a billion")
    texts = ["".join(stream.choice(list(ALPHABET), 127)) for _ in range(16)]
    lengths = np.clip(np.exp(stream.normal(np.log(192), 0.5, 256)).round(), 16, 512).astype(int).tolist()
    tokenizer = character_tokenizer(ALPHABET, 4096)
    name = "Qwen2.5-0.5B's shape, random weights"
    return Work(name, random_qwen2(shape(), dtype, "cuda"), tokenizer, texts, 16, 512, 8.0, 3, lengths)


WORKS: tuple[tuple[Callable[[torch.dtype], Work | None], tuple[torch.dtype, ...]], ...] = (
    (embedded_base, (torch.float32, torch.bfloat16)),
    (random_weights(6, 256, 8, 2.0), (torch.float32, torch.bfloat16)),
    (random_weights(7, 512, 4, 1.5), (torch.float32, torch.bfloat16)),
    (smollm2_135m, (torch.float32, torch.bfloat16)),
    (qwen2_half_billion, (torch.bfloat16,)),
)


# -------------------------------------------------------------------------------------------------------- one work's row


def _row(work: Work, dtype: torch.dtype) -> dict[str, Any]:
    threads, cuda = torch.get_num_threads(), work.model.device.type == "cuda"
    # The bfloat16 engine makes its own copy: the master weights it reads stay what a trainer would have, float32.
    master = _float32(work.model) if dtype != torch.float32 else work.model
    engine = NativeEngine(master, work.tokenizer, SamplingSettings(1.0, work.length), rows=work.count, dtype=dtype)
    seeds = itertools.count()
    ours = lambda: _ours(engine, work, next(seeds))  # noqa: E731
    theirs = lambda: _generate(work)  # noqa: E731
    tokens = ours()  # warms up
    short = lambda: _generate(work, TRIAL)  # noqa: E731
    short()
    best = min({1, threads}, key=lambda n: _with_threads(n, lambda: _timed(short).seconds))
    pairs = [(_timed(ours), _with_threads(best, lambda: _timed(theirs))) for _ in range(work.pairs)]
    ratios = [a.speed / b.speed for a, b in pairs]
    name = str(dtype).removeprefix("torch.")
    speed = statistics.median(a.speed for a, _ in pairs)
    return {
        "name": f"rollouts, {work.name}, {work.count} samples, {name}",
        "unit": "tokens/s",
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "target": work.target,
        "better": "higher",
        "ours": speed,
        "peer": statistics.median(b.speed for _, b in pairs),
        "ratio_per_cpu_second": statistics.median(a.cpu_speed / b.cpu_speed for a, b in pairs),
        "pairs": work.pairs,
        "dtype": name,
        "tokens": tokens,
        "peer_threads": best,
        "refresh_share": _refresh_seconds(engine) * speed / tokens,
        "peak_mib": _peak_mib(ours),
        "peer_peak_mib": _with_threads(best, lambda: _peak_mib(theirs)),
        **({} if master is work.model else _beside_float32(ours, replace(work, model=master), best)),
        **(_gpu_floor(engine, work, speed) if cuda else _floor(engine, work, tokens, speed, threads)),
    }


def _beside_float32(ours: Callable[[], int], work: Work, threads: int) -> dict[str, float]:
    """Against the peer in float32, where the peer in this row's dtype is the row's own ratio."""
    theirs = lambda: _generate(work)  # noqa: E731
    pairs = [(_timed(ours), _with_threads(threads, lambda: _timed(theirs))) for _ in range(-(-work.pairs // 2))]
    return {
        "ratio_to_float32_peer": statistics.median(a.speed / b.speed for a, b in pairs),
        "ratio_to_float32_peer_per_cpu_second": statistics.median(a.cpu_speed / b.cpu_speed for a, b in pairs),
    }


def _float32(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in float32, in a model of its own."""
    other: PreTrainedModel = copy.deepcopy(model).float()
    return other


def _ours(engine: NativeEngine, work: Work, seed: int) -> int:
    requests = [Request(p, p, i, rng.key64("bench", seed, p, i)) for p in work.prompts for i in range(work.samples)]
    return sum(len(c.token_ids) for c in engine.generate(requests, lengths=work.lengths))


def _generate(work: Work, length: int | None = None) -> int:
    """Completion tokens drawn by `generate`, each completion cut at `length`."""
    length = length or work.length
    encoded = work.tokenizer(
        list(work.prompts), return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False
    ).to(work.model.device)
    width = encoded["input_ids"].shape[1]
    imposed: dict[str, Any] = {}
    if work.lengths is not None:
        imposed = {"eos_token_id": None, "stopping_criteria": [_Imposed(work.lengths, width)]}
        work.model.generation_config.eos_token_id = None
    with torch.inference_mode():
        ids = work.model.generate(  # type: ignore[operator]
            **encoded, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=length,
            num_return_sequences=work.samples, pad_token_id=work.tokenizer.pad_token_id, **imposed,
        )  # fmt: skip
    if work.lengths is not None:
        return sum(min(n, length) for n in work.lengths)
    ended = (ids[:, width:] == work.tokenizer.eos_token_id).int()
    before_end = (ended.cumsum(1) - ended) == 0
    return int(before_end.sum())


class _Imposed(StoppingCriteria):
    """Each row ends at its length."""

    def __init__(self, lengths: Sequence[int], width: int) -> None:
        self.last_R = torch.tensor(lengths) + width

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return self.last_R.to(input_ids.device) <= input_ids.shape[1]


class _Timed(NamedTuple):
    """Tokens per second, per second of processor time (which other work on the machine disturbs less), and the seconds."""

    speed: float
    seconds: float
    cpu_speed: float


def _timed(work: Callable[[], int]) -> _Timed:
    synchronize()
    start, cpu = time.perf_counter(), time.process_time()
    tokens = work()
    synchronize()
    seconds, busy = time.perf_counter() - start, time.process_time() - cpu
    return _Timed(tokens / seconds, seconds, tokens / max(busy, 1e-9))


def _refresh_seconds(engine: NativeEngine) -> float:
    synchronize()
    start = time.perf_counter()
    engine.refresh()
    synchronize()
    return time.perf_counter() - start


def _with_threads(threads: int, work: Callable[[], Found]) -> Found:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return work()
    finally:
        torch.set_num_threads(before)


# --------------------------------------------------------------------------------------------------- memory, and the floor


def _peak_mib(work: Callable[[], Any]) -> float | None:
    """How much further memory rises while it works; None where the system does not tell."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # forget the highest resident size so far
        with open("/proc/self/statm") as file:
            before = int(file.read().split()[1]) * resource.getpagesize()
        work()
        with open("/proc/self/status") as file:
            peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
        return (peak - before) / 2**20
    except (OSError, AttributeError, StopIteration):
        return None


def _gpu_floor(engine: NativeEngine, work: Work, speed: float) -> dict[str, float]:
    """See `rollouts_gpu.memory_floor`."""
    if not isinstance(engine.decoder, Decoder) or work.lengths is None:
        return {}
    prompt_lengths = [len(ids) for ids in engine.tokenize(work.prompts).values()]
    rate = bandwidth(engine.decoder.device)
    return memory_floor(engine.decoder, prompt_lengths, work.lengths, speed, rate)


def _floor(engine: NativeEngine, work: Work, tokens: int, speed: float, threads: int) -> dict[str, float]:
    """Products with weights alone, at the rate measured for these very shapes with every row busy.

    The head is counted once a token, the layers once a decoded token (the first of a completion comes from its prompt's
    logits) and once a prompt token.
    """
    decoder = engine.decoder
    if not isinstance(decoder, Decoder):
        return {}
    layer = decoder.layers[0]
    matrices = [layer.qkv, layer.out, layer.gate_up, layer.down]
    rows = max(1, work.count // threads)
    seconds_layers = sum(_matmul_seconds(m, rows, threads) for m in matrices) * len(decoder.layers)
    seconds_head = _matmul_seconds(decoder.head, rows, threads)
    prompt_tokens = sum(map(len, engine.tokenize(work.prompts).values()))
    passes = tokens - work.count + prompt_tokens
    seconds = (passes * seconds_layers + tokens * seconds_head) / rows
    flops = 2 * (sum(m.numel() for m in matrices) * len(decoder.layers) + decoder.head.numel())
    return {
        "gflops": flops * rows / (seconds_layers + seconds_head) / 1e9,
        "mflop_a_token": flops / 1e6,
        "floor_tokens_per_s": tokens / seconds,
        "of_floor": speed * seconds / tokens,
    }


def _matmul_seconds(weight: Tensor, rows: int, threads: int) -> float:
    """Seconds a row block of each of `threads` workers takes, divided by the workers: the machine's, not a thread's."""

    def repeat(_: int) -> float:
        torch.set_num_threads(1)
        x = torch.zeros(rows, weight.shape[1], dtype=weight.dtype, device=weight.device)
        times = []
        with torch.inference_mode():
            for _ in range(5):
                start = time.perf_counter()
                for _ in range(8):
                    linear(x, weight)
                times.append((time.perf_counter() - start) / 8)
        return statistics.median(times)

    before = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        seconds = statistics.mean(pool.map(repeat, range(threads)))
    torch.set_num_threads(before)
    return seconds / threads
