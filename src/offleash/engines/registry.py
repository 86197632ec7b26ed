"""The engines by name: what each needs, gives and promises, and how one is opened. Nothing heavy is imported before that."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from offleash.core import InputError, rng, unknown_name
from offleash.engines.base import Sampler, SamplingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Opened(NamedTuple):
    """An engine ready to sample."""

    sampler: Sampler
    model_id: str
    """The model's identity: of its content, or of the declared label of a server's."""
    check: Callable[[Iterable[str]], object]
    """Raises an InputError for prompts that the engine refuses."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A row: an engine and what it claims; the contract tests hold it to that."""

    name: str
    about: str
    open: Callable[..., Opened]
    """(model, sampling, **options) -> Opened."""
    needs: tuple[str, ...]
    """Packages beyond the base install; the extra of the engine's name brings them."""
    reads: Literal["folder", "server"]
    """What `model` names."""
    reproducible: bool
    """The same request gives the same completion alone, in any batch, after a resume; else that is the server's to keep."""
    logprobs: Literal["always", "where the server gives them"]
    """Of the sampled tokens, at the sampling temperature; NaN where they are missing."""
    entropies: bool
    """Of the full distribution; NaN where not."""
    chunk: int = 2048
    """Completions between two writes to a store."""

    def missing(self) -> str | None:
        """Why it cannot run here, in words; None where it can."""
        for package in self.needs:
            try:
                importlib.import_module(package)
            except ImportError as error:
                return f"engine {self.name}: {error}; pip install 'offleash[{self.name}]'"
        return None


def get(name: str) -> Engine:
    """The row of a name; InputError with the closest one where there is none."""
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    return ENGINES[name]


def open_engine(name: str, model: str, sampling: SamplingSettings, **options: Any) -> Opened:
    """An engine for a model.

    Args:
        name: of the registry.
        model: a model folder or `base`; for a server, the model's name there.
        sampling: how completions are drawn.
        options: of the engine: `rows` and more of `NativeEngine` and `HfEngine`; `label` and the fields of `openai.Server`; `vllm.LLM`'s arguments.

    Raises:
        InputError: an unknown name, a package that is missing, or a model that cannot be used.
    """
    engine = get(name)
    if missing := engine.missing():
        raise InputError(missing)
    return engine.open(model, sampling, **options)


def _native(model: str, sampling: SamplingSettings, **options: Any) -> Opened:
    from offleash.engines.native import NativeEngine

    weights, tokenizer, identity = _load(model)
    engine = NativeEngine(weights, tokenizer, sampling, **options)
    return Opened(engine, identity, engine.tokenize)


def _hf(model: str, sampling: SamplingSettings, **options: Any) -> Opened:
    from offleash.engines.hf import HfEngine

    weights, tokenizer, identity = _load(model)
    engine = HfEngine(weights, tokenizer, sampling, **options)
    return Opened(engine, identity, engine.tokenize)


def _vllm(model: str, sampling: SamplingSettings, **options: Any) -> Opened:
    from offleash import nn
    from offleash.engines.vllm import VllmEngine

    identity = _load(model)[2]
    engine = VllmEngine(str(nn.model_folder(model)), sampling, **options)
    return Opened(engine, identity, engine.tokenize)


def _openai(model: str, sampling: SamplingSettings, label: str | None = None, **options: Any) -> Opened:
    from offleash.engines.openai import OpenAIEngine, Server

    engine = OpenAIEngine(Server(model, **options), sampling)
    return Opened(engine, rng.digest("server", label or model).hex(), engine.check)


def _load(model: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    from offleash import nn

    weights, tokenizer = nn.load(model)
    return weights, tokenizer, nn.identity(weights, tokenizer)


ENGINES: dict[str, Engine] = {
    row.name: row
    for row in (
        Engine(
            name="native",
            about="continuous batching on the trainer's own weights; fastest for Llama, Mistral, Qwen2, Qwen3",
            open=_native,
            needs=(),
            reads="folder",
            reproducible=True,
            logprobs="always",
            entropies=True,
        ),
        Engine(
            name="hf",
            about="Hugging Face generate, any causal language model; slow",
            open=_hf,
            needs=(),
            reads="folder",
            reproducible=True,
            logprobs="always",
            entropies=True,
        ),
        Engine(
            name="openai",
            about="any server with an OpenAI-compatible API, many endpoints",
            open=_openai,
            needs=("httpx2",),
            reads="server",
            reproducible=False,
            logprobs="where the server gives them",
            entropies=False,
            chunk=256,
        ),
        Engine(
            name="vllm",
            about="vLLM in this process, on a GPU, with its own copy of the weights",
            open=_vllm,
            needs=("vllm",),
            reads="folder",
            reproducible=False,
            logprobs="always",
            entropies=False,
        ),
    )
}
