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
        ([{"id": "no-slash", "truth": True}], "it names no sample"),
        ([{"problem": problem(0).id, "index": True, "truth": True}], "it names no sample"),
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
