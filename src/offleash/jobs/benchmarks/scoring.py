"""Peak memory of log-probs, entropies and their gradient: in chunks of tokens, beside all logits at once.

Each measurement is a process of its own, since what a process once took it may keep. What is counted is the rise of its
peak above the model and one gradient of it, so that the head's own size, which grows with V, is not in it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from typing import Any

import torch

TOKENS, CHUNK, HIDDEN = 8192, 512, 64
VOCABS = (4_096, 32_768, 131_072)
TARGET = 0.25
"""Peak of the chunked way as a share of the peak of all logits at once."""


def beside_full_logits() -> list[dict[str, Any]]:
    """One row a vocabulary."""
    rows = []
    for vocab in VOCABS:
        ours, peer = _in_process(vocab, CHUNK), _in_process(vocab, TOKENS)
        rows.append(
            {
                "name": f"peak memory of scoring {TOKENS} tokens, V = {vocab}, chunks of {CHUNK}",
                "unit": "MiB",
                "ratio": ours / peer,
                "low": ours / peer,
                "high": ours / peer,
                "target": TARGET,
                "better": "lower",
                "ours": ours,
                "peer": peer,
                "pairs": 1,
                "dtype": "float32",
                "chunks_of_logits": ours / (CHUNK * vocab * 4 / 2**20),
            }
        )
    return rows


def _in_process(vocab: int, chunk: int, tokens: int = TOKENS) -> float:
    code = f"from offleash.jobs.benchmarks.scoring import peak; print(peak({vocab}, {chunk}, {tokens}))"
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1]))


def peak(vocab: int, chunk: int, tokens: int = TOKENS) -> float:
    """MiB above the model and its gradient that scoring `tokens` tokens, forward and backward, takes at its peak."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

    from offleash.nn import pad, score

    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=1,
        tie_word_embeddings=False,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: PreTrainedModel = LlamaForCausalLM(config)
    model.to(torch.device(device))  # type: ignore[arg-type]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    rows = max(1, tokens // 512)
    batch = pad([[1]] * rows, [[2] * (tokens // rows)] * rows, 0)
    small = pad([[1]], [[2, 3]], 0)
    warm = score(model, small)
    (warm[0].sum() + warm[1].sum()).backward()
    before = _now(device)
    logprobs, entropy = score(model, batch, chunk=chunk)
    (logprobs.sum() + entropy.sum()).backward()
    return _peak(device) - before


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def _peak(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        # getrusage would count what the parent had when it started this process.
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 2**10
    except (OSError, StopIteration):  # not Linux; bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
