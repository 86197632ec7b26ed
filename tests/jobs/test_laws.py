"""`offleash laws`: reading runs, lines and tables, and what is printed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from offleash.boundary import sigmoid
from offleash.cli import main as cli
from offleash.jobs.laws import read_series
from offleash.store import RunFolder

STEPS = 40
ENTROPY = 0.1 + 0.5 * np.exp(-np.arange(STEPS) / 12)


def write_run(path: Path, ceiling: float = 0.5, seed: int = 0) -> Path:
    """A run that obeys the entropy law, 1,000 tokens a step."""
    run = RunFolder.create(path, "objective: grpo\n", {})
    noise = np.random.default_rng(seed).normal(0, 0.004, STEPS)
    for i in range(STEPS):
        reward = ceiling + 0.3 - 0.3 * math.exp(ENTROPY[i]) + noise[i]
        run.append_metrics(
            {"step": i + 1, "token_entropy": float(ENTROPY[i]), "accuracy": float(reward), "reward": 2.0}
        )
        run.append_timings({"step": i + 1, "rollout_s": 0.5, "update_s": 0.25, "tokens": 1000, "tokens_per_s": 2000.0})
    return path


def write_curve(path: Path, top: float = 0.61, seed: int = 0) -> Path:
    """A CSV of the golden curve of ScaleRL (arXiv 2510.13786: R0 .35, B 1.92, C_mid 2542) with noise of .003."""
    c = np.concatenate([[0.0], np.geomspace(300, 60_000, 40)])
    y = sigmoid(c, 0.35, top, 1.92, 2542.0) + np.random.default_rng(seed).normal(0, 0.003, len(c))
    lines = ["gpu_hours,pass_rate,note", *(f"{a:.1f},{b:.5f},x" for a, b in zip(c, y, strict=True))]
    path.write_text("\n".join([lines[0], *lines[1:20], "100.0,,lost", *lines[20:]]) + "\n")
    return path


@pytest.fixture
def offleash(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["laws", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_entropy_of_a_run(offleash, tmp_path):
    run = write_run(tmp_path / "run")
    code, out, err = offleash("entropy", run, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "") and document["law"] == "entropy" and document["difference"] is None
    (fit,) = document["runs"]
    assert (fit["x"], fit["y"], fit["steps"], fit["rows_left_out"]) == ("token_entropy", "accuracy", STEPS, 0)
    assert fit["ceiling"]["low"] < 0.5 < fit["ceiling"]["high"] and fit["ceiling"]["identifiable"]
    assert fit["holdout"]["fitted"] == 20
    code, out, _ = offleash("entropy", run, "--holdout", "0.15")
    assert code == 0 and "ceiling b - a" in out and "fitted to the first 6 rows it predicts the other 34" in out


def test_two_runs_are_compared(offleash, tmp_path):
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two", ceiling=0.6, seed=1)
    document = json.loads(offleash("entropy", one, two, "--json")[1])
    assert document["difference"]["ceiling"]["low"] < 0.1 < document["difference"]["ceiling"]["high"]
    assert document["difference"]["ceiling"]["low"] > 0
    assert f"{two} minus {one}\n" in offleash("entropy", one, two)[1]


@pytest.mark.slow
def test_compute_of_a_table(offleash, tmp_path):
    table = write_curve(tmp_path / "curve.csv")
    code, out, err = offleash("compute", table, "--x", "gpu_hours", "--y", "pass_rate", "--json")
    assert (code, err) == (0, "")
    (fit,) = json.loads(out)["runs"]
    assert fit["rows"] == 41 and fit["rows_left_out"] == 1
    assert fit["A"]["low"] < 0.61 < fit["A"]["high"] and fit["identifiable"]
    assert fit["compute_at_90_percent"] == pytest.approx(7983, rel=0.15)
    out = offleash("compute", table, "--x", "gpu_hours", "--y", "pass_rate")[1]
    assert "(fitted along with the first row, without an interval); 90% of the rise" in out
    code, out, _ = offleash("compute", table, "--y", "pass_rate", "--from", "1500", "--r0", "0.35")
    assert "R0 0.350 (as given); 90% of the rise" in out.replace("R0 0.35 ", "R0 0.350 ")
    assert (
        code == 0 and "1 rows without a number left out" in out and "ceiling A" in out and "90% of the rise at C" in out
    )


def test_the_help_says_which_parameters_have_an_interval(offleash):
    """R0 has none."""
    out = " ".join(offleash("--help")[1].split())
    assert "A, B and C_mid come with an interval" in out and "R0 is a number alone" in out


@pytest.mark.slow
def test_compute_curves_are_compared(offleash, tmp_path):
    one, two = write_curve(tmp_path / "one.csv"), write_curve(tmp_path / "two.csv", top=0.68, seed=1)
    _, out, _ = offleash("compute", one, two, "--y", "pass_rate")
    assert "B: A differs by +0.0" in out and "not compared" in out


@pytest.mark.slow
def test_what_is_not_determined_is_said(offleash, tmp_path):
    table = write_curve(tmp_path / "curve.csv")
    early = tmp_path / "early.csv"
    early.write_text("\n".join(table.read_text().splitlines()[:12]) + "\n")
    code, out, _ = offleash("compute", early, "--y", "pass_rate")
    assert code == 0 and ", not determined" in out and "ceiling A: " in out and "90% of the rise" not in out
    document = json.loads(offleash("compute", early, "--y", "pass_rate", "--json")[1])["runs"][0]
    assert not document["identifiable"] and document["A"]["reason"] and document["D"] is None


def test_tokens_are_those_spent_before_the_step(tmp_path):
    run = write_run(tmp_path / "run")
    series = read_series(str(run), "compute")
    assert (series.x_name, series.y_name) == ("tokens", "accuracy")
    assert series.x[:3] == [0.0, 1000.0, 2000.0] and len(series.x) == STEPS
    assert read_series(str(run), "compute", x="seconds").x[2] == pytest.approx(1.5)
    (run / "timings.jsonl").unlink()
    assert read_series(str(run), "compute").x_name == "step"


def test_lines_of_a_stopped_run(tmp_path):
    lines = (write_run(tmp_path / "run") / "metrics.jsonl").read_text()
    bare = tmp_path / "metrics.jsonl"
    bare.write_text(lines + '{"step": 41, "token_ent')
    assert len(read_series(str(bare), "entropy").x) == STEPS
    bare.write_text('{"token_entropy": null, "reward": 0.5}\n' + lines)
    series = read_series(str(bare), "entropy", y="reward")
    assert series.left_out == 1 and series.y[0] == 2.0


def test_mistakes_are_one_line_and_2(offleash, tmp_path):
    run, table = write_run(tmp_path / "run"), write_curve(tmp_path / "curve.csv")
    empty, broken, ragged = tmp_path / "e.jsonl", tmp_path / "b.jsonl", tmp_path / "r.csv"
    empty.write_text("")
    broken.write_text("{\n{}\n")
    ragged.write_text("a,b\n1\n")
    (tmp_path / "null.jsonl").write_text('{"token_entropy": null, "accuracy": 0.1}\n')
    (tmp_path / "one.jsonl").write_text('{"token_entropy": 0.5, "accuracy": 0.1}\n')
    for arguments, message in (
        (("entrop", run), "unknown law 'entrop'; did you mean 'entropy'?"),
        (("entropy", run, run, run), "METRICS: 3 inputs; give one, or two to compare"),
        (("entropy", tmp_path / "no"), "no: no such file or folder"),
        (("entropy", tmp_path), "holds no run (run.json is missing)"),
        (("entropy", empty), "it has no rows yet"),
        (("entropy", broken), "b.jsonl:1: not JSON"),
        (("compute", ragged), "r.csv:2: not as many cells"),
        (
            ("compute", table),
            "--y: " + str(table) + " has none of accuracy, reward, R; name one of its columns: gpu_hours",
        ),
        (("compute", table, "--y", "pass_rat"), "unknown column 'pass_rat'; did you mean 'pass_rate'?"),
        (("compute", table, "--y", "note"), "column 'note' holds 'x'; choose a column of numbers"),
        (("compute", run, "--y", "reward"), "reward: 2 at position 0 is no share"),
        (("entropy", run, "--r0", "0.5"), "--r0, --from: they belong to the compute law"),
        (("entropy", run, "--holdout", "2"), "holdout: 2.0 is no share"),
        (
            ("entropy", tmp_path / "null.jsonl"),
            "has a number in both 'token_entropy' and 'accuracy'; choose other columns",
        ),
        (
            ("entropy", tmp_path / "one.jsonl"),
            "one.jsonl (x token_entropy, y accuracy): reward: 1 steps, and the law needs",
        ),
    ):
        code, out, err = offleash(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), arguments
        assert message in err
