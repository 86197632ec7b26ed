"""The page of a plain run folder."""

from __future__ import annotations

import json

from offleash import report
from offleash.cli import main as cli
from offleash.store import RunFolder


def test_a_run_page(tmp_path, studio):
    run = studio.make_run(tmp_path / "grpo", studio.ARMS[1])
    page = report.build(run.path).read_text()
    twin = json.loads((run.path / "report.json").read_text())
    rows = run.metrics()
    assert twin["kind"] == "run" and twin["step"] == [row["step"] for row in rows]
    assert twin["metrics"]["reward"] == [row["reward"] for row in rows]
    assert twin["metrics"]["grad_norm"][6] is None
    assert [p["step"] for p in twin["probes"]] == [40, 80, 120]
    assert twin["timings"]["tokens"] == 120 * 7000
    assert "gradient not finite &lt;b&gt;" in page
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    assert set(twin) - {key.split(".")[0].removesuffix("[]") for key in twin["keys"]} <= {"schema", "keys"}


def test_a_run_that_has_just_begun(tmp_path):
    run = RunFolder.create(tmp_path / "new", "steps: 3\n", {})
    page = report.build(run.path).read_text()
    for sentence in (
        "A training run that has not logged a step yet.",
        "No probe was made",
        "Nothing out of the ordinary was logged.",
        "No timing was logged.",
        "The run kept no completions.",
    ):
        assert sentence in page


def test_an_interrupted_run_is_said_to_be_incomplete(tmp_path, studio, capsys):
    run = studio.make_run(tmp_path / "stopped", studio.ARMS[1], steps=9)
    run.truncate_after(5)
    assert cli.run(["report", str(run.path)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{run.path / 'report.html'}\n"
    assert shown.err == f"{run.path} is incomplete: step 5 of 9; `offleash train ... --resume` goes on\n"
    assert "The run is incomplete: step 5 of 9." in (run.path / "report.html").read_text()


def test_a_finished_run_and_a_study_are_not(tmp_path, studio, study, capsys):
    run = studio.make_run(tmp_path / "done", studio.ARMS[1], steps=9)
    for folder in (run.path, study):
        assert cli.run(["report", str(folder), "--out", str(tmp_path / "out")]) == 0
        assert capsys.readouterr().err == ""


def test_a_study_names_its_incomplete_runs(tmp_path, studio):
    folder = studio.make_study(tmp_path / "study", problems=8, samples=4, arms=studio.ARMS[:2])
    RunFolder.open(folder / "runs" / "GRPO").truncate_after(60)
    (line,) = report.incomplete(folder)
    assert "GRPO is incomplete: step 60 of 120" in line


def test_a_truncated_log_is_said(tmp_path, studio):
    run = studio.make_run(tmp_path / "cut", studio.ARMS[1], steps=5)
    with (run.path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 6, "rew')
    page = report.build(run.path).read_text()
    assert "The last line of metrics.jsonl is incomplete and left out." in page


def test_completions_of_a_run(tmp_path, studio):
    run = studio.make_run(tmp_path / "kept", studio.ARMS[1], steps=2)
    samples, verdicts = studio.rows_of_one_problem()
    run.add_samples(2, samples)
    run.add_verdicts(2, verdicts)
    page = report.build(run.path).read_text()
    twin = json.loads((run.path / "report.json").read_text())
    (problem,) = twin["completions"]
    arm = problem["arms"]["run"]
    assert arm["n"] == sum(v.correct is not None for v in verdicts) and arm["c"] == sum(
        v.correct is True for v in verdicts
    )
    assert "&lt;img src=x onerror=alert(1)&gt;" in page and "<img" not in page


def test_the_same_run_gives_the_same_bytes(tmp_path, studio):
    run = studio.make_run(tmp_path / "twice", studio.ARMS[1], steps=30)
    a, b = (report.build(run.path, tmp_path / name).read_bytes() for name in "ab")
    assert a == b


def test_a_constant_metric_is_not_drawn_as_zero(tmp_path, studio):
    from offleash.report import figures
    from offleash.report.looks import looks

    figure = figures.training("lr", "lr", {"x": {"step": [1, 2], "metrics": {"lr": [1e-4, 1e-4]}}}, looks(["x"]))
    assert figure is not None and figure["layout"]["yaxis"]["range"] == [0.0, 2e-4]


def test_resets_stages_and_the_guard_are_marked_on_every_chart():
    from offleash.report import figures
    from offleash.report.looks import Look, looks

    events = [
        {"step": 61, "kind": "reset", "what": "reference"},
        {"step": 61, "kind": "reset", "what": "optimizer"},
        {"step": 90, "kind": "guard", "do": "warn"},
        {"step": 90, "kind": "warning", "message": "not a mark"},
        {"step": 120, "kind": "guard", "do": "return_to_best"},
        {"step": 121, "kind": "stage", "what": 2},
    ]
    run = {"step": [1, 240], "metrics": {"reward": [0.1, 0.2]}, "events": events}
    layout = figures.training("reward", "reward", {"x": run}, looks(["x"]))["layout"]
    assert [shape["x0"] for shape in layout["shapes"]] == [61, 120, 121]
    texts = [a["text"] for a in layout["annotations"]]
    assert texts == ["reset", "guard", "stage"]
    point = {"step": 0, "pass_at_k": {"1": {"value": 0.1}}}
    probed = figures.probes([point], Look("x", 1), events)["layout"]
    assert [shape["x0"] for shape in probed["shapes"]] == [61, 120, 121] and len(probed["annotations"]) == 4
    many = {**run, "events": [{"step": i, "kind": "reset", "what": "reference"} for i in range(9)]}
    crowded = figures.training("reward", "reward", {"x": many}, looks(["x"]))["layout"]
    assert len(crowded["shapes"]) == 9 and "annotations" not in crowded
    assert "shapes" not in figures.training("reward", "reward", {"x": {**run, "events": []}}, looks(["x"]))["layout"]
