"""`offleash theory`: the list, a study for people and as JSON, its figure, what is refused."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import fields
from pathlib import Path

import pytest

from offleash.core import InputError
from offleash.jobs import theory as job
from offleash.jobs.theory_svg import draw
from offleash.theory import STUDIES, load
from offleash.theory.statement import Figure, Line, Map, Panel, Statement

SMALL = ["seeds=6", "rates=[0.001,0.1]"]


def test_the_list(capsys):
    document = job.run(None, as_json=True)
    assert json.loads(capsys.readouterr().out) == document
    assert [row["name"] for row in document["theories"]] == list(STUDIES)
    job.run(None)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(STUDIES) and lines[0].startswith("two-stage ")


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_what_the_command_calls(name):
    module = load(name)
    assert module.Settings() and callable(module.study) and module.UNITS > 0
    assert "seeds" in {f.name for f in fields(module.Settings)}
    for f in fields(module.Settings):
        assert f"{f.name}:" in module.Settings.__doc__, f"{name}: {f.name} is not documented"


def test_a_study_as_json_with_its_figure(capsys, tmp_path):
    out = tmp_path / "new" / "entropy.svg"
    document = job.run("entropy", SMALL, out=out, as_json=True)
    shown = capsys.readouterr()
    assert json.loads(shown.out) == document and f"figure in {out}" in shown.err
    assert document["held"] and document["settings"]["seeds"] == 6
    assert {"name", "claim", "source", "held", "numbers", "fails"} == set(document["statements"][0])
    assert ElementTree.fromstring(out.read_text()).tag.endswith("svg")


def test_a_study_for_people(capsys):
    job.run("entropy", SMALL, seeds=6)
    out = capsys.readouterr().out
    assert re.search(r"^held +entropy-can-rise: ", out, re.M)
    assert "base: 0.1119" in out and out.rstrip().endswith("4 of 4 statements held")


@pytest.mark.parametrize(
    ("name", "settings", "more", "message"),
    [
        ("two-stag", [], {}, "did you mean 'two-stage'"),
        ("two-stage", ["rat=1"], {}, "did you mean 'rate'"),
        ("two-stage", ["rate=x"], {}, "rate: is 'x'"),
        ("two-stage", ["rate=0"], {}, "rate: is 0"),
        ("two-stage", ["groups=[1,2]"], {}, "groups: is"),
        ("two-stage", [], {"steps": 0}, "steps: is 0"),
        ("two-stage", [], {"seeds": -1}, "seeds: is -1"),
        ("entropy", [], {"steps": 5}, "unknown key 'steps'"),
        ("entropy", [], {"out": Path("figure.png")}, "no .svg file"),
    ],
)
def test_what_is_refused(name, settings, more, message):
    with pytest.raises(InputError, match=re.escape(message)):
        job.run(name, settings, **more)


@pytest.mark.parametrize(
    ("name", "setting", "named"),
    [
        ("entropy", "right=0", "right: is 0 of 6"),
        ("entropy", "answers=1", "right: is 2 of 1"),
        ("entropy", "rates=[]", "rates: is empty"),
        ("kl", "betas=[]", "betas: is empty"),
        ("formats", "betas=[0]", "betas: is (0.0,)"),
        ("formats", "accuracy=[0,0.5,0.5]", "accuracy: is"),
        ("formats", "prior=[0.5,0.4,0.3]", "sum to 1.2"),
        ("two-stage", "groups=[]", "groups: is empty"),
        ("leash", "vocab=1", "vocab: is 1"),
        ("leash", "rarest=0", "rarest: is 0"),
        ("normalisation", "hard=[0.5,0.5]", "hard: 2 numbers"),
    ],
)
def test_what_no_study_can_use_is_named(name, setting, named):
    with pytest.raises(InputError, match=re.escape(named)):
        job.run(name, [setting])


def test_settings_are_listed_with_their_defaults():
    for name in STUDIES:
        lines = job.describe_all(name).splitlines()[1:]
        assert len(lines) == len(fields(load(name).Settings))
        assert all(re.search(r"\w+ +\S.* \(default .+\)$", line) for line in lines), lines


def test_what_did_not_hold_in_fewer_steps_is_not_called_refuted(capsys):
    statement = {"name": "x", "claim": "y", "source": "z", "numbers": {}, "fails": ""}
    words = {True: "held", False: "FAILED", None: "untried"}
    for held, word in words.items():
        shown = job.text_of({"statements": [statement | {"held": held}], "short_of": {}})
        assert shown.startswith(f"{word:<9} x: y")
        short = job.text_of({"statements": [statement | {"held": held}], "short_of": {"steps": 3000}})
        assert short.startswith(f"{'short' if held is False else word:<9} x: y")
        assert ("less than the study's steps=3000" in short) is (held is False)


def test_a_statement_about_graded_rewards_is_untried_without_them():
    from offleash.theory.two_stage import Settings, binary_has_no_second_stage, full_finds_the_rare

    few = {"steps": 20, "seeds": 2, "groups": (2,)}
    assert full_finds_the_rare(Settings(rewards=(1.0, 1.0, 0.0), **few)).held is None
    assert full_finds_the_rare(Settings(**few)).held is False  # too few steps
    assert binary_has_no_second_stage(Settings(start=(0.02, 0.3, 0.68), **few)).held is None


def test_a_figure_of_no_study():
    with pytest.raises(InputError, match="name it: two-stage"):
        job.run(None, out=Path("x.svg"))


def test_undefined_numbers_are_null():
    statement = Statement("x", "a claim", "a source", False, {"never": math.inf, "none": math.nan, "count": 3})
    assert statement.to_json()["numbers"] == {"never": None, "none": None, "count": 3}
    text = job.text_of({"statements": [statement.to_json()]})
    assert text.startswith("FAILED") and "never: never, or undefined" in text


def test_a_figure_escapes_and_skips_what_is_not_a_number():
    panel = Panel(
        "a < b & c",
        "x",
        "y",
        (Line("one", (1.0, 10.0, 100.0), (0.1, math.nan, 0.3), 1), Line("", (1.0,), (0.2,), 2, dashed=True, dots=True)),
        x_log=True,
    )
    cells = Map("cells", "x", "y", (0.0, 1.0), (0.0, 1.0), ((0.0, 0.0), (1.0, None)))
    text = draw(Figure("t", "a caption", (panel, cells)))
    ElementTree.fromstring(text)
    assert "a &lt; b &amp; c" in text and "nan" not in text
    assert text.count("<polyline") == 2  # the line, and its key
    # Two equal neighbours are one rectangle; beside the background and the key of shades.
    assert text.count("<rect") == 1 + 21 + 2
