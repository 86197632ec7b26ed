"""compare(): the document, the verdicts, and what is never left unsaid."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offleash.boundary import Counts, compare
from offleash.core import InputError


def counts(c: object, n: int | list[int], start: int = 0) -> Counts:
    c = np.asarray(c)
    return Counts(tuple(f"p{start + i:04d}" for i in range(len(c))), c, np.broadcast_to(np.asarray(n), c.shape).copy())


def test_document_has_exactly_the_keys_of_the_contract() -> None:
    generator = np.random.default_rng(0)
    p = generator.beta(0.3, 1, 80)
    comparison = compare(counts(generator.binomial(48, p), 48), counts(generator.binomial(48, p**0.7), 48))
    document = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert list(document) == [
        "pass_at_k", "difference", "crossing", "support", "problems", "verdict", "because"
    ]  # fmt: skip
    ks = ["1", "2", "4", "8", "16", "24", "32"]  # powers of two, and n/2 where the verdict is taken
    assert set(document["pass_at_k"]) == {"a", "b"}
    for curve in (document["pass_at_k"]["a"], document["pass_at_k"]["b"], document["difference"]):
        assert list(curve) == ks
        assert all(set(point) == {"value", "low", "high"} for point in curve.values())
        assert all(point["low"] <= point["value"] <= point["high"] for point in curve.values())
    for k in ks:
        gap = document["pass_at_k"]["b"][k]["value"] - document["pass_at_k"]["a"][k]["value"]
        assert document["difference"][k]["value"] == pytest.approx(gap)
    names = {"preserved", "expanded", "shrunk", "out_of_support", "srr", "ndr", "sds", "nscr", "null_ndr"}
    assert set(document["support"]) == names
    assert sum(document["support"][name] for name in ("preserved", "expanded", "shrunk", "out_of_support")) == 80
    assert len(document["problems"]) == 80
    for row in document["problems"]:
        assert set(row) - {"reason"} == {"id", "a", "b", "class", "confidence"}
        assert (row["confidence"] is None) == ("reason" in row) == (row["class"] == "out_of_support")
    assert document["verdict"] == comparison.verdict and "pass@24" in document["because"]


def test_undefined_is_null_with_the_reason() -> None:
    document = compare(counts([0] * 5, 4), counts([0] * 5, 4)).to_json()
    assert document["support"]["srr"] is None and document["support"]["null_ndr"] is None
    assert "srr: a solved no problem" in document["support"]["reason"] and "null_ndr:" in document["support"]["reason"]
    assert document["crossing"] is None
    json.dumps(document, allow_nan=False)


def test_verdicts() -> None:
    hard, easy = [0] * 40 + [30] * 160, [20] * 40 + [30] * 160
    expanded = compare(counts(hard, 64), counts(easy, 64))
    assert expanded.verdict == "expanded" and "wholly above 0" in expanded.because
    shrunk = compare(counts(easy, 64), counts(hard, 64))
    assert shrunk.verdict == "shrunk" and "wholly below 0" in shrunk.because and "a alone 40" in shrunk.because
    both = compare(counts([*easy, 0], 64), counts([*hard, 40], 64))
    assert both.verdict == "both" and "1 gained, 4" in both.because
    same = compare(counts([30] * 400, 64), counts([30] * 400, 64))
    assert same.verdict == "no_change" and "wholly within +-0.02" in same.because
    few = compare(counts([30] * 20, 64), counts([30] * 20, 64))
    assert (
        few.verdict == "undecided" and "or fewer would decide" in few.because
    )  # 20 agreeing problems prove no equality


def test_a_better_rate_on_preserved_problems_is_no_evidence_of_both() -> None:
    a = counts([5] * 150 + [20] * 50, 64)
    b = counts([60] * 150 + [0] * 50, 64)  # most problems sharpened, a quarter lost
    got = compare(a, b)
    assert got.verdict == "shrunk" and got.difference.at(1)[1] > 0
    assert got.crossing is not None and got.crossing.sign == 1
    assert got.to_json()["crossing"] == {"k": got.crossing.k, "low": got.crossing.low, "high": got.crossing.high}


def test_k_is_where_the_user_says_and_never_beyond_a_problem() -> None:
    a, b = counts([3] * 30, 16), counts([4] * 30, [16] * 29 + [10])
    assert compare(a, b).k == 5 and compare(a, b, k=7).k == 7
    assert "7" in compare(a, b, k=7).to_json()["difference"]
    assert compare(counts([1] * 3, 1), counts([0] * 3, 1)).k == 1
    with pytest.raises(InputError, match=r"k: 12 exceeds the samples of 1 of 30 problems \(least n is 10\)"):
        compare(a, b, k=12)
    with pytest.raises(InputError, match="k: 0 is not a whole number"):
        compare(a, b, k=0)
    with pytest.raises(InputError, match="margin: -0"):
        compare(a, b, margin=-0.1)
    with pytest.raises(InputError, match="level: 1"):
        compare(a, b, level=1.5)


def test_dropped_problems_are_said() -> None:
    got = compare(counts([3] * 30, 16), counts([4] * 25, 16, start=10))
    assert got.problems == 20 and len(got.only_a) == 10 and got.only_b == tuple(f"p{i:04d}" for i in range(30, 35))
    assert "Left out: 10 problems that only a has." in got.because
    assert "Left out: 5 problems that only b has." in got.because
    with pytest.raises(InputError, match="share no problem"):
        compare(counts([1], 4), counts([1], 4, start=9))
    with pytest.raises(InputError, match=r"problem 'p0001' has no decided sample \(n=0\)"):
        compare(counts([1, 0], [4, 0]), counts([1, 1], 4))


def test_unequal_budgets_give_expected_counts() -> None:
    document = compare(counts([1, 5, 0], [64, 64, 64]), counts([1, 4, 0], [16, 16, 16])).to_json()
    shares = [document["support"][name] for name in ("preserved", "expanded", "shrunk", "out_of_support")]
    assert sum(shares) == pytest.approx(3) and not float(shares[0]).is_integer()
    assert "n=16 to 64" in document["because"]


def test_one_problem_is_undecided() -> None:
    got = compare(counts([0], 64), counts([64], 64))
    assert got.verdict == "undecided" and got.difference.at(32) == (1.0, -1.0, 1.0)


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6), st.randoms())
def test_same_inputs_same_document_in_any_order(pairs: list[tuple[int, int]], random: object) -> None:
    a, b = counts([x for x, _ in pairs], 4), counts([y for _, y in pairs], 4)
    order = np.array(random.sample(range(len(pairs)), len(pairs)))  # type: ignore[attr-defined]
    one = compare(a, b, replicates=200).to_json()
    assert one == compare(a.take(order), b, replicates=200).to_json()
    swapped = compare(b, a, replicates=200)
    opposite = {"expanded": "shrunk", "shrunk": "expanded"}
    assert swapped.verdict == opposite.get(one["verdict"], one["verdict"])
    json.dumps(one, allow_nan=False)
    for metric in ("srr", "ndr", "sds", "nscr", "null_ndr"):
        value = one["support"][metric]
        assert value is None or (math.isfinite(value) and -1 <= value <= 1)
