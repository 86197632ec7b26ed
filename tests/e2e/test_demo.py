"""A small demo through every room: the table equals the textbook formula on the stored samples; stopped demos go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from math import comb
from pathlib import Path

import pytest

from offleash.core import InputError
from offleash.jobs import demo
from offleash.store import Store

RECIPE = """
steps: 3
task: {levels: [3]}
objective: {name: %s}
rollout: {num_prompts: 8, num_generations: 8, max_completion_length: 24}
external: {per_group: %d}
optimizer: {learning_rate: 0.0005, minibatches: 2}
checkpoint_every: 2
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> demo.Plan:
    for name, external in (("grpo", 0), ("rl-plus", 1)):
        (tmp_path / f"{name}.yaml").write_text(RECIPE % (name, external))
    monkeypatch.setattr(demo, "recipe_path", lambda name: tmp_path / name)
    return demo.Plan(
        title="test", arms=(demo.ArmPlan("GRPO", "grpo.yaml", (2,)), demo.ArmPlan("RL-PLUS", "rl-plus.yaml")),
        strata=(("three numbers", 3, 6), ("four numbers", 4, 3)), samples=8, checkpoint_problems=4, ks=(1, 2, 8),
    )  # fmt: skip


def textbook(store: Path, model: str, level: int, k: int) -> float:
    """pass@k by the formula with binomial coefficients, straight from the rows."""
    rows = Store.open(store).sql(
        "select v.problem_id, sum(v.correct::int)::int c, count(*) n from verdicts v join problems p on p.id = v.problem_id "
        f"where v.model = '{model}' and p.level = {level} group by 1"
    )
    values = [
        1 - comb(n - c, k) / comb(n, k) for c, n in zip(rows["c"].to_pylist(), rows["n"].to_pylist(), strict=True)
    ]
    return sum(values) / len(values)


@pytest.mark.slow
def test_the_demo_and_its_numbers(plan: demo.Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    page = demo.run(out, plan=plan)
    assert page.is_file() and (out / "report.json").is_file()
    printed = capsys.readouterr().out
    assert "GRPO" in printed and "RL-PLUS" in printed and str(page) in printed
    study = json.loads((out / "study.json").read_text())
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["strata"][0]["arms"]) == {"base", "GRPO", "RL-PLUS"}
    for arm in study["arms"]:
        for stratum, level in zip(summary["strata"], (3, 4), strict=True):
            for k in plan.ks:
                shown = stratum["arms"][arm["label"]]["pass_at_k"][str(k)]["value"]
                assert shown == pytest.approx(textbook(out / "store", arm["model"], level, k), abs=1e-9)
    for row in Store.open(out / "store").counts(study["arms"][0]["model"], level=3):
        assert row.n == 8
    # Started again, it finds everything done and writes the same page.
    before = page.read_bytes()
    demo.run(out, plan=plan)
    assert page.read_bytes() == before


@pytest.mark.slow
def test_a_folder_that_holds_something_else_is_refused(plan: demo.Plan, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="holds something else"):
        demo.run(tmp_path / "full", plan=plan)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def offleash(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "offleash", *arguments]


@pytest.mark.slow
def test_sampling_killed_at_any_moment_completes(tmp_path: Path) -> None:
    ask = ("sample", "--model", "base", "--task", "countdown", "--level", "5", "--n", "64", "--problems", "64")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(offleash(*ask, "--out", str(whole)), check=True, capture_output=True, timeout=240)
    process = subprocess.Popen(offleash(*ask, "--out", str(killed)), stderr=subprocess.DEVNULL)
    end = time.monotonic() + 200
    while len(list((killed / "samples").glob("*.parquet"))) < 1 and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(offleash(*ask, "--out", str(killed)), check=True, capture_output=True, timeout=240)
    query = "select problem_id, index, text, seed from samples order by all"
    assert Store.open(killed).sql(query).to_pylist() == Store.open(whole).sql(query).to_pylist()
    assert Store.open(killed).sql("select count(*) n from samples").to_pylist() == [{"n": 4096}]


@pytest.mark.slow
def test_sigint_while_sampling_exits_130_and_keeps_what_was_done(tmp_path: Path) -> None:
    out = tmp_path / "store"
    ask = offleash("sample", "--model", "base", "--task", "countdown", "--n", "256", "--out", str(out))
    process = subprocess.Popen(ask, stderr=subprocess.PIPE, env={**os.environ, "COLUMNS": "200"})
    end = time.monotonic() + 200
    while not list((out / "verdicts").glob("*.parquet")):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in errors
    assert Store.open(out).sql("select count(*) n from samples").to_pylist()[0]["n"] >= 1000
