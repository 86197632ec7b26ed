"""Rollouts from a server that loads the trainer's weights from a folder: the same run, or a line that says why not."""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from counting import COUNTING, recipe, small_model
from safetensors.torch import load_file
from several import commands, ended
from standin import StandIn

from offleash import nn, tasks
from offleash.cli import main as cli
from offleash.core import InputError, OffleashError
from offleash.engines import SamplingSettings, Unfinished, endpoints, openai
from offleash.engines import server as engine_module
from offleash.jobs.recipe import dump
from offleash.objectives import get
from offleash.store import RunFolder
from offleash.tasks.base import _TASKS
from offleash.training import Hooks, TrainSettings, train
from offleash.training import server as server_module
from offleash.training.loop import _learner
from offleash.training.phase import Phase
from offleash.training.processes import ALONE
from offleash.training.rows import Row
from offleash.training.server import Stale, _weights, rescored
from offleash.training.server_proof import Proof, evidence, trained
from offleash.training.settings import (
    ExternalSettings,
    LoraSettings,
    ObjectiveSettings,
    OptimizerSettings,
    RolloutSettings,
    ServerSettings,
    StageSettings,
    TaskSettings,
)

SETTINGS = TrainSettings(
    steps=3,
    task=TaskSettings(levels=(3,)),
    rollout=RolloutSettings(num_prompts=4, num_generations=6, max_completion_length=12, rows=24),
    optimizer=OptimizerSettings(learning_rate=1e-3, minibatches=2),
)


@pytest.fixture(autouse=True)
def _same_seeds_and_short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """All bits of a request's key reach the stand-in, so that it can draw what the native engine draws."""
    monkeypatch.setattr(openai, "SEED_BITS", 64)
    for module in (endpoints, engine_module):
        monkeypatch.setattr(module, "FIRST_REST", 0.01)
        monkeypatch.setattr(module, "LONGEST_REST", 0.05)


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


def through(server: Any, folder: Path, settings: TrainSettings = SETTINGS, **changes: Any) -> TrainSettings:
    given = ServerSettings(
        url=server.url, folder=str(folder / "weights"), dtype="float32", max_mismatch=1e-3, patience=2
    )
    return replace(settings, rollout=replace(settings.rollout, engine="server", server=replace(given, **changes)))


def go(folder: Path, settings: TrainSettings, *, resume: bool = False) -> RunFolder:
    run = RunFolder.open(folder / "run") if resume else RunFolder.create(folder / "run", "steps: 3\n", {})
    train(settings, run, resume=resume, hooks=Hooks())
    return run


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return go(tmp_path_factory.mktemp("native"), SETTINGS)


def last(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(run.checkpoint_dir(SETTINGS.steps) / "model.safetensors")


def column(run: RunFolder, name: str) -> list[float]:
    return [row[name] for row in run.metrics()]


def messages(run: RunFolder) -> list[str]:
    return [e["message"] for e in run.events() if e["kind"] == "warning"]


@pytest.mark.parametrize("kind", ["vllm", pytest.param("sglang", marks=pytest.mark.slow)])
def test_a_run_through_a_server_is_the_run_without_it(
    server: StandIn, native: RunFolder, kind: str, tmp_path: Path
) -> None:
    run = go(tmp_path, through(server, tmp_path, kind=kind))
    for name in ("reward", "accuracy", "completion_length", "num_tokens"):
        assert column(run, name) == column(native, name)
    assert column(run, "token_entropy") == pytest.approx(column(native, "token_entropy"), rel=1e-4)
    assert column(run, "loss") == pytest.approx(column(native, "loss"), abs=1e-4)
    for name, value in last(run).items():
        torch.testing.assert_close(value, last(native)[name], atol=1e-4, rtol=1e-3)
    assert 0 < max(column(run, "mismatch")) < 1e-3 and max(column(run, "mismatch_mean")) < 1e-4
    shown = [row.get("weights_taken") for row in run.metrics()]
    assert shown[0] is None and shown[1:] == pytest.approx([1, 1], abs=1e-3)
    assert messages(run) == []
    # Every step's weights under a name of their own, the cache flushed after each, and the last two left.
    names = [folder.name[:-7] for folder in server.loads]
    assert names == ["blank", "step-000000", "step-000001", "step-000002"]
    load, flush = {"vllm": ("/collective_rpc", "/reset_prefix_cache")}.get(
        kind, ("/update_weights_from_disk", "/flush_cache")
    )
    assert [p for p in server.posts if p != "/v1/completions"] == [load, flush] * 4
    assert sorted((tmp_path / "weights").iterdir()) == sorted(server.loads[-2:])


def test_what_is_asked_and_what_is_written(server: StandIn, tmp_path: Path) -> None:
    settings = through(server, tmp_path, replace(SETTINGS, steps=1), dtype="bfloat16", max_mismatch=0.1)
    run = go(tmp_path, settings)
    asked = [body for body in server.bodies if body.get("max_tokens") == 12]
    assert len(asked) == 24 and all(body["model"] == "policy" for body in asked)
    tokenizer = server.first[1]
    for body in asked:
        assert tokenizer.decode(body["prompt"]).endswith(":") and body["stop_token_ids"] == [tokenizer.eos_token_id]
        assert (body["top_k"], body["repetition_penalty"], body["return_token_ids"]) == (-1, 1.0, True)
    written = load_file(server.loads[-1] / "model.safetensors")
    assert {v.dtype for v in written.values()} == {torch.bfloat16}
    policy = load_file(run.checkpoint_dir(0) / "model.safetensors")
    assert written.keys() == policy.keys()
    assert all(torch.equal(written[k], v.bfloat16()) for k, v in policy.items())
    assert 1e-5 < run.metrics()[0]["mismatch_mean"] < 0.1  # what rounding makes of it


def test_a_server_that_never_takes_weights_is_found_out_before_the_first_step(tmp_path: Path) -> None:
    with StandIn(deaf_from=0) as server, pytest.raises(Stale, match=r"equally likely.*did not take the weights") as e:
        go(tmp_path, through(server, tmp_path, max_mismatch=1e9))
    assert "\n" not in str(e.value) and RunFolder.open(tmp_path / "run").metrics() == []


@pytest.mark.slow
def test_a_server_that_stops_taking_weights_is_found_out_at_the_next_step(native: RunFolder, tmp_path: Path) -> None:
    with (
        StandIn(deaf_from=2) as server,
        pytest.raises(Stale, match=r"step 2: .*0.00 of the update .*has not taken") as e,
    ):
        go(tmp_path, through(server, tmp_path))
    assert "\n" not in str(e.value)
    run = RunFolder.open(tmp_path / "run")
    assert len(run.metrics()) == 1 and run.checkpoint_dir(1).is_dir()  # saved, though no checkpoint was due
    with StandIn() as server:
        run = go(tmp_path, through(server, tmp_path), resume=True)
    assert column(run, "reward") == column(native, "reward")


@pytest.mark.parametrize("deaf_from", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_rounding_does_not_hide_a_small_update(deaf_from: int, tmp_path: Path) -> None:
    """An update that moves log-probs by no more than rounding does, where a limit on the mean sees nothing."""
    small = replace(SETTINGS.optimizer, learning_rate=3e-5)
    rollout = replace(SETTINGS.rollout, num_prompts=8, num_generations=8, rows=64)
    settings = replace(SETTINGS, steps=2, optimizer=small, rollout=rollout)
    with StandIn(deaf_from=deaf_from) as server:
        settings = through(server, tmp_path, settings, dtype="bfloat16", max_mismatch=0.05)
        if deaf_from == 2:
            with pytest.raises(Stale, match=r"step 2: .* of the update .*has not taken"):
                go(tmp_path, settings)
            return
        run = go(tmp_path, settings)
    assert run.metrics()[1]["weights_taken"] == pytest.approx(1, abs=0.3)


@pytest.mark.slow
def test_weights_that_moved_elsewhere_are_held_to_the_limit(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has the update and something else besides."""
    original = server.load

    def load(folder: str) -> None:
        original(folder)
        if "step-000001" in folder:
            weight = server.model.get_input_embeddings().weight
            weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(server, "load", load)
    monkeypatch.setattr(Proof, "decide", lambda self: None)
    with pytest.raises(Stale, match=r"step 2: .* differ by .*max_mismatch is 0.001\): most likely"):
        go(tmp_path, through(server, tmp_path))


def test_what_is_no_update_is_no_evidence_and_rounding_of_the_trainer_is_none() -> None:
    model, tokenizer = nn.load("base")
    prompt, ids = tokenizer("1 2 3=7:")["input_ids"], tokenizer("1+2*3", add_special_tokens=False)["input_ids"]
    rows = [Row(prompt, ids[: 2 + i % 4], None, 0.0, i, False, engine_logprobs=[-1.0] * (2 + i % 4)) for i in range(20)]
    for dtype in (None, torch.bfloat16):
        before = trained(model)
        assert all(pair == (0.0, 0.0) for pair in evidence(model, before, rows, 1.0, dtype, ALONE, 7))
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1.01)
    found = evidence(model, before, rows, 1.0, None, ALONE, 7)
    new, old = (
        nn.score_all(m, [r.prompt for r in rows], [r.completion for r in rows]) for m in (model, nn.load("base")[0])
    )
    for (rd, dd), a, b in zip(found, new, old, strict=True):
        d = (a.logprobs_T - b.logprobs_T).double()
        assert dd == pytest.approx(float(d @ d), rel=1e-2) and dd > 0
        assert rd == pytest.approx(float((-1.0 - b.logprobs_T.double()) @ d), rel=1e-2, abs=1e-6)
    assert all(torch.equal(v, p.cpu()) for v, p in zip(trained(model).values(), model.parameters(), strict=True))


def test_the_slope_is_found_and_decided_on_evidence_alone() -> None:
    draw = torch.Generator().manual_seed(0)

    def rows(taken: float, noise: float, count: int) -> list[tuple[float, float]]:
        found = []
        for _ in range(count):
            update = torch.randn(20, generator=draw, dtype=torch.float64) * 0.01
            seen = taken * update + noise * torch.randn(20, generator=draw, dtype=torch.float64)
            found.append((float(seen @ update), float(update @ update)))
        return found

    few, loud = Proof(), Proof()
    few.add(rows(0, 0, 5))
    loud.add(rows(0, 1.0, 64))
    assert few.decide() is None and loud.decide() is None and loud.error > 0.5
    for taken in (0.0, 1.0):
        proof = Proof()
        proof.add(rows(taken, 0.01, 128))
        assert proof.slope == pytest.approx(taken, abs=5 * proof.error) and 0.01 < proof.error < 0.03
        assert proof.decide() is bool(taken)
        assert bool(proof.sums) is not bool(taken)  # a new count once it is taken
    steps = Proof()  # what one step cannot show, many do
    for _ in range(400):
        steps.add(rows(0, 0.15, 64))
        if steps.decide() is not None:
            break
    assert steps.decide() is False and len(steps.sums) > 64
    alarms = []
    for _ in range(300):
        proof = Proof()
        proof.add(rows(1, 0.05, 64))
        alarms.append(proof.decide())
    assert False not in alarms
    one = Proof()  # a single token that weighs as much as all others together decides nothing
    one.add([*rows(1, 0.0, 40), (0.0, 0.16)])
    assert one.slope < 0.5 < one.slope + 5 * one.error and one.decide() is None
    none = Proof()
    none.add([(0.0, 0.0)] * 100)
    assert math.isnan(none.slope) and none.decide() is None


@pytest.mark.slow
def test_a_server_that_started_anew_is_given_the_weights_again(
    server: StandIn, native: RunFolder, tmp_path: Path
) -> None:
    server.crash_at = 50  # in the middle of the second step's completions
    run = go(tmp_path, through(server, tmp_path, patience=20))
    assert server.crash_at is None and column(run, "reward") == column(native, "reward")
    assert any("given the weights again" in m for m in messages(run))
    twice = [folder for folder in server.loads if server.loads.count(folder) > 1]
    assert {folder.name[:11] for folder in twice} == {"step-000001"}


@pytest.mark.slow
def test_a_server_that_stays_away_ends_the_run_saved(tmp_path: Path) -> None:
    with StandIn() as server:
        server.crash_at, server.after = 50, [503] * 1000
        with pytest.raises(Unfinished, match=r"503.*--resume goes on") as e:
            go(tmp_path, through(server, tmp_path, patience=0.2))
    assert "\n" not in str(e.value) and not isinstance(e.value, InputError)
    run = RunFolder.open(tmp_path / "run")
    assert run.checkpoint_dir(1).is_dir() and len(run.metrics()) == 1


def test_nobody_there_is_waited_for_and_said(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free_port = free.getsockname()[1]
    nobody = type("Nobody", (), {"url": f"http://127.0.0.1:{free_port}"})
    with pytest.raises(Unfinished, match=r"cannot be reached.*start the server again, and --resume goes on"):
        go(tmp_path, through(nobody, tmp_path, patience=0.1))
    run = RunFolder.open(tmp_path / "run")
    assert messages(run) and "asked again in" in messages(run)[0]


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({"without": ("/collective_rpc",)}, {}, "VLLM_SERVER_DEV_MODE=1"),
        (
            {"without": ("/update_weights_from_disk",)},
            {"kind": "sglang"},
            "cannot load weights from a folder; update it",
        ),
        ({"gives": ("logprobs", "usage")}, {}, "does not send token ids"),
        ({"gives": ("token_ids", "usage")}, {}, "does not send the log-prob of every sampled token"),
        ({"name": "other"}, {"model": "policy"}, r"rollout.server.model: 'policy' is not served .*give one of other"),
        ({"name": "one,two"}, {}, r"rollout.server.model: empty, and 2 models are served"),
    ],
)
def test_a_server_that_cannot_be_used_is_named_with_the_mend(
    options: dict[str, Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with StandIn(**options) as server, pytest.raises(InputError, match=message) as e:
        go(tmp_path, through(server, tmp_path, **changes))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_ids": [10**6] * 3}, "has .* it serves another model"),
        ({"token_ids": [3, 3, 3]}, "leaves out the end token"),
    ],
)
def test_answers_of_another_model_are_refused(
    change: dict[str, Any], message: str, server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = {"text": "?", "finish_reason": "stop", "logprobs": {"token_logprobs": [-1.0] * 3}, **change}
    monkeypatch.setattr(server, "answer", lambda *_: {"choices": [choice]})
    with pytest.raises(InputError, match=message):
        go(tmp_path, through(server, tmp_path))


@pytest.mark.slow
def test_a_key_is_asked_for_and_sent(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = "s3cret"
    settings = through(server, tmp_path, replace(SETTINGS, steps=1))
    with pytest.raises(InputError, match=r"answered 401; put its key into .* OFFLEASH_API_KEY"):
        phase_of(settings).rollout(0)
    monkeypatch.setenv("OFFLEASH_API_KEY", "s3cret")
    assert len(phase_of(settings).rollout(0).completions) == 24


@pytest.mark.slow
def test_demonstrations_alone_need_no_weights(server: StandIn, tmp_path: Path) -> None:
    alone = replace(SETTINGS.rollout, num_generations=0)
    sft = replace(SETTINGS, objective=ObjectiveSettings("sft"), external=ExternalSettings(1), rollout=alone)
    phase = phase_of(through(server, tmp_path, sft))
    assert len(phase.rollout(0).groups) == 4 and phase.measured == {} and server.loads == []


def test_sglang_says_no_in_its_answer(server: StandIn, tmp_path: Path) -> None:
    control = engine_module.Control(server.url + "/v1", "sglang", 1.0, lambda said: None)
    control.load(Path(str(nn.model_folder("base"))))
    assert server.posts == ["/update_weights_from_disk", "/flush_cache"]

    def load(folder: str) -> None:
        server.refusal = "The memory pool flush failed"

    server.load = load  # type: ignore[method-assign]
    with pytest.raises(OffleashError, match=r"update_weights_from_disk answered 200 .*memory pool flush failed"):
        control.load(tmp_path)


def test_weights_that_the_server_cannot_load(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults.append(500)
    with pytest.raises(OffleashError, match=r"collective_rpc answered 500 \(.*injected.*same architecture") as e:
        go(tmp_path, through(server, tmp_path))
    assert not isinstance(e.value, Unfinished) and "\n" not in str(e.value)


def test_a_full_disk_under_the_weights(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_class = type(server.first[0])
    save = model_class.save_pretrained

    def full(self: Any, folder: Any, **named: Any) -> None:
        if "step-000001" in str(folder):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, folder, **named)

    monkeypatch.setattr(model_class, "save_pretrained", full)
    with pytest.raises(OffleashError, match=r"rollout.server.folder: .*No space left on device.*--resume goes on"):
        go(tmp_path, through(server, tmp_path))
    assert not list((tmp_path / "weights").glob("*.tmp"))
    assert RunFolder.open(tmp_path / "run").checkpoint_dir(1).is_dir()


@pytest.mark.slow
def test_what_a_killed_run_left_is_removed_and_nothing_else(server: StandIn, tmp_path: Path) -> None:
    left = ["step-000007-aaaaaa", "blank-bbbbbb.tmp", "mine", "step-7"]
    for name in left:
        (tmp_path / "weights" / name).mkdir(parents=True)
    go(tmp_path, through(server, tmp_path, replace(SETTINGS, steps=1)))
    assert {p.name for p in (tmp_path / "weights").iterdir()} & set(left) == {"mine", "step-7"}


@pytest.mark.slow
def test_adapters_are_merged_and_a_stage_does_not_prove_again(server: StandIn, tmp_path: Path) -> None:
    stages = (StageSettings(2), StageSettings(1, {"rollout": {"temperature": 0.8}}))
    settings = replace(SETTINGS, lora=LoraSettings(rank=2, alpha=8.0), stages=stages)
    run = go(tmp_path, through(server, tmp_path, settings))
    assert max(column(run, "mismatch")) < 1e-3
    assert [f.name[:-7] for f in server.loads].count("blank") == 1 and len(server.loads) == 4
    assert {body["temperature"] for body in server.bodies if "seed" in body} == {1.0, 0.8}


def test_temperature_is_named_where_log_probs_may_be_at_another_one(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = server.answer
    monkeypatch.setattr(server, "answer", lambda body, chat: original(body | {"temperature": 1.0}, chat))
    settings = replace(SETTINGS, rollout=replace(SETTINGS.rollout, temperature=0.6))
    with pytest.raises(Stale, match="--logprobs-mode processed_logprobs"):
        go(tmp_path, through(server, tmp_path, settings))


def phase_of(settings: TrainSettings) -> Phase:
    return Phase(settings, _learner(settings, ALONE), {})


def test_the_ratio_has_the_trainers_log_probs_and_corrections_the_servers(server: StandIn, tmp_path: Path) -> None:
    objective = ObjectiveSettings("grpo", {"mismatch": "token-truncate"})
    assert "engine_logprobs" in get(objective.name, **objective.overrides).needs
    settings = through(server, tmp_path, replace(SETTINGS, objective=objective), dtype="bfloat16", max_mismatch=1.0)
    phase = phase_of(settings)
    rollout = phase.rollout(0)
    rows, _ = phase.updater.rows(rollout, phase.task, phase.learner.tokenizer)
    before = [(list(r.old_logprobs or ()), list(r.engine_logprobs or ())) for r in rows]
    drawn = [list(c.logprobs) for c in rollout.completions]
    assert [engine for _, engine in before] == drawn
    own = [logprobs for _, logprobs, _ in phase.updater.scored(rows)]
    assert [old for old, _ in before] == own != drawn
    phase.updater._score_missing(rows)
    assert [(r.old_logprobs, r.engine_logprobs) for r in rows] == before
    metrics = phase.updater.update(rows, 0)
    assert 1e-4 < metrics["mismatch"] <= phase.measured["mismatch"] + 1e-6  # of the first mini-batch alone


@pytest.mark.slow
def test_episodes_of_a_world(tmp_path: Path) -> None:
    folder = small_model(tmp_path / "model")
    tasks.register(COUNTING)
    try:
        with StandIn(folder) as server:
            phase = phase_of(through(server, tmp_path, recipe(folder)))
            rollout = phase.rollout(0)
    finally:
        del _TASKS[COUNTING.name]
    assert phase.measured["mismatch"] < 1e-3
    members = [m for group in rollout.groups for m in group]
    assert any(m.mask is not None and not all(m.mask) for m in members)
    for m in members:
        assert m.mask is not None and m.logprobs is not None and m.engine_logprobs is not None
        assert all((x == 0.0) == (not mine) for x, mine in zip(m.logprobs, m.mask, strict=True))


def test_blank_weights_are_blank_in_the_output_layer_alone() -> None:
    model, _ = nn.load("base")
    plain, blank = (_weights(model, torch.float32, blank=b) for b in (False, True))
    different = [k for k in plain if not torch.equal(plain[k], blank[k])]
    assert len(different) == 1 and not blank[different[0]].any()
    assert torch.equal(model.get_output_embeddings().weight, plain[different[0]])  # the model's own are as they were


def test_nothing_sampled_is_nothing_compared(server: StandIn, tmp_path: Path) -> None:
    phase = phase_of(through(server, tmp_path))
    rollout = phase.rollout(0)
    none = replace(rollout, groups=[[replace(m, logprobs=None) for m in group] for group in rollout.groups])
    assert rescored(none, phase.updater, phase.learner.tokenizer) == (none, {}, [])


def test_deepspeed_is_refused(tmp_path: Path) -> None:
    processes = type("P", (), {"zero": object()})()
    with pytest.raises(InputError, match="does not go with DeepSpeed"):
        server_module.Link(ServerSettings(), processes, lambda *_: None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "tgi"}, "unknown rollout.server.kind 'tgi'"),
        ({"dtype": "int8"}, "unknown rollout.server.dtype 'int8'"),
        ({"url": "localhost:8000"}, "rollout.server.url: 'localhost:8000' is not an address"),
        ({"url": "http://me:pw@host"}, "rollout.server.url: .*OFFLEASH_API_KEY"),
        ({"folder": "weights"}, "rollout.server.folder: 'weights' is no absolute path"),
        ({"max_mismatch": 0.0}, "rollout.server.max_mismatch: 0.0 is not above 0"),
        ({"patience": -1.0}, "rollout.server.patience: -1.0 is below 0"),
    ],
)
def test_bad_fields_are_named(change: dict[str, Any], message: str) -> None:
    server = replace(ServerSettings(url="http://localhost:8000", folder="/tmp/weights"), **change)
    with pytest.raises(InputError, match=message):
        replace(SETTINGS, rollout=replace(SETTINGS.rollout, engine="server", server=server))


def test_a_dry_run_says_what_it_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(
        "steps: 1\nrollout: {engine: server, temperature: 0.7, server: {url: http://h:1, folder: /shared/w}}\n"
    )
    assert cli.run(["train", str(file), "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "written to /shared/w (bfloat16" in said and "VLLM_SERVER_DEV_MODE=1 vllm serve" in said
    assert "--logprobs-mode processed_logprobs" in said and "was not asked" in said
    assert cli.run(["train", str(file), "--dry-run", "rollout.engine=native"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "inert: rollout.engine is native: the fields of rollout.server are not read" in said


def test_without_the_http_client_the_recipe_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "httpx2", None)
    file = tmp_path / "r.yaml"
    file.write_text("steps: 1\nrollout: {engine: server, server: {url: http://h:1, folder: /shared/w}}\n")
    from offleash.jobs.recipe import load_recipe
    from offleash.training import check

    with pytest.raises(InputError, match=r"rollout.engine: .*pip install 'offleash\[openai\]'"):
        check(load_recipe(file, TrainSettings))


def test_prompts_have_to_fit_the_server(server: StandIn, tmp_path: Path) -> None:
    phase = phase_of(through(server, tmp_path))
    assert phase.engine.context == 64 and phase.engine.sampling == SamplingSettings(1.0, 12)
    with pytest.raises(InputError, match="exceed the model's context of 64"):
        phase.engine.tokenize(["1" * 60])


@pytest.mark.slow
def test_two_processes_share_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "SEED_BITS", 53)  # as the other processes have it
    for name in ("one", "two", "deaf"):
        (tmp_path / name).mkdir()
    with StandIn() as server:
        alone = go(tmp_path / "one", through(server, tmp_path / "one"))
    recipe_file = tmp_path / "r.yaml"
    with StandIn() as server:
        recipe_file.write_text(dump(through(server, tmp_path / "two")))
        made = commands(2, ["-m", "offleash", "train", str(recipe_file), "--out", str(tmp_path / "two" / "run")])
        assert [code for code, _ in ended(made)] == [0, 0]
        assert len(server.loads) == 4  # the main process alone gives weights
    both = RunFolder.open(tmp_path / "two" / "run")
    assert column(both, "reward") == column(alone, "reward")
    assert column(both, "mismatch_mean") == pytest.approx(column(alone, "mismatch_mean"), abs=1e-5)
    with StandIn(deaf_from=2) as server:
        recipe_file.write_text(dump(through(server, tmp_path / "deaf")))
        made = commands(2, ["-m", "offleash", "train", str(recipe_file), "--out", str(tmp_path / "deaf" / "run")])
        (code, said), (other, nothing) = ended(made)
    assert (code, other) == (1, 1) and "has not taken" in " ".join(said.split()) and nothing == ""
