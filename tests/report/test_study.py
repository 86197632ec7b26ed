"""The study's page and its twin: the numbers are the boundary's, and nothing a model wrote can act."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from offleash import report
from offleash.boundary import Counts, chance_curve, compare, curve, pass_at_k, token_entropy
from offleash.core import InputError
from offleash.report.page import embedded_json
from offleash.store import Store


@pytest.fixture(scope="module")
def built(study: Path, tmp_path_factory) -> tuple[str, dict]:
    out = tmp_path_factory.mktemp("page")
    page = report.build(study, out)
    assert page == out / "report.html"
    return page.read_text(), json.loads((out / "report.json").read_text())


def counts_of(study: Path, model: str, level: int) -> Counts:
    rows = Store.open(study / "store").counts(model, task="countdown", level=level, split="test")
    return Counts.from_rows(row for row in rows if row.n)


def test_pass_at_k_is_the_boundarys(study, built):
    _, twin = built
    for stratum in twin["strata"]:
        for label, arm in stratum["arms"].items():
            expected = curve(counts_of(study, f"model-{label}", stratum["level"]), [int(k) for k in arm["pass_at_k"]])
            for k, e in expected.items():
                found = arm["pass_at_k"][str(k)]
                if e.reason:
                    assert found["value"] is None and found["reason"] == e.reason
                else:
                    assert (found["value"], found["low"], found["high"]) == (e.value, e.low, e.high)


def test_pass_at_k_is_the_textbook_formula_on_stored_samples(study, built):
    from math import comb

    _, twin = built
    rows = Store.open(study / "store").rows("model-GRPO", level=2).to_pylist()
    tally: dict[str, list[bool]] = {}
    for row in rows:
        tally.setdefault(row["problem_id"], []).append(row["correct"])
    for k in (1, 4, 16):
        each = [1 - comb(len(v) - sum(v), k) / comb(len(v), k) for v in tally.values()]
        assert twin["strata"][0]["arms"]["GRPO"]["pass_at_k"][str(k)]["value"] == pytest.approx(sum(each) / len(each))


def test_comparison_is_the_boundarys(study, built):
    _, twin = built
    stratum = twin["strata"][0]
    found = stratum["arms"]["GRPO"]["comparison"]
    expected = compare(counts_of(study, "model-base", 2), counts_of(study, "model-GRPO", 2)).to_json()
    for name in ("difference", "crossing", "support", "verdict", "because"):
        assert found[name] == expected[name]
    classes = {p["id"]: p["class"] for p in expected["problems"]}
    assert {p["id"]: p["arms"]["GRPO"]["class"] for p in stratum["problems"]} == classes


def test_chance_and_entropy_are_the_boundarys(study, built):
    _, twin = built
    store = Store.open(study / "store")
    for stratum in twin["strata"]:
        problems = store.problems(level=stratum["level"])
        chance = chance_curve([p.guess for p in problems], [1, 32])
        assert stratum["chance"]["pass_at_k"]["32"]["value"] == pytest.approx(chance[32].value, rel=1e-12)
        means: dict[str, list[float]] = {}
        for row in store.rows("model-GRPO", level=stratum["level"]).to_pylist():
            means.setdefault(row["problem_id"], []).append(row["entropy"])
        entropy = stratum["arms"]["GRPO"]["token_entropy"]
        assert entropy["value"] == pytest.approx(token_entropy(means).value, rel=1e-12)


def test_frontier_uses_one_set_of_problems(study, built):
    _, twin = built
    frontier = twin["frontier"]
    half = counts_of(study, "model-GRPO@50", 2)
    assert frontier["problem_count"] == len(half) == 12
    base = counts_of(study, "model-base", 2)
    shared = base.take(np.array([i in half.ids for i in base.ids]))
    assert frontier["arms"]["base"][0]["pass_at_1"]["value"] == pytest.approx(pass_at_k(shared.c, shared.n, 1).mean())
    assert [p["step"] for p in frontier["arms"]["GRPO"]] == [50, 100, None]
    assert frontier["k"] == 32


def test_problems_are_ordered_by_the_bases_success(built):
    _, twin = built
    for stratum in twin["strata"]:
        rates = [p["arms"]["base"]["c"] / p["arms"]["base"]["n"] for p in stratum["problems"]]
        assert rates == sorted(rates, reverse=True)


def test_summary_and_table_hold_the_same_numbers(study, built):
    _, twin = built
    summary = report.summary(study)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    main = summary["strata"][0]
    for label, arm in twin["strata"][0]["arms"].items():
        for k in twin["ks"]:
            assert main["arms"][label]["pass_at_k"][str(k)]["value"] == arm["pass_at_k"][str(k)]["value"]
    rows = report.study_table(study)
    assert [r.arm for r in rows if r.stratum == "five numbers"] == [*twin["arms"], "chance"]
    text = report.render_text(rows)
    assert "kept/lost/gained" in text and "pass@32" in text
    assert max(map(len, text.splitlines())) <= 120
    for row in rows:
        assert row.sentence.split(":")[0] in text.replace("\n", " ")


def test_every_arm_has_a_verdict_on_the_page(built):
    page, twin = built
    assert {v["arm"] for v in twin["verdicts"]} == set(twin["arms"][1:])
    text = Texts.of(page)
    for verdict in twin["verdicts"]:
        if verdict["stratum"] == twin["strata"][0]["name"]:
            assert verdict["sentence"] in text


def test_the_twin_documents_its_keys(built):
    _, twin = built
    documented = {re.split(r"[.\[]", key)[0] for key in twin["keys"]}
    assert set(twin) - documented <= {"schema", "keys", "title", "arms"}


class Texts(HTMLParser):
    """What a browser would make of the page: its elements, attributes and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    @classmethod
    def parse(cls, page: str) -> Texts:
        parser = cls()
        parser.feed(page)
        parser.close()
        return parser

    @classmethod
    def of(cls, page: str) -> str:
        return "".join(cls.parse(page).text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_what_a_model_wrote_stays_text(built, hostile):
    page, _ = built
    parsed = Texts.parse(page)
    assert "<img src=x onerror=alert(1)>" in "".join(parsed.text)
    assert "img" not in {tag for tag, _ in parsed.tags}
    assert not [attrs for _, attrs in parsed.tags if any(name.startswith("on") for name in attrs)]
    assert [tag for tag, _ in parsed.tags].count("script") == 3  # the figures, plotly, and the page's own
    assert "\u202e" not in page  # a direction override would show a text as another one


def test_embedded_json_cannot_close_its_element(hostile):
    text = embedded_json({hostile: hostile})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {hostile: hostile}


def test_the_page_asks_the_network_for_nothing(built):
    page, _ = built
    parsed = Texts.parse(page)
    outside = re.compile(r"^\s*(https?:|//|ftp:)", re.IGNORECASE)
    for tag, attrs in parsed.tags:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert not outside.match(attrs.get(name) or ""), (tag, attrs)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'") and "http" not in policy


def test_plotly_is_embedded_once(built):
    page, _ = built
    assert page.count("* plotly.js v") == 1


@pytest.mark.slow
def test_the_same_study_gives_the_same_bytes(study, tmp_path, monkeypatch):
    from offleash.report import facts

    first = report.build(study, tmp_path / "a")
    facts._facts.cache_clear()
    copy = tmp_path / "moved"
    shutil.copytree(study, copy)
    second = report.build(copy, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a/report.json").read_bytes() == (tmp_path / "b/report.json").read_bytes()
    assert str(study) not in first.read_text()


def test_a_folder_that_is_neither_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds neither a study"):
        report.build(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        report.build(tmp_path / "nowhere")


def test_an_out_that_cannot_be_written_is_one_clear_line(studio, tmp_path):
    run = studio.make_run(tmp_path / "run", studio.ARMS[1], steps=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out"):
        report.build(run.path, tmp_path / "file")
