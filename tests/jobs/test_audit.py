"""`offleash audit`: each section's numbers by hand, each error, the same answer in any order and while a store grows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import typer
from audited import BASE, FLAT, GUESS, S, at, lines, problem, side, write
from scipy import stats
from typer.testing import CliRunner

from offleash.boundary import diagnose
from offleash.cli.audit import audit as command
from offleash.core import InputError, Problem
from offleash.jobs import audit, audit_look, audit_samples, audit_text
from offleash.jobs.sides import Selection
from offleash.store import Arm, Checkpoint, RunFolder, SampleRow, Store, Stratum, Study, VerdictRow, write_study

Json = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "store")
    write(made, "a", BASE)
    write(made, "b", FLAT)
    return made


# ----------------------------------------------------------------------------------------------------- by hand


def test_what_was_looked_at(store: Store) -> None:
    document = audit.run(side(store), side(store, "b"), as_json=True)
    assert document["a"]["samples"] == {"all": 8, "least": 4, "most": 4} and document["a"]["problems"] == 2
    assert document["a"]["name"] == "a" and document["b"]["model"] == "b" * 8
    assert document["a"]["verifiers"] == ["v1"] and document["a"]["temperature"] == 1.0
    assert document["notes"] == [] and document["a"]["unverified"] == document["a"]["undecided"] == 0


def test_guesses_by_hand(store: Store) -> None:
    found = audit.run(side(store), as_json=True)["guesses"]["a"]
    miss = {1: (1 / 2, 3 / 4), 2: (1 / 6, 1 / 2), 4: (0.0, 0.0)}
    for k, each in miss.items():
        room = [(1 - g) ** k for g in GUESS]
        assert found["pass_at_k"][str(k)]["value"] == pytest.approx(1 - sum(each) / 2)
        assert found["chance"][str(k)]["value"] == pytest.approx(1 - sum(room) / 2)
        assert found["beyond_chance"][str(k)]["value"] == pytest.approx(1 - sum(each) / sum(room))
    assert set(found["pass_at_k"]) == {"1", "2", "4"}
    (suspect,) = found["suspects"]
    assert (suspect["id"], suspect["prompt"], suspect["c"], suspect["n"]) == (problem(0).id, "problem 0", 2, 4)
    assert suspect["expected"] == pytest.approx(1.0) and suspect["p"] == pytest.approx(stats.binom.sf(1, 4, 0.25))
    assert (found["solved"], found["beyond"]) == (2, 1)  # p1: P(at least 1 of 4) is .004, and .008 adjusted
    assert found["expected"] == pytest.approx(sum(1 - (1 - g) ** 4 for g in GUESS))


def test_formats_repetition_and_lengths_by_hand(store: Store) -> None:
    document = audit.run(side(store), as_json=True)
    formats = document["formats"]["a"]
    assert formats["shares"] == {"formula": 6 / 8, "prose": 1 / 8, "code": 1 / 8}
    assert formats["verifier"] == {"number": 6 / 8, "none": 1 / 8, "code": 1 / 8}
    repetition = document["repetition"]["a"]
    assert repetition["duplicates"]["value"] == pytest.approx((1 / 4 + 0) / 2)
    assert repetition["duplicates_normalised"]["value"] == pytest.approx((2 / 4 + 0) / 2)
    assert repetition["answer_repetition"]["value"] == pytest.approx((6 / 12 + 2 / 12) / 2)
    assert repetition["constant_answer"] == {"answer": "3", "share": 3 / 8}
    assert repetition["no_answer"] == 2 / 8  # one is empty, one was cut off
    assert repetition["loops"]["value"] == 0.0
    lengths = document["lengths"]["a"]
    assert lengths["mean"]["value"] == pytest.approx((10 / 4 + 12 / 4) / 2)
    assert (lengths["median"], lengths["longest"]) == (2.0, 6)
    assert lengths["truncated"]["value"] == pytest.approx((0 + 1 / 4) / 2)
    # Two operations needed: "1+2" writes one, "x" none; problem 1 does not say what it needs.
    assert lengths["missing_computation"]["value"] == pytest.approx((3 * 1 / 2 + 1) / 4)
    assert lengths["first_answer"]["value"] is None and "undefined" in lengths["first_answer"]["reason"]


def test_entropies_by_hand(store: Store) -> None:
    found = audit.run(side(store), as_json=True)["entropies"]["a"]
    assert found["token"]["value"] == pytest.approx(((3 * 0.5 + 1) / 4 + (3 * 0.5 + 2) / 4) / 2)
    assert found["sequence"]["value"] == pytest.approx(2 * ((3 * 1 + 4) / 4 + (3 * 1 + 12) / 4) / 2)
    plugin = (-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), -(0.5 * math.log(0.5) + 0.5 * math.log(0.25)))
    assert found["answer"]["value"] == pytest.approx((plugin[0] + 1 / 8 + plugin[1] + 2 / 8) / 2)
    assert found["distinct_answers"]["1"]["value"] == pytest.approx(1)
    assert found["distinct_answers"]["2"]["value"] == pytest.approx(2 - (6 / 12 + 2 / 12) / 2)
    assert found["distinct_answers"]["4"]["value"] == pytest.approx((2 + 3) / 2)


def test_texts_are_measured_as_diagnose_does(tmp_path: Path) -> None:
    """The streaming twin of `boundary.diagnose`, intervals included."""
    loop = "again and again and again the same thing, " * 8
    texts = [
        ["1+2", "so the answer is 3", loop, loop],
        ["2*3", r"\boxed{6}", "2*3 = 6, 2 * 3 = 6", ""],
        ["a b", "a  b", "c", "d"],
    ]
    made = write(Store.create(tmp_path / "s"), "a", [[S(t, False, t) for t in own] for own in texts])
    document = audit.run(side(made), as_json=True)
    flat, owners = [t for own in texts for t in own], [problem(i).id for i, own in enumerate(texts) for _ in own]
    expected = {name: audit.to_json(e) for name, e in diagnose(flat, owners).items()}
    got = document["repetition"]["a"] | document["lengths"]["a"]
    assert expected["loops"]["value"] > 0 and expected["first_answer"]["value"] > 0
    assert {name: got[name] for name in expected} == expected


def test_drift_from_a_to_b(tmp_path: Path) -> None:
    made = Store.create(tmp_path / "s")
    write(made, "a", [[S(f"{i}+{j}", True, str(j), entropies=(0.1 + i / 100,)) for j in range(16)] for i in range(12)])
    write(made, "b", [[S(f"so {j}", True, "7", "prose", (0.9 + i / 100,) * 3) for j in range(16)] for i in range(12)])
    drift = audit.run(side(made), side(made, "b"), as_json=True)["drift"]
    for kind in ("formats", "verifier_formats"):
        assert drift[kind]["distance"] == 1.0 and drift[kind]["moved"] and drift[kind]["p"] == pytest.approx(1 / 2001)
    assert drift["length_ratio"]["0.5"]["value"] == pytest.approx(3.0)
    assert drift["entropy_pattern"] == "tokens up, answers down"
    still = audit.run(side(made), side(made), as_json=True)["drift"]
    assert still["formats"] == {"distance": 0.0, "by_chance": 0.0, "p": 1.0, "moved": False}
    assert still["entropy_pattern"] == "undecided" and still["length_ratio"]["0.5"]["value"] == 1.0


def test_sides_are_looked_at_alike(tmp_path: Path, store: Store) -> None:
    """B has one more problem and more samples of each; the share of duplicates must not see it."""
    other = Store.create(tmp_path / "other")
    write(other, "c", [own + [S("1+2", True, "3")] * 4 for own in BASE] + [[S("9", False, "9")] * 8])
    document = audit.run(side(store), side(other, "c"), as_json=True)
    assert (
        document["repetition"]["a"] == document["repetition"]["b"]
        and document["entropies"]["a"] == document["entropies"]["b"]
    )
    assert document["b"]["problems"] == 3 and set(document["guesses"]["b"]["pass_at_k"]) == {"1", "2", "4", "8"}
    assert (
        document["notes"][0] == "looked at on the 2 problems that both have (a 2, c 3)" and len(document["notes"]) == 2
    )
    write(lonely := Store.create(tmp_path / "lonely"), "d", [])
    with lonely.writer() as writer:
        p = Problem("toy", "1", "elsewhere", "1", level=1)
        writer.add_problems([p], [0.5])
        key = ("d" * 8, p.id, 0, 0, writer.add_sampler({"temperature": 1.0}))
        writer.add_samples([SampleRow(*key, "t", (1,), (-1.0,), (1.0,), "stop")])
        writer.add_verdicts([VerdictRow(*key, "v1", True, 1.0, "1", "", "")])
    with pytest.raises(InputError, match="'a' and 'd' share no problem"):
        audit.run(side(store), side(lonely, "d"))


# -------------------------------------------------------------------------------------------------------- errors


def test_places_that_hold_no_samples(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file or folder"):
        audit.run(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"--labels: no file"):
        audit.run(side(store), labels=tmp_path / "nothing")
    counts = lines(tmp_path / "counts.jsonl", [{"id": "p", "c": 1, "n": 2}])
    with pytest.raises(InputError, match=r"hold no samples with their verdicts.*offleash sample --out STORE"):
        audit.run(str(counts))
    with pytest.raises(InputError, match=r"the store holds 2 models; choose one, as .*#LABEL \(a, b\)"):
        audit.run(str(store.path))
    with pytest.raises(InputError, match="unknown model 'c'"):
        audit.run(side(store, "c"))
    with pytest.raises(InputError, match="model 'a' has no samples with level 9"):
        audit.run(side(store), selection=Selection(level=9))
    with pytest.raises(InputError, match="is neither a store nor a study nor a run; audit reads"):
        audit.run(str(tmp_path))
    with pytest.raises(InputError, match="--out: cannot write"):
        audit.run(side(store), out=counts)


def test_a_study_and_a_run_of_it(store: Store) -> None:
    """Found as `offleash compare` finds them: an arm on the study's first set of problems, a run, a checkpoint."""
    root = store.path.parent
    run = RunFolder.create(root / "runs" / "grpo", "steps: 1\n", {"kind": "train"}).path
    arms = (Arm("base", "a" * 8), Arm("tuned", "b" * 8, run, (Checkpoint(20, "a" * 8),)))
    write_study(Study(root, "toy", store.path, "base", (1,), (Stratum("first", "toy", 1, "test"),), arms))
    assert audit.run(f"{root}#tuned", as_json=True)["a"]["model"] == "b" * 8
    document = audit.run(f"{run}#step_20", str(run), as_json=True)
    assert [document[key]["name"] for key in "ab"] == ["tuned at step 20", "tuned"]
    assert document["a"]["model"] == "a" * 8
    with pytest.raises(InputError, match="#30: the study measured no such checkpoint; measured: 20"):
        audit.run(f"{run}#30")
    with pytest.raises(InputError, match=r"the study has 2 arms; choose one, as .*#LABEL \(base, tuned\)"):
        audit.run(str(root))
    with pytest.raises(InputError, match="has no samples with task toy, level 2"):
        audit.run(f"{root}#tuned", selection=Selection(task="toy", level=2))
    loose = RunFolder.create(root / "loose", "steps: 1\n", {}).path
    with pytest.raises(InputError, match="has not been measured; `offleash sample"):
        audit.run(str(loose))


def test_seeds_are_not_mixed(store: Store) -> None:
    with store.writer() as writer:
        key = ("a" * 8, problem(0).id, 9, 1, writer.add_sampler({"temperature": 1.0}))
        writer.add_samples([SampleRow(*key, "t", (1,), (-1.0,), (1.0,), "stop")])
    with pytest.raises(InputError, match=r"--seed: model 'a' has samples of several \(0, 1\); choose one"):
        audit.run(side(store))
    assert audit.run(side(store), selection=Selection(seed=0))["a"]["samples"]["all"] == 8


def test_a_store_without_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = write(Store.create(tmp_path / "s"), "a", BASE, version=None)
    with pytest.raises(InputError, match="8 of its samples are unverified and none has a verdict"):
        audit.run(side(made))
    made = write(Store.create(tmp_path / "undecided"), "a", [[S("1", None)] * 2])
    with pytest.raises(InputError, match="could decide none of its samples"):
        audit.run(side(made))


# ------------------------------------------------------------------------------------------ stores that are growing


def test_unverified_and_undecided_samples_are_said(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    write(store, "a", [[S("new", None, "4")], []], first=4)
    write(store, "a", [[S("new")], []], first=5, version=None)
    document = audit.run(side(store), as_json=True)
    assert (document["a"]["unverified"], document["a"]["undecided"]) == (1, 1)
    assert "model 'a': 1 of its samples are unverified and left out" in capsys.readouterr().err
    assert document["guesses"]["a"]["pass_at_k"]["1"]["value"] == pytest.approx(3 / 8)
    assert (
        document["repetition"]["a"]["no_answer"] == 2 / 9
    )  # the undecided one has an answer, the unverified one none yet


def test_one_problem_with_few_samples_is_named(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    write(store, "a", [[S("1+2", True, "3")] * 4, []], first=4)
    audit.run(side(store))
    assert f"k ends where problem {problem(1).id} does: 4 decided samples; others have 8" in capsys.readouterr().out


def test_a_store_that_grows_while_it_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = audit.run(side(store), as_json=True)
    plain = audit_samples._texts_of

    def grown(*arguments: Any) -> Any:
        write(store, "a", [[S("later", True, "8")], [S("later", True, "8")]], first=4)
        monkeypatch.setattr(audit_samples, "_texts_of", plain)
        return plain(*arguments)

    monkeypatch.setattr(audit_samples, "_texts_of", grown)
    assert audit.run(side(store), as_json=True) == before
    assert audit.run(side(store), as_json=True)["a"]["samples"]["all"] == 10


def test_texts_are_read_in_chunks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = audit.run(side(store), side(store, "b"), as_json=True)
    monkeypatch.setattr(audit_samples, "CHUNK", 1)
    monkeypatch.setattr(audit_look, "SLOW", 0)
    assert audit.run(side(store), side(store, "b"), as_json=True) == whole


def test_only_the_first_samples_of_a_problem_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_look, "READ", 2)
    made = write(Store.create(tmp_path / "s"), "a", [[S("1+2", True)] * 2 + [S("prose", True)] * 4] * 2)
    document = audit.run(side(made), side(made), as_json=True)
    assert document["formats"]["a"]["shares"] == {"formula": 1.0} and document["drift"]["formats"]["p"] == 1.0
    assert document["repetition"]["a"]["duplicates"]["value"] == pytest.approx(4 / 6)  # of all of them


# ------------------------------------------------------------------------------------------------ what comes out


def test_json_is_one_document_and_what_is_written(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    document = audit.run(side(store), side(store, "b"), out=out, as_json=True)
    shown = capsys.readouterr().out
    assert json.loads(shown) == document == json.loads((out / "audit.json").read_text())
    assert {path.name for path in out.iterdir()} == {"audit.json", "to_label.jsonl"}


def test_samples_to_label_are_positives_and_are_read_again(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    audit.run(side(store), out=out, as_json=True)
    rows = [json.loads(line) for line in (out / "to_label.jsonl").read_text().splitlines()]
    places = sorted((row["problem"], row["index"]) for row in rows)
    assert places == sorted((problem(i).id, j) for i, j in ((0, 0), (0, 1), (1, 0)))
    assert {(row["model"], row["seed"]) for row in rows} == {("a" * 8, 0)} and all(row["sampler"] for row in rows)
    assert {row["completion"] for row in rows} == {"1+2", "2+3"} and {row["truth"] for row in rows} == {None}
    assert {row["prompt"] for row in rows} == {"problem 0", "problem 1"}
    filled = lines(out / "to_label.jsonl", [row | {"truth": True} for row in rows])
    found = audit.run(side(store), labels=filled, out=out, as_json=True)["verifier"]["labels"]
    assert (found["positives"], found["false_positives"]) == (3, 0)
    audit.run(side(store), out=out, as_json=True)
    assert json.loads(filled.read_text().splitlines()[0])["truth"] is True  # never written over


def test_labels_of_one_model_are_not_read_for_another(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The samples of both models have the same names."""
    out = tmp_path / "out"
    audit.run(side(store), out=out, as_json=True)
    rows = [json.loads(line) | {"truth": True} for line in (out / "to_label.jsonl").read_text().splitlines()]
    labels = lines(tmp_path / "filled.jsonl", rows)
    with pytest.raises(InputError, match=r"filled\.jsonl:1: a line of model 'a', and these are samples of 'b'"):
        audit.run(side(store, "b"), labels=labels)
    capsys.readouterr()
    audit.run(side(store), out=out, as_json=True)
    assert f"{out / 'to_label.jsonl'}: kept, it holds samples of 'a' already" in capsys.readouterr().err
    assert len(list(out.iterdir())) == 2
    audit.run(side(store, "b"), out=out, as_json=True)
    told = capsys.readouterr().err
    (beside,) = set(out.glob("to_label_b_*.jsonl"))
    assert "to_label.jsonl: kept, it is not of 'b'" in told and f"{beside}: 4 samples" in told
    assert {json.loads(line)["model"] for line in beside.read_text().splitlines()} == {"b" * 8}
    lines(out / "to_label.jsonl", [{"id": f"{problem(0).id}/0", "truth": None}])  # of an earlier version
    beside.unlink()
    audit.run(side(store), out=out, as_json=True)
    assert "it does not say of which model it is" in capsys.readouterr().err and set(out.glob("to_label_a_*.jsonl"))


def test_text_for_people(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = lines(tmp_path / "l.jsonl", [at(0, 0, truth=True), at(0, 1, truth=False), at(0, 2, truth=False)])
    verdicts = lines(tmp_path / "second.jsonl", [at(1, j, correct=True) for j in range(4)])
    audit.run(side(store, "b"), side(store), labels=labels, verdicts=verdicts)
    out = capsys.readouterr().out
    for part in (
        "A: b, 2 problems x 4 samples, temperature 1, verifier v1",
        "1 whose only successes look like guesses, the least certain first:",
        "2 of 4         1.00  0.26  problem 0",
        "hand audit: 3 samples; of 2 that the verifier calls correct 1 are wrong, of 1 that it calls wrong 0 are right",
        "second verifier second.jsonl: differs on",
        "(0 correct only to the first, 3 only to the second)",
        "drift from A to B: total variation",
        "A's most frequent answer over all problems: 3, 1.000",
        "cut off by the token limit",
        "token and answer entropy from A to B:",
        "D_1 1.000",
        "Thresholds",
        "guesses false discovery rate: 0.05",
        "loop: a block of words said at least 4 times in a row over at least 24 words",
    ):
        assert part in out, out
    assert "nan" not in out.lower().replace("finance", "")


def test_chances_that_are_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Store.create(tmp_path / "s")
    with made.writer() as writer:
        writer.add_problems([problem(0), problem(1)], [math.nan, math.nan])
    write(made, "a", BASE)
    found = audit.run(side(made))["guesses"]["a"]
    assert found["chance"]["1"]["value"] is None and found["unknown"] == 2 and found["suspects"] == []
    out = capsys.readouterr().out
    assert "the chance of a blind guess is unknown for 2 of 2 problems" in out and "look like guesses" not in out


def test_what_others_wrote_cannot_move_the_cursor() -> None:
    assert audit_text.excerpt("a\x1b[2J\n b" + "x" * 100) == "a [2J b" + "x" * 52 + "…"


def test_a_task_names_its_verifier_of_today() -> None:
    assert audit_samples._first_version("countdown", {"arithmetic-1", "zzz"}) == "arithmetic-1"
    assert audit_samples._first_version("countdown", {"arithmetic-0", "a"}) == "arithmetic-0"


def test_the_command(store: Store, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(
        app, [side(store), side(store, "b"), "--level", "1", "--json", "--out", str(tmp_path / "o")]
    )
    assert result.exit_code == 0 and json.loads(result.stdout)["b"]["name"] == "b"
    assert "Examples:" in CliRunner().invoke(app, ["--help"]).output
