"""Several processes: the same gradient as one, whoever holds the rows; errors, interruptions and resumptions end together."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from offleash.core import InputError
from offleash.jobs import train as job
from offleash.store import RunFolder
from offleash.training import loop, zero
from offleash.training.processes import ALONE, Processes, start
from tests.training.several import CASES, commands, ended, gradients

PROGRAM = Path(__file__).with_name("several.py")


def one_of(rank: int, count: int) -> Processes:
    made = Processes()
    made.rank, made.count = rank, count
    return made


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("sizes", [[], [5], [1, 1, 1, 1], [100, 1, 1, 1], [1, 1, 1, 100], [3, 9, 2, 4, 8, 1, 1, 6]])
def test_shares_are_stretches_of_about_equal_size(count: int, sizes: list[int]) -> None:
    items = list(range(len(sizes)))
    shares = one_of(0, count).shares(items, sizes)
    assert [item for share in shares for item in share] == items
    assert len(shares) == count
    for share in shares:  # its part of the sum, and half of an item at either end
        assert abs(sum(sizes[i] for i in share) - sum(sizes) / count) <= max(sizes, default=0)
    assert [i for rank in range(count) for i in one_of(rank, count).part(len(sizes))] == items


def test_without_a_launcher_no_group_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    start.cache_clear()
    assert start() is ALONE
    assert not torch.distributed.is_initialized()
    assert "accelerate" not in sys.modules or ALONE.accelerator is None
    assert ALONE.gather(lambda: 3) == [3] and ALONE.share(lambda: 4) == 4 and ALONE.any(True)


def close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    scale = max(float(value.abs().max()) for value in wanted.values())
    assert scale > 1e-4  # the case has a gradient at all
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", ["false", "true"])
def test_two_processes_have_the_gradients_and_metrics_of_one(sharded: str, tmp_path: Path) -> None:
    made = commands(2, [str(PROGRAM), str(tmp_path)], ACCELERATE_USE_FSDP=sharded, FSDP_VERSION="2")
    for code, err in ended(made):
        assert code == 0, err[-3000:]
    for case in CASES:
        gradient, metrics = gradients(case, ALONE)
        close(load_file(tmp_path / f"{case}.safetensors"), gradient)
        found = json.loads((tmp_path / f"{case}.json").read_text())
        assert found == {name: pytest.approx(value, rel=1e-4, abs=1e-6) for name, value in metrics.items()}, case
    if sharded == "false":
        one, two = (json.loads((tmp_path / f"meetings-{rank}.json").read_text()) for rank in (0, 1))
        assert one["gather"] == two["gather"] == "[0, 10]"
        assert one["share"] == two["share"] == "5"
        assert one["any"] == two["any"] == "True"
        assert one["input"] == two["input"] == "InputError: steps: is bad; mend it"
        assert one["main"] == two["main"] == "OffleashError: the disk is full"
        assert one["nested"] == two["nested"] == "InputError: a: is bad"


RECIPE = """
steps: 4
task: {levels: [4]}
objective: {name: grpo, overrides: {kl_beta: 0.01}}
rollout: {num_prompts: 3, num_generations: 8, max_completion_length: 20}
optimizer: {minibatches: 3, micro_batch_rows: 8}
resets: {reference_every: 2, optimizer_every: 3}
probe: {every: 2, problems: 3, samples: 5, keep_best: true}
checkpoint_every: 1
"""


def train(folder: Path, *changes: str) -> list[str]:
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    return ["-m", "offleash", "train", str(recipe), "--out", str(folder / "run"), *changes]


def alike(a: RunFolder, b: RunFolder) -> None:
    """The same run up to rounding. The samples are the same ones, so what counts them is exactly the same."""
    for one, two in zip(a.metrics(), b.metrics(), strict=True):
        assert one["reward"] == two["reward"] and one["num_tokens"] == two["num_tokens"]
        assert {k: v for k, v in two.items() if k != "mismatch"} == {
            k: pytest.approx(v, rel=1e-2, abs=1e-4) for k, v in one.items() if k != "mismatch"
        }
    last = a.metrics()[-1]["step"]
    left, right = (load_file(run.checkpoint_dir(last) / "model.safetensors") for run in (a, b))
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, atol=1e-4, rtol=0)


KINDS = {
    "replicas": {},
    "fsdp2": {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"},
    "zero2": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2", "DS_ACCELERATOR": "cpu"},
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("replicas", marks=pytest.mark.slow),
        pytest.param("fsdp2", marks=pytest.mark.prove),
        pytest.param("zero2", marks=pytest.mark.prove),
    ],
)
def test_a_run_of_two_is_the_run_of_one_and_either_resumes_the_other(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References, resets, probes, best checkpoints and moments of a run; two processes, one, two again."""
    if kind == "zero2" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")

    def two(steps: int) -> None:
        made = commands(2, ["-c", STOPPED.format(steps=steps), *train(tmp_path)[2:], "--resume"], **KINDS[kind])
        for code, err in ended(made):
            assert code == 0, err[-3000:]

    two(2)
    recipe, true = tmp_path / "recipe.yaml", loop.stopped_at
    job.run(recipe, [], out=tmp_path / "whole")
    # It ends as if the guard had stopped it: a recipe with other `steps` would be refused.
    monkeypatch.setattr(loop, "stopped_at", lambda events, step: step >= 3 or true(events, step))
    job.run(recipe, [], out=tmp_path / "run", resume=True)
    two(4)
    run, whole = RunFolder.open(tmp_path / "run"), RunFolder.open(tmp_path / "whole")
    alike(whole, run)
    warned = [e["message"] for e in run.events() if e["kind"] == "warning"]
    assert [w.partition(":")[0] for w in warned] == [
        "resumed with 1 processes, 2 wrote the checkpoint",
        "resumed with 2 processes, 1 wrote the checkpoint",
    ]
    kinds = [(e["step"], e["kind"]) for e in run.events() if e["kind"] != "warning"]
    assert kinds == [(e["step"], e["kind"]) for e in whole.events()]
    assert (run.path / "summary.json").is_file() and (run.path / "best.json").is_file()


STOPPED = """
import os
if "DS_ACCELERATOR" in os.environ:
    import deepspeed, deepspeed.ops
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # would be compiled, for minutes
from offleash.training import loop
true = loop.stopped_at
loop.stopped_at = lambda events, step: step >= {steps} or true(events, step)
from offleash.cli.main import main
main()
"""


@pytest.mark.slow
def test_bad_input_and_a_full_disk_are_one_line_of_one_process(tmp_path: Path) -> None:
    (code, said), (other, nothing) = ended(commands(2, train(tmp_path, "steps=zero")))
    assert code == other == 2
    assert said == "offleash: override: steps: is 'zero'; input should be a valid integer\n" and not nothing
    made = commands(2, train(tmp_path, "probe.every=0", "probe.keep_best=false"))
    while not (tmp_path / "run" / "run.json").is_file():
        assert made[0].poll() is None
        time.sleep(0.01)
    (tmp_path / "run" / "checkpoints").write_text("in the way")
    (code, said), (other, nothing) = ended(made)
    assert code == other == 1
    assert "checkpoint" in said.splitlines()[-1] and "Traceback" not in said and not nothing


@pytest.mark.slow
def test_an_interrupt_of_one_stops_all_after_the_step(tmp_path: Path) -> None:
    made = commands(2, train(tmp_path, "steps=400"))
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.is_file() and metrics.read_text().count("\n") >= 2):
        assert made[0].poll() is None
        time.sleep(0.01)
    made[1].send_signal(signal.SIGINT)
    made[1].send_signal(signal.SIGINT)  # the launcher passes on what the terminal has sent already
    (code, said), (other, nothing) = ended(made)
    assert code == other == 130
    assert said.splitlines()[-1].startswith("offleash: interrupted") and "Traceback" not in said and not nothing
    run = RunFolder.open(tmp_path / "run")
    assert run.events()[-1]["kind"] == "interrupted"
    state = json.loads((run.checkpoint_dir(len(run.metrics())) / "training_state.json").read_text())
    assert state["processes"] == 2 and state["step"] == len(run.metrics())


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other(tmp_path: Path) -> None:
    made = commands(2, train(tmp_path, "steps=400"))
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.is_file() and metrics.read_text().count("\n") >= 2):
        assert made[0].poll() is None
        time.sleep(0.01)
    made[1].kill()
    (code, said), _ = ended(made, 60)
    assert code == 1
    assert "another process of this run has ended" in said.splitlines()[-1] and "Traceback" not in said


@pytest.mark.slow
def test_accelerate_launches_it(tmp_path: Path) -> None:
    """The launcher itself, with a configuration file as `accelerate config` writes it; its FSDP2 on CPUs."""
    config = tmp_path / "fsdp.yaml"
    config.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: FSDP\nmixed_precision: 'no'\nnum_machines: 1\n"
        "num_processes: 2\nuse_cpu: false\nmain_process_port: 0\nfsdp_config: {fsdp_version: 2}\n"
    )
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    done = subprocess.run(
        [*launch, *train(tmp_path, "steps=1", "probe.every=0", "probe.keep_best=false")],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    state = json.loads((tmp_path / "run" / "checkpoints" / "step_1" / "training_state.json").read_text())
    assert state["processes"] == 2


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "--mixed_precision: bf16"),
        ({"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_USE_FSDP": "true"}, "--fsdp_version: 1"),
        (
            {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_USE_CPU": "true", "MASTER_PORT": "29500"},
            "--num_processes: with --cpu accelerate starts one process",
        ),
    ],
)
def test_what_the_launcher_was_asked_and_cannot_be(
    environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    start.cache_clear()
    with pytest.raises(InputError, match=said):
        start()
    start.cache_clear()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"zero_optimization": {"stage": 3}}, "--zero_stage: 3; give 1 or 2"),
        (
            {"zero_optimization": {"stage": 1}, "bf16": {"enabled": True}},
            "bf16 is enabled, but the precision is the recipe's",
        ),
        (None, "cannot be read"),
    ],
)
def test_deepspeed_configurations_that_cannot_be(
    content: dict[str, object] | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ds.json"
    if content is not None:
        file.write_text(json.dumps(content))
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(file))
    with pytest.raises(InputError, match=said):
        zero.config(1.0)


def test_deepspeed_is_configured_by_the_recipe_where_the_recipe_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ds.json"
    given = {
        "zero_optimization": {"stage": 1, "overlap_comm": True},
        "optimizer": {"type": "SGD"},
        "gradient_clipping": 9,
    }
    file.write_text(json.dumps(given))
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(file))
    found = zero.config(0.5)
    assert found["zero_optimization"] == given["zero_optimization"]
    assert found["gradient_clipping"] == 0.5 and "optimizer" not in found
