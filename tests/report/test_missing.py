"""Missing pieces leave a sentence in their place, never a crash and never a zero."""

from __future__ import annotations

import json

import pytest

from offleash import report
from offleash.core import InputError
from offleash.store import Store


def edit(folder, change):
    path = folder / "study.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def small(tmp_path, studio):
    return studio.make_study(tmp_path / "s", problems=6, samples=8, arms=studio.ARMS[:2], ks=(1, 4, 64))


def test_k_beyond_the_samples_is_a_dash_with_its_reason(small):
    page = report.build(small).read_text()
    twin = json.loads((small / "report.json").read_text())
    for stratum in twin["strata"]:
        assert stratum["arms"]["GRPO"]["pass_at_k"]["64"]["value"] is None
    assert "pass@64 needs n &gt;= 64 samples" in page
    text = report.render_text(report.study_table(small))
    assert "–" in text and "nan" not in text.lower()
    assert report.summary(small)["strata"][0]["arms"]["GRPO"]["pass_at_k"]["64"]["value"] is None


def test_an_arm_that_is_not_measured_yet(small):
    def add(study):
        study["arms"].append(
            {"label": "late", "model": "model-late", "run": None, "checkpoints": [{"step": 5, "model": "x"}]}
        )

    edit(small, add)
    page = report.build(small).read_text()
    assert page.count("Not measured yet: the store has no samples of this model.") >= 2
    late = report.summary(small)["strata"][0]["arms"]["late"]
    assert late["pass_at_k"] == {} and late["verdict"] is None and late["kept"] is None
    assert "late: Not measured yet" in report.render_text(report.study_table(small))


def test_a_base_that_is_not_measured_yet(small):
    edit(small, lambda study: study["arms"][0].update(model="model-none"))
    page = report.build(small).read_text()
    assert "No arm can be compared with the base yet." in page
    assert report.summary(small)["strata"][0]["arms"]["GRPO"]["verdict"] is None


def test_a_stratum_without_problems(small):
    edit(
        small, lambda study: study["strata"].append({"name": "none", "task": "countdown", "level": 9, "split": "test"})
    )
    page = report.build(small).read_text()
    assert "The store holds no problem of this kind yet." in page
    assert "Not measured yet on these problems." in page


def test_a_study_of_the_base_alone_in_an_empty_store(tmp_path, studio):
    studio.Store.create(tmp_path / "store")
    studio.write_study_json(tmp_path, studio.ARMS[:1], (1, 8))
    page = report.build(tmp_path).read_text()
    assert "There is no arm beside the base yet" in page
    assert "<script>" not in page  # nothing to draw, so no script is embedded
    assert report.render_text(report.study_table(tmp_path))


def test_runs_without_metrics_and_without_a_folder(small, studio):
    studio.RunFolder.create(small / "empty", "steps: 1\n", {})

    def change(study):
        study["arms"][1]["run"] = "empty"
        study["arms"].append({"label": "gone", "model": "model-GRPO", "run": "nowhere", "checkpoints": []})

    edit(small, change)
    page = report.build(small).read_text()
    assert "GRPO: No training curves: metrics.jsonl has no line yet." in page
    assert "gone: No training curves:" in page


def test_unknown_chance_is_said(tmp_path, studio):
    store = Store.create(tmp_path / "store")
    with store.writer() as writer:
        drawn = [problem for problem, _ in studio.stratum_problems(2, 3)]
        writer.add_problems(drawn, guess=[float("nan")] * 3)
    studio.write_study_json(tmp_path, studio.ARMS[:1], (1, 8))
    page = report.build(tmp_path).read_text()
    assert "the chance of a blind guess is unknown for 3 of 3 problems" in page
    assert report.summary(tmp_path)["strata"][0]["chance"] == {"1": None, "8": None}


def test_samples_without_verdicts_are_counted_and_said(small):
    for part in sorted((small / "store" / "verdicts").glob("*.parquet"))[-1:]:
        part.unlink()
    page = report.build(small).read_text()
    assert "not verified yet" in page or "have no verdict yet" in page


def test_a_truncated_part_is_one_clear_line(small):
    part = sorted((small / "store" / "samples").glob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(InputError, match=part.name):
        report.build(small)


def test_the_report_follows_its_files(small):
    before = report.study_table(small)
    edit(small, lambda study: study.update(ks=[1, 2]))
    assert (
        {k for row in report.study_table(small) for k in row.passes} == {1, 2} != {k for r in before for k in r.passes}
    )


def test_where_two_samples_allow_only_k_1_the_page_speaks_of_accuracy(tmp_path, studio):
    folder = studio.make_study(tmp_path / "thin", problems=60, samples=2, arms=studio.ARMS[:3], ks=(1, 2))
    page = report.build(folder).read_text()
    facts = json.loads((folder / "report.json").read_text())
    assert all("ccuracy" in v["sentence"] and v["word"].startswith("accuracy") for v in facts["verdicts"])
    assert facts["verdicts"][0]["word"] in page
    assert "Widened the boundary" not in page and "Narrowed the boundary" not in page
