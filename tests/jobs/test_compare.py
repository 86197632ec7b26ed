"""`offleash compare`: finding both sides, joining them, and what is printed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from offleash.boundary import Counts, extrapolate
from offleash.cli import main as cli
from offleash.core import Problem, rng
from offleash.jobs.sides import Selection, read_side, same_problems
from offleash.store import (
    Arm,
    Checkpoint,
    RunFolder,
    SampleRow,
    Store,
    Stratum,
    Study,
    VerdictRow,
    write_study,
)

N = 8
BASE = (1, 4, 0, 8, 2, 0)
TUNED = (8, 8, 0, 8, 0, 8)


def problems(level: int, version: str = "1") -> list[Problem]:
    return [Problem("toy", version, f"level {level} problem {i}", str(i), level=level) for i in range(len(BASE))]


def fill(store: Store, model: str, label: str, level: int, correct: tuple[int | None, ...], version: str = "1") -> None:
    """N samples of each problem, the first `correct` of them right."""
    chosen = problems(level, version)
    with store.writer() as writer:
        writer.add_model({"id": model, "label": label})
        sampler = writer.add_sampler({"temperature": 1.0})
        known = {stored.problem.id for stored in store.problems()}
        fresh = [p for p in chosen if p.id not in known]
        writer.add_problems(fresh, guess=[0.1] * len(fresh))
        keys = [(model, p.id, i, 0, sampler) for p in chosen for i in range(N)]
        right = [i < c for c in correct for i in range(N)]
        writer.add_samples([SampleRow(*key, "text", (1,), (-0.5,), (0.7,), "stop") for key in keys])
        writer.add_verdicts(
            [VerdictRow(*key, "v1", ok, float(ok), "", "", "") for key, ok in zip(keys, right, strict=True)]
        )


@pytest.fixture
def store(tmp_path) -> Path:
    """Two models on two levels."""
    made = Store.create(tmp_path / "store")
    for level in (1, 2):
        fill(made, "aaaaaaaa", "base", level, BASE)
        fill(made, "bbbbbbbb", "GRPO", level, TUNED)
    return made.path


@pytest.fixture
def study(store) -> Path:
    """A study over that store, its run two folders down."""
    run = RunFolder.create(store.parent / "runs" / "grpo", "steps: 1\n", {"kind": "train"}).path
    write_study(
        Study(
            folder=store.parent,
            title="toy",
            store=store,
            baseline="base",
            ks=(1, 4),
            strata=(Stratum("first", "toy", 1, "test"), Stratum("second", "toy", 2, "test")),
            arms=(Arm("base", "aaaaaaaa"), Arm("tuned", "bbbbbbbb", run, (Checkpoint(20, "aaaaaaaa"),))),
        )
    )
    return store.parent


@pytest.fixture
def offleash(capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run(["compare", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def lines(path: Path, correct: tuple[int, ...], n: int = N) -> Path:
    path.write_text("".join(json.dumps({"id": f"p{i}", "c": c, "n": n}) + "\n" for i, c in enumerate(correct)))
    return path


def textbook(c: int, n: int, k: int) -> float:
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def test_a_store_gives_the_textbook_pass_at_k(offleash, store):
    code, out, err = offleash(f"{store}#base", f"{store}#GRPO", "--level", 1, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    for side, correct in (("a", BASE), ("b", TUNED)):
        for k in (1, 2, 4, 8):
            expected = sum(textbook(c, N, k) for c in correct) / len(correct)
            assert document["pass_at_k"][side][str(k)]["value"] == pytest.approx(expected, abs=1e-12)
    assert {row["id"]: (row["a"]["c"], row["b"]["c"], row["a"]["n"]) for row in document["problems"]} == {
        p.id: (a, b, N) for p, a, b in zip(problems(1), BASE, TUNED, strict=True)
    }
    promised = {"pass_at_k", "difference", "crossing", "support", "problems", "verdict", "because"}
    assert set(document) == promised | {"k", "ledger", "strata", "inputs"}


def test_the_same_counts_give_the_same_document_from_a_file(offleash, store, tmp_path):
    from_store = json.loads(offleash(f"{store}#base", f"{store}#GRPO", "--level", 2, "--json")[1])
    a, b = lines(tmp_path / "a.jsonl", BASE), lines(tmp_path / "b.jsonl", TUNED)
    from_file = json.loads(offleash(a, b, "--json")[1])
    # The order of the ids is that of their hashes, which the bootstrap sees; the estimates do not.
    for side in ("a", "b"):
        for k in ("1", "2", "4", "8"):
            assert from_file["pass_at_k"][side][k]["value"] == pytest.approx(from_store["pass_at_k"][side][k]["value"])
    assert from_file["support"]["expanded"] == from_store["support"]["expanded"]


def test_text_for_people(offleash, tmp_path):
    code, out, err = offleash(
        lines(tmp_path / "a.jsonl", BASE), lines(tmp_path / "b.jsonl", TUNED), "--out", tmp_path / "c"
    )
    assert (code, err) == (0, "")
    head, *rows = out.splitlines()
    assert head.split() == ["k", "A:", "a.jsonl", "B:", "b.jsonl", "B", "-", "A", "simultaneous", "95%", "band"]
    assert [row.split()[0] for row in rows[:4]] == ["1", "2", "4", "8"]
    assert "solved at least once: 3 preserved, 1 expanded, 1 shrunk, 1 out of support" in out
    assert "verdict at k=4: " in out
    document = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert document["because"] in out
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["comparison.json"]


def test_a_model_by_label_id_and_beginning(store):
    sides = [read_side(f"{store}#{name}", Selection(level=1)) for name in ("GRPO", "bbbbbbbb", "bbbbbb")]
    assert {side.name for side in sides} == {"GRPO"}
    assert {tuple(side.counts.c) for side in sides} == {tuple(side.counts.c) for side in sides[:1]}
    assert sum(sides[0].counts.c) == sum(TUNED)


def test_a_study_means_its_first_set_of_problems(study):
    side = read_side(f"{study}#tuned", Selection())
    assert side.name == "tuned"
    assert set(side.counts.ids) == {p.id for p in problems(1)}
    assert set(read_side(f"{study}#tuned", Selection(level=2)).counts.ids) == {p.id for p in problems(2)}
    assert len(read_side(f"{study}#tuned", Selection(task="toy")).counts) == 2 * len(BASE)


def test_a_run_is_found_in_its_study(study):
    final = read_side(str(study / "runs" / "grpo"), Selection())
    assert (final.name, sum(final.counts.c)) == ("tuned", sum(TUNED))
    earlier = read_side(f"{study / 'runs' / 'grpo'}#step_20", Selection())
    assert (earlier.name, sum(earlier.counts.c)) == ("tuned at step 20", sum(BASE))


def test_problems_of_other_versions_are_matched_by_their_prompts(offleash, store, tmp_path):
    other = Store.create(tmp_path / "other")
    fill(other, "cccccccc", "later", 1, TUNED, version="2")
    code, out, err = offleash(f"{store}#base", f"{other.path}#later", "--level", 1, "--json")
    assert code == 0
    assert err == "the sides share no problem id; matching problems by their prompts\n"
    assert sorted((row["a"]["c"], row["b"]["c"]) for row in json.loads(out)["problems"]) == sorted(
        zip(BASE, TUNED, strict=True)
    )


def test_matching_ids_are_not_touched(store):
    a, b = (read_side(f"{store}#{label}", Selection(level=1)) for label in ("base", "GRPO"))
    assert same_problems(a, b) == (a, b)


def test_problems_with_too_few_samples_are_left_out_and_said(offleash, tmp_path):
    a = tmp_path / "a.jsonl"
    a.write_text('{"id": "p0", "c": 1, "n": 4}\n{"id": "p1", "c": 1, "n": 8}\n{"id": "p2", "c": 0, "n": 0}\n')
    b = lines(tmp_path / "b.jsonl", (8, 8, 8))
    code, out, err = offleash(a, b, "--json", "--n", 8)
    assert code == 0
    assert [row["id"] for row in json.loads(out)["problems"]] == ["p1"]
    assert err == "a.jsonl: left out 2 problems with fewer than 8 decided samples\n"


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ("{root}/nothing", "no file or folder"),
        ("{root}/nothing#base", "no file or folder"),
        ("{store}", "the store holds 2 models; choose one, as {store}#LABEL (GRPO, base)"),
        ("{store}#GRPQ", "unknown model 'GRPQ'; did you mean 'GRPO'?"),
        ("{store}#base --level 7", "model 'base' has no verified samples with level 7"),
        ("{store}#base --task toi", "model 'base' has no verified samples with task toi"),
        ("{root}", "the study has 2 arms; choose one, as {root}#LABEL (base, tuned)"),
        ("{root}#tund", "unknown model 'tund'"),
        ("{root}/runs/grpo#30", "#30: the study measured no such checkpoint; measured: 20"),
        ("{root}/runs/loose", "is a model or a run that was not measured"),
        ("{root}/model", "--task, --n, --out: '{root}/model' is a model or a run that was not measured"),
        ("{root}/runs", "is neither a store nor a study nor a run"),
        ("{root}/a.jsonl#base", "#base: a file of counts holds one model"),
        ("{root}/bad.jsonl", "bad.jsonl:1: not JSON"),
        ("{root}/a.jsonl --k 9", "9"),
        ("{root}/a.jsonl --k 0", "0"),
        ("{root}/a.jsonl --n 0", "--n: 0 is below 1"),
        ("{root}/a.jsonl --n 9", "no problem has 9 samples (the most is 8)"),
        ("{root}/elsewhere.jsonl", "the two sides share no problem"),
        ("{root}/a.jsonl --out {root}/a.jsonl", "--out: cannot write"),
    ],
)
def test_bad_input_is_one_line_and_2(offleash, study, store, side, message):
    lines(study / "a.jsonl", BASE)
    (study / "bad.jsonl").write_text("{\n")
    (study / "elsewhere.jsonl").write_text('{"id": "q", "c": 1, "n": 8}\n')
    (study / "model").mkdir()
    (study / "model" / "config.json").write_text("{}")
    RunFolder.create(study / "runs" / "loose", "steps: 1\n", {})
    arguments = side.format(root=study, store=store).split()
    code, out, err = offleash(*arguments[:1], study / "a.jsonl", *arguments[1:])
    assert (code, out) == (2, "")
    assert message.format(root=study, store=store) in err
    assert err.count("\n") == 1


def test_at_k_1_it_speaks_of_accuracy_and_not_of_the_boundary(offleash, tmp_path):
    a, b = lines(tmp_path / "a.jsonl", (1,) * 20), lines(tmp_path / "b.jsonl", (7,) * 20)
    code, out, _ = offleash(a, b, "--k", 1)
    assert code == 0
    assert "at k=1: accuracy higher; this is no verdict on the boundary" in out
    assert "At k=1 this is accuracy, not the capability boundary: judge at a larger k" in out
    assert "verdict at" not in out and "verdict: expanded" not in out
    document = json.loads(offleash(a, b, "--k", 1, "--json")[1])
    assert document["verdict"] == "expanded" and "At k=1 this is accuracy" in document["because"]
    assert "At k=1" not in json.loads(offleash(a, b, "--k", 2, "--json")[1])["because"]


@pytest.mark.parametrize("option", ["task", "level", "split", "seed", "sampler"])
def test_files_of_counts_cannot_be_selected_from(offleash, tmp_path, option):
    a, b = lines(tmp_path / "a.jsonl", BASE), lines(tmp_path / "b.jsonl", TUNED)
    code, out, err = offleash(a, b, f"--{option}", 5)
    assert (code, out) == (2, "")
    assert err.startswith(f"offleash: --{option}: files of counts") and "leave it out" in err
    assert err.count("\n") == 1


def test_a_store_beside_a_file_is_selected_from(offleash, store, tmp_path):
    b = tmp_path / "b.jsonl"
    rows = [{"id": p.id, "c": c, "n": N} for level in (1, 2) for p, c in zip(problems(level), TUNED, strict=True)]
    b.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = offleash(f"{store}#base", b, "--level", 1, "--json")
    assert code == 0
    assert {row["id"] for row in json.loads(out)["problems"]} == {p.id for p in problems(1)}
    assert "Left out: 6 problems that only b has." in json.loads(out)["because"]


def test_samples_whose_verdicts_are_gone_are_unverified(offleash, store):
    parts = sorted((store / "verdicts").glob("*.parquet"))
    parts[0].unlink()  # the base on level 1
    code, out, err = offleash(f"{store}#base", f"{store}#GRPO", "--level", 1)
    assert (code, out) == (2, "")
    assert (
        f"model 'base': {6 * N} of its samples are unverified and none has a verdict; run the same `offleash sample"
        in err
    )
    code, out, err = offleash(f"{store}#base", f"{store}#GRPO", "--json")
    assert code == 0 and len(json.loads(out)["problems"]) == len(BASE)
    assert f"model 'base': {6 * N} of its samples are unverified and left out; run the same `offleash sample" in err


def test_samples_that_no_verifier_decides_are_said(offleash, store, tmp_path):
    made = Store.create(tmp_path / "undecided")
    fill(made, "dddddddd", "odd", 1, BASE)
    with made.writer() as writer:
        rows = made.sql("SELECT model, problem_id, index, seed, sampler FROM samples").to_pylist()
        writer.add_verdicts([VerdictRow(*row.values(), "v1", None, 0.0, "", "", "timeout") for row in rows])
    code, _, err = offleash(f"{made.path}#odd", f"{store}#GRPO", "--level", 1)
    assert code == 2 and "model 'odd': the verifier could decide none of its samples" in err


def test_too_few_samples_for_k_name_the_option(offleash, tmp_path):
    a = tmp_path / "a.jsonl"
    a.write_text('{"id": "p0", "c": 1, "n": 4}\n{"id": "p1", "c": 1, "n": 8}\n')
    code, _, err = offleash(a, a, "--k", 8)
    assert code == 2
    assert "leave those problems out with --n 8" in err and "at_least" not in err
    assert offleash(a, a, "--k", 8, "--n", 8)[0] == 0


def test_help_shows_how_labels_that_collide_are_solved(offleash):
    assert "--label" in offleash("--help")[1]


@pytest.mark.slow
def test_beyond_the_samples(offleash, tmp_path):
    """The library's value where it is trusted, its reason where it is not."""
    draw = rng.stream("test beyond")
    counts = Counts(tuple(map(str, range(200))), draw.binomial(32, draw.beta(0.3, 3, 200)), np.full(200, 32))
    rows = zip(counts.ids, counts.c.tolist(), counts.n.tolist(), strict=True)
    many = tmp_path / "many.jsonl"
    many.write_text("\n".join(json.dumps({"id": i, "c": c, "n": n}) for i, c, n in rows))
    code, out, _ = offleash(many, many, "--beyond", 64, "--json")
    found, direct = json.loads(out)["beyond"], extrapolate(counts, [64]).curve[64]
    assert (code, found["k"]) == (0, 64)
    assert (found["a"]["value"], found["b"][0]["low"]) == (direct.value, direct.low)
    code, out, _ = offleash(many, many, "--beyond", 512, "--json")
    assert json.loads(out)["beyond"]["a"]["value"] is None
    assert "8 times the least n" in json.loads(out)["beyond"]["b"][0]["reason"]
    assert "cannot be said" in offleash(many, many, "--beyond", 512)[1]
    code, _, err = offleash(many, many, "--beyond", 32)
    assert (code, "--beyond: many.jsonl: 32 is within its 32 samples" in err) == (2, True)


def test_a_ledger_at_a_threshold(offleash, tmp_path):
    a, b = lines(tmp_path / "a.jsonl", BASE), lines(tmp_path / "b.jsonl", TUNED)
    document = json.loads(offleash(a, b, "--epsilon", 0.4, "--json")[1])
    assert document["ledger"]["epsilon"] == 0.4
    # At 95% each way: 8 of 8 is above .4 (.05^(1/8) = .69), 0 of 8 below (.31), 1, 2 and 4 of 8 are open.
    kinds = {name: count for name, count in document["ledger"].items() if isinstance(count, int)}
    assert kinds == {"preserved": 1, "expanded": 1, "shrunk": 0, "out_of_support": 1, "open": 3}
    code, _, err = offleash(a, b, "--epsilon", 1.5)
    assert (code, "--epsilon: 1.5" in err) == (2, True)


def test_strata_by_difficulty_and_by_level(offleash, store):
    code, out, _ = offleash(f"{store}#base", f"{store}#GRPO", "--json")
    found = json.loads(out)["strata"]
    assert code == 0
    assert [row["name"] for row in found["by_label"]] == ["toy level 1 test", "toy level 2 test"]
    assert [row["problems"] for row in found["by_label"]] == [6, 6]
    assert sum(row["problems"] for row in found["by_difficulty"]) == pytest.approx(12)
    text = offleash(f"{store}#base", f"{store}#GRPO")[1]
    assert "A's success rate at k=4" in text
    assert "toy level 2 test" in text


def test_proven_gains_and_losses_that_cancel_are_both(offleash, tmp_path):
    half = [200] * 50 + [0] * 50
    paths = []
    for name, counts in (("a", half), ("b", half[::-1])):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(json.dumps({"id": str(i), "c": c, "n": 256}) for i, c in enumerate(counts)))
        paths.append(path)
    document = json.loads(offleash(*paths, "--json")[1])
    assert document["verdict"] == "both"
    assert "50 gained, 50 lost" in document["because"]


def test_the_same_samples_twice_are_said_and_give_no_strata(offleash, tmp_path):
    a = lines(tmp_path / "a.jsonl", BASE)
    code, out, err = offleash(a, a, "--json")
    assert code == 0
    assert "A and B have the same counts" in err
    assert "by_difficulty" not in json.loads(out)["strata"]
    code, _, err = offleash(lines(tmp_path / "t.jsonl", TUNED), a, a)
    assert (code, "hold the same counts; each B is another training seed" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--problems", 10], "--problems: no side is a model"),
        (["--max-completion-length", 10], "--max-completion-length: no side is a model"),
        (["--adaptive", "--epsilon", 0.1], "--epsilon: not read with --adaptive"),
        (["--adaptive", "--beyond", 99], "--beyond: not read with --adaptive"),
    ],
)
def test_options_without_effect_are_refused(offleash, tmp_path, options, message):
    a, b = lines(tmp_path / "a.jsonl", BASE), lines(tmp_path / "b.jsonl", TUNED)
    code, _, err = offleash(a, b, *options)
    assert (code, message in err) == (2, True)


def test_the_crossing_and_the_null_stand_in_the_text(offleash):
    golden = Path(__file__).parents[1] / "golden" / "passk_inference"
    out = offleash(golden / "base.jsonl", golden / "rl.jsonl")[1]
    assert "the curves cross at k = 22 [10, " in out
    assert "two runs of A would give NDR" in out
