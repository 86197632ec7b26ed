"""`offleash audit` and the verifier: hand audits and second verifiers by hand, each error, the same answer in any order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audited import BASE, FLAT, Json, S, at, lines, problem, side, write
from scipy import stats

from offleash.core import InputError
from offleash.jobs import audit
from offleash.store import Store, VerdictRow


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "store")
    write(made, "a", BASE)
    write(made, "b", FLAT)
    return made


# --------------------------------------------------------------------------------------------------- hand audits


def test_labels_by_hand(store: Store, tmp_path: Path) -> None:
    """Of 3 positives 1 is wrong; 3 of 8 samples are positive: f = (1/3 * 3/8) / (1 - 3/8 * 2/3) = 1/6."""
    rows = [at(0, 0, truth=True), {"id": f"{problem(0).id}/1", "truth": False}, at(1, 0, truth=True), at(1, 1, truth=True),
            at(1, 2, truth=None), at(1, 3)]  # fmt: skip
    found = audit.run(side(store), labels=lines(tmp_path / "l.jsonl", rows), as_json=True)["verifier"]["labels"]
    assert (found["labelled"], found["unlabelled"], found["positives"], found["false_positives"]) == (4, 2, 3, 1)
    exact = stats.binomtest(1, 3).proportion_ci(method="exact")
    assert found["false_share"] == pytest.approx({"value": 1 / 3, "low": exact.low, "high": exact.high})
    assert found["false_positive_rate"]["value"] == pytest.approx(1 / 6)
    assert found["false_positives_by_problem"] == {problem(0).id: 1}
    assert (found["negatives"], found["false_negatives"], found["false_negative_share"]["value"]) == (1, 1, 1.0)
    for k in (1, 2, 4):
        assert found["false_pass"][str(k)]["value"] == pytest.approx(1 - (5 / 6) ** k)
    assert found["pass_at_k"]["1"]["value"] == pytest.approx(3 / 8)
    assert found["corrected"]["1"]["value"] == pytest.approx(1 - (5 / 8) / (5 / 6))
    assert found["corrected"]["2"]["value"] == pytest.approx(1 - (1 / 3) / (5 / 6) ** 2)


def test_labels_of_samples_elsewhere(store: Store, tmp_path: Path) -> None:
    rows = (
        [{"verdict": True, "truth": False}]
        + [{"verdict": True, "truth": True}] * 2
        + [{"verdict": None, "truth": True}]
    )
    found = audit.run(side(store), labels=lines(tmp_path / "l.jsonl", rows), as_json=True)["verifier"]["labels"]
    assert found["false_positive_rate"]["value"] == pytest.approx(1 / 6) and found["undecided"] == 1
    assert found["false_negative_share"] is None


def test_labels_that_say_their_model_fit_it(store: Store, tmp_path: Path) -> None:
    """By id or label; plain lines without a model still do."""
    rows = [
        at(0, 0, truth=True, model="a" * 8, seed=0, completion="1+2"),
        at(0, 1, truth=True, model="a"),
        at(1, 0, truth=True),
    ]
    found = audit.run(side(store), labels=lines(tmp_path / "l.jsonl", rows), as_json=True)["verifier"]["labels"]
    assert found["positives"] == 3 and found["false_positives"] == 0


def many(path: Path, right: int, problems: int = 10, n: int = 20) -> Store:
    """Problems with `right` positives of n each."""
    return write(Store.create(path), "a", [[S("1", j < right, "1") for j in range(n)]] * problems)


def test_false_positives_that_gather_are_told_from_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All 80 labels false: 8 in each of 10 problems, as one rate gives. 8 of 8 in one problem are another matter."""
    store = many(tmp_path / "s", 8)
    everywhere = lines(tmp_path / "all.jsonl", [at(i, j, truth=False) for i in range(10) for j in range(8)])
    found = audit.run(side(store), labels=everywhere)["verifier"]["labels"]
    assert found["uneven"] is None and "not the same everywhere" not in capsys.readouterr().out
    one = lines(tmp_path / "one.jsonl", [at(i, j, truth=i > 0) for i in range(10) for j in range(8)])
    found = audit.run(side(store), labels=one)["verifier"]["labels"]["uneven"]
    assert (found["problem"], found["false_positives"]) == (problem(0).id, 8)
    assert found["expected"] == pytest.approx(0.8) and found["p"] == pytest.approx(10 * 0.1**8)
    assert "where one rate for all gives 0.80 (p = 0.00000010, Bonferroni)" in capsys.readouterr().out.replace(
        "1.0e-07", "0.00000010"
    )


def test_two_false_positives_of_a_problem_prove_nothing(tmp_path: Path) -> None:
    rows = [at(i, j, truth=not (i == 0 and j < 2)) for i in range(10) for j in range(8)]
    found = audit.run(side(many(tmp_path / "s", 8)), labels=lines(tmp_path / "l.jsonl", rows), as_json=True)
    assert found["verifier"]["labels"]["uneven"] is None


def test_verdicts_on_chosen_samples_are_not_the_models(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the samples that the first verifier passes: its pass@1 on them is 1, and the model's is 3/8."""
    rows = [at(0, 0, correct=True), at(0, 1, correct=False), at(1, 0, correct=True)]
    (found,) = audit.run(side(store), verdicts=lines(tmp_path / "v.jsonl", rows))["verifier"]["seconds"]
    assert (found["samples"], found["of"], found["covered"]) == (3, 8, 3 / 8)
    out = capsys.readouterr().out
    assert "on the 3 samples with both verdicts, 37.5% of the 8 decided ones; these are not the model's pass@k" in out
    assert "first, on these" in out
    every = [at(i, j, correct=True) for i in range(2) for j in range(4)]
    (found,) = audit.run(side(store), verdicts=lines(tmp_path / "v.jsonl", every))["verifier"]["seconds"]
    assert found["covered"] == 1 and "not the model's" not in capsys.readouterr().out


def test_labels_speak_of_b_where_there_are_two(store: Store, tmp_path: Path) -> None:
    labels = lines(tmp_path / "l.jsonl", [at(0, 3, truth=True)])  # a calls it wrong, b right
    document = audit.run(side(store), side(store, "b"), labels=labels, as_json=True)
    assert document["verifier"]["of"] == "b" and document["verifier"]["labels"]["positives"] == 1


def test_nothing_can_be_wrong_where_all_is_positive(tmp_path: Path) -> None:
    made = write(Store.create(tmp_path / "s"), "a", [[S("1", True, "1")] * 4] * 2)
    found = audit.run(side(made), labels=lines(tmp_path / "l.jsonl", [at(0, 0, truth=True)]), as_json=True)
    labels = found["verifier"]["labels"]
    assert labels["corrected"] is None and "no wrong sample is known" in labels["false_positive_rate"]["reason"]


def test_without_labels_it_says_what_a_small_rate_would_do(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    document = audit.run(side(store))
    assert document["verifier"]["if_small"] == {"rate": 0.001, "k": 4, "alone": pytest.approx(1 - 0.999**4), "measured": pytest.approx({"value": 1.0, "low": document["verifier"]["if_small"]["measured"]["low"], "high": 1.0})}  # fmt: skip
    assert "passing 0.1% of wrong samples would alone give pass@4 of 0.004" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_lines_and_of_writing_does_not_matter(store: Store, tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = [at(i, j, truth=bool(generator.integers(2))) for i in range(2) for j in range(4)]
    again = Store.create(tmp_path / "again")
    write(again, "b", FLAT, order=generator.permutation)
    write(again, "a", BASE, order=generator.permutation)
    documents = []
    for made in (store, again):
        labels = lines(tmp_path / f"{made.path.name}.jsonl", rows)
        verdicts = lines(tmp_path / f"{made.path.name}.v", [{"correct": row["truth"], **row} for row in rows])
        document = audit.run(side(made, "b"), side(made), labels=labels, verdicts=verdicts, as_json=True)
        document["verifier"]["seconds"][0].pop("name")
        documents.append({k: v for k, v in document.items() if k not in "ab"})
        rows = [rows[i] for i in generator.permutation(len(rows))]
    assert documents[0] == documents[1]


# ----------------------------------------------------------------------------------------------- second verifiers


def check_second(found: Json) -> None:
    """The first says (1, 1, 0, 0), (1, 0, 0, 0); the second (1, 0, undecided, 0), (1, 1, 0, 0)."""
    assert found["table"] == {"both": 2, "only_first": 1, "only_second": 1, "neither": 3}
    assert (found["samples"], found["undecided"], found["not_seen"]) == (7, [0, 1], 0)
    assert found["disagreement"]["value"] == pytest.approx(2 / 7)
    assert found["pass_at_k"]["1"]["value"] == pytest.approx((2 / 3 + 1 / 4) / 2)
    assert found["second_pass_at_k"]["1"]["value"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert found["difference"]["1"]["value"] == pytest.approx((-1 / 3 + 1 / 4) / 2)
    assert set(found["difference"]) == {"1", "2"}


SECOND = ((True, False, None, False), (True, True, False, False))


def test_a_second_verifier_from_a_file(store: Store, tmp_path: Path) -> None:
    rows = [at(i, j, correct=said) for i, own in enumerate(SECOND) for j, said in enumerate(own)]
    (found,) = audit.run(side(store), verdicts=lines(tmp_path / "second.jsonl", rows), as_json=True)["verifier"][
        "seconds"
    ]
    assert found["name"] == "second.jsonl"
    check_second(found)
    (part,) = audit.run(side(store), verdicts=lines(tmp_path / "part.jsonl", rows[4:]), as_json=True)["verifier"][
        "seconds"
    ]
    assert part["not_seen"] == 4 and part["disagreement"]["value"] == pytest.approx(1 / 4)


def test_two_versions_in_the_store(store: Store) -> None:
    """The later version by name counts; the other one is held against it."""
    with store.writer() as writer:
        rows = store.sql(
            "SELECT model, problem_id, index, seed, sampler FROM samples WHERE model = 'aaaaaaaa'"
        ).to_pylist()
        said = {problem(i).id: own for i, own in enumerate(SECOND)}
        writer.add_verdicts(
            [VerdictRow(*r.values(), "v0", said[r["problem_id"]][r["index"]], 0.0, "old", "old", "") for r in rows]
        )
    document = audit.run(side(store), as_json=True)
    assert document["a"]["verifiers"] == ["v1"] and document["repetition"]["a"]["constant_answer"]["answer"] == "3"
    (found,) = document["verifier"]["seconds"]
    assert found["name"] == "v0"
    check_second(found)


# -------------------------------------------------------------------------------------------------------- errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"--labels: .*l\.jsonl has no lines"),
        (["", "  "], "has no lines"),
        (["{"], r"l\.jsonl:1: not JSON"),
        (["[1]"], r"l\.jsonl:1: a JSON list, not an object"),
        ([at(0, 0), at(0, 1, truth=None)], "none of the 2 lines of .* has a truth"),
        ([at(0, 0, truth=True), at(0, 1, truth="yes")], r"l\.jsonl:2: truth is \"yes\"; write true or false"),
        ([at(0, 0, truth=1)], "truth is 1; write true or false"),
        ([{"verdict": "y", "truth": True}], "verdict is \"y\""),
        ([{"truth": True}], "it names no sample"),
        ([{"id": "no-slash", "truth": True}], "id is \"no-slash\"; write"),
        ([{"problem": problem(0).id, "index": True, "truth": True}], "index is true; write a whole number"),
        ([{"id": f"{problem(0).id}/0", "problem": problem(0).id, "index": "0", "truth": True}], "index is \"0\"; write a whole"),
        ([{"id": f"{problem(0).id}/0", "problem": 3, "index": 0, "truth": True}], "problem is 3; write the id of a problem"),
        ([{"id": f"{problem(0).id}/0", "problem": problem(0).id, "truth": True}], "index is null; write a whole number"),
        ([{"id": f"{problem(0).id}/1", **at(0, 0, truth=True)}], "but problem and index say .*/0; leave one of them out"),
        ([at(0, 0, truth=True, model="b" * 8)], r"l\.jsonl:1: a line of model 'b', and these are samples of 'a'"),
        ([at(0, 0, truth=True, model="elsewhere")], "a line of model 'elsewhere', and these are samples of 'a'"),
        ([{"verdict": True, "truth": True, "model": "b"}], "a line of model 'b', and these are samples of 'a'"),
        ([at(0, 0, truth=True, model="a", sampler="hot")], "a line of sampler 'hot', and these are"),
        ([at(0, 0, truth=True, seed=1)], "a line of seed 1, and these are samples of 0"),
        ([at(0, 0, truth=True), at(0, 3, truth=True, completion="1+2")],
         r"l\.jsonl:2: its completion is not that of this sample of 'a', \"x\"; it was judged on another model"),
        ([{"problem": "nope", "index": 0, "truth": True}], "names 1 that are not among the samples of 'a': problem nope"),
        ([at(0, 4, truth=True)], f"{problem(0).id}/4"),
        ([at(0, 4), at(0, 5), at(0, 6), at(0, 7), at(0, 0, truth=True)], "names 4 that are not .* and 1 more"),
        ([at(0, 0, truth=True), at(0, 0, truth=True)], r"l\.jsonl:2: sample .*/0 has a line already, .*l\.jsonl:1"),
        ([at(0, 2, truth=True)], "none of the 1 labelled samples is one that the verifier calls correct"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(store: Store, tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        audit.run(side(store), labels=lines(tmp_path / "l.jsonl", rows))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([at(0, 0)], "no \"correct\""),
        ([at(0, 0, correct="true")], "correct is \"true\""),
        ([at(0, 9, correct="true")], "correct is \"true\""),
        ([at(0, 9, correct=None)], "names 1 that are not among"),
        ([at(0, 0, correct=None)], "it has decided none of the samples"),
    ],
)  # fmt: skip
def test_verdicts_that_do_not_fit(store: Store, tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        audit.run(side(store), verdicts=lines(tmp_path / "v.jsonl", rows))
