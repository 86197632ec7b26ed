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
