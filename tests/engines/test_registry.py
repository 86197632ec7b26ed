"""The registry: names, what is missing, and that nothing heavy is loaded by looking."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from offleash import nn
from offleash.core import InputError
from offleash.engines import ENGINES, SamplingSettings, get, open_engine


def test_an_unknown_engine_names_the_closest() -> None:
    with pytest.raises(InputError, match="unknown engine 'vlm'; did you mean 'vllm'"):
        get("vlm")
    with pytest.raises(InputError, match=r"\(known: hf, native, openai, vllm\)"):
        open_engine("torch", "base", SamplingSettings())


def test_a_missing_package_names_the_extra() -> None:
    row = replace(ENGINES["vllm"], needs=("no_such_package_here",))
    assert row.missing() == "engine vllm: No module named 'no_such_package_here'; pip install 'offleash[vllm]'"
    assert ENGINES["hf"].missing() is None


def test_every_row_says_what_it_is() -> None:
    for name, row in ENGINES.items():
        assert row.name == name and row.about and row.chunk > 0
        assert not row.entropies or row.logprobs == "always"


def test_a_folder_has_one_identity_under_every_engine_and_a_server_its_label() -> None:
    settings = SamplingSettings(1.0, 4)
    assert open_engine("hf", "base", settings).model_id == nn.identity(*nn.load("base"))
    assert open_engine("native", "base", settings).model_id == open_engine("hf", "base", settings).model_id
    there = {"endpoints": ("http://127.0.0.1:1/v1",)}
    a, b, c = (open_engine("openai", "m", settings, label=x, **there).model_id for x in (None, "m", "other"))
    assert a == b != c


@pytest.mark.parametrize("module", ["offleash.engines", "offleash.engines.openai"])
def test_looking_loads_no_torch(module: str) -> None:
    code = f"import sys, {module} as m; m.__name__; assert not {{'torch', 'transformers', 'vllm'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 1e-310}, "temperature: 1e-310 is below 1e-06"),
        ({"stop": "abc"}, "stop: 'abc' is one text; give a tuple"),
    ],
)
def test_settings_that_would_sample_something_else_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SamplingSettings(**settings)  # type: ignore[arg-type]


def test_the_native_engines_identity_and_what_it_refuses() -> None:
    import torch

    from offleash import nn
    from offleash.engines.native import NativeEngine

    model, tokenizer = nn.load("base")
    before = NativeEngine(model, tokenizer, SamplingSettings()).settings()
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, 5]
    # Another stopping rule is another sampler.
    assert NativeEngine(model, tokenizer, SamplingSettings()).settings() != before
    with pytest.raises(InputError, match=r"dtype: torch.int8 is no floating-point type"):
        NativeEngine(model, tokenizer, SamplingSettings(), dtype=torch.int8)
    with pytest.raises(InputError, match="rows: 0 is below 1"):
        NativeEngine(model, tokenizer, SamplingSettings(), rows=0)
    model.config.vocab_size = 11
    with pytest.raises(InputError, match="the folder holds another model's tokenizer"):
        NativeEngine(model, tokenizer, SamplingSettings())
