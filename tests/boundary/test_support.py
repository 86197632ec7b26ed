"""Support accounting: definitions, published tables, equal budgets, per-problem evidence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from offleash.boundary import Counts, support
from offleash.boundary.support import CLASSES, benjamini_hochberg, class_shares, fisher_increase, ratios, sign_test
from offleash.core import InputError


def counts(c: object, n: int | list[int]) -> Counts:
    c = np.asarray(c)
    return Counts(tuple(f"p{i:04d}" for i in range(len(c))), c, np.broadcast_to(np.asarray(n), c.shape).copy())


# arXiv 2507.14843 v4, table 1: P, E, S, O, SRR, NDR, NSCR as printed; the sign test computed from P..O.
PUBLISHED = [
    ("ProRL-1.5B-v1", 2400, 36, 163, 805, 0.94, 0.02, -0.05, 2e-20),
    ("ProRL-1.5B-v2", 2388, 48, 175, 793, 0.93, 0.02, -0.05, 4e-18),
    ("Nemotron-1-7B", 2715, 28, 56, 605, 0.98, 0.01, -0.01, 0.003),
    ("Skywork-OR1-7B", 2685, 26, 86, 607, 0.97, 0.01, -0.02, 1e-8),
    ("Nemotron-1-14B", 2418, 8, 23, 501, 0.99, 0.00, -0.01, 0.011),
    ("Phi4-Reason-Plus-14B", 2474, 16, 23, 437, 0.99, 0.01, -0.00, 0.34),
    ("Kangheng-OVR-7B", 781, 3, 4, 516, 1.00, 0.00, -0.00, 1.0),
    ("OLMo-2-1B", 761, 83, 104, 599, 0.88, 0.10, -0.02, 0.14),
]


@pytest.mark.parametrize("row", PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_published_table(row: tuple[str, int, int, int, int, float, float, float, float]) -> None:
    _, p, e, s, o, srr, ndr, nscr, sign = row
    got = ratios(np.array([p, e, s, o], float))
    # Two entries are printed a unit off (0.0148 as .02, 0.9949 as 1.00), so allow a little more than half a unit.
    assert got[[0, 1, 3]] == pytest.approx([srr, ndr, nscr], abs=0.0055)
    shares = np.repeat(np.eye(4), [p, e, s, o], axis=0)
    assert sign_test(shares) == pytest.approx(sign, rel=0.5)
    assert sign_test(shares) == pytest.approx(stats.binomtest(e, e + s).pvalue, rel=1e-9)


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4))
def test_definitions(classes: list[int]) -> None:
    p, e, s, o = classes
    srr, ndr, sds, nscr = ratios(np.array(classes, float))
    both = ratios(np.array([p, s, e, o], float))
    if p + s and p + e:
        assert srr == pytest.approx(p / (p + s)) and ndr == pytest.approx(e / (p + e))
        if p * p + 2 * p * e + e * s:
            assert sds == pytest.approx(2 * p * e / (p * p + 2 * p * e + e * s))
        assert 0 <= srr <= 1 and 0 <= ndr <= 1
        assert both[0] == pytest.approx(1 - ndr) and both[1] == pytest.approx(1 - srr)  # swapping the models
    else:
        assert math.isnan(sds)
    if p + e + s:
        assert nscr == pytest.approx(-both[3])
    else:
        assert math.isnan(nscr)


def test_classes_and_rows() -> None:
    got = support(counts([3, 0, 5, 0], 8), counts([1, 2, 0, 0], 8))
    assert got.counts == dict.fromkeys(CLASSES, 1.0)
    assert [p.name for p in got.problems] == list(CLASSES)
    assert got.budget == (8, 8) and got.sign_p == 1.0
    preserved, expanded, _, out = got.problems
    assert preserved.confidence == 1.0
    assert (expanded.c_a, expanded.n_a, expanded.c_b, expanded.n_b) == (0, 8, 2, 8)
    assert math.isnan(out.confidence) and "up to 0.31" in out.reason  # 1 - 0.05^(1/8)


def test_identical_files() -> None:
    same = counts([0, 1, 8, 0], 8)
    got = support(same, same)
    assert got.metrics["srr"].value == 1 and got.metrics["ndr"].value == 0 and math.isnan(got.sign_p)
    assert got.metrics["srr"].low < 0.95 and got.metrics["ndr"].high > 0.05  # four problems prove little


def test_undefined_is_nan_with_the_reason() -> None:
    nothing = support(counts([0, 0], 8), counts([0, 0], 8)).metrics
    for name in ("srr", "ndr", "sds", "nscr"):
        assert math.isnan(nothing[name].value) and math.isnan(nothing[name].low) and nothing[name].reason
    gained = support(counts([0, 0], 8), counts([1, 0], 8)).metrics
    assert math.isnan(gained["srr"].value) and "a solved no problem" in gained["srr"].reason
    assert gained["ndr"].value == 1 and gained["nscr"].value == 1


def test_unequal_budgets_are_thinned_to_the_smaller() -> None:
    a, b = counts([1, 4], [100, 100]), counts([0, 3], [10, 10])
    shares = class_shares(a, b)
    solved = [1 - 0.9, 1 - math.comb(96, 10) / math.comb(100, 10)]
    assert shares[0] == pytest.approx([0, 0, solved[0], 1 - solved[0]])
    assert shares[1] == pytest.approx([solved[1], 1 - solved[1], 0, 0])
    got = support(a, b)
    assert got.problems[0].name == "out_of_support" and got.budget == (10, 10)
    assert sum(got.counts.values()) == pytest.approx(2)


def test_thinning_agrees_with_drawing_subsets() -> None:
    generator = np.random.default_rng(0)
    a, b = counts([2], [40]), counts([3], [16])
    outcomes = np.repeat([1, 0], [2, 38])
    solved = np.mean([generator.permutation(outcomes)[:16].any() for _ in range(4000)])
    assert class_shares(a, b)[0, 0] == pytest.approx(solved, abs=0.03)  # 4 standard errors


def test_longer_sampling_of_one_side_does_not_look_like_shrinkage() -> None:
    generator = np.random.default_rng(5)
    p = generator.beta(0.1, 2, 2000)
    a, b = counts(generator.binomial(512, p), 512), counts(generator.binomial(64, p), 64)
    got = support(a, b, replicates=500)
    naive = ((a.c > 0) & (b.c == 0)).sum() - ((a.c == 0) & (b.c > 0)).sum()
    fair = got.counts["shrunk"] - got.counts["expanded"]
    assert naive > 200 and abs(fair) < 80 and got.sign_p > 0.001


def test_fisher_agrees_with_scipy() -> None:
    for c1, n1, c2, n2 in ((0, 64, 6, 64), (1, 10, 5, 30), (0, 8, 0, 8), (3, 3, 3, 3)):
        table = [[c1, n1 - c1], [c2, n2 - c2]]
        assert fisher_increase(c1, n1, c2, n2) == pytest.approx(stats.fisher_exact(table, alternative="less").pvalue)


def test_benjamini_hochberg_agrees_with_scipy() -> None:
    p = np.random.default_rng(0).random(50) ** 2
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_evidence_grows_with_the_count_and_preserved_problems_do_not_loosen_it() -> None:
    base = [0] * 3 + [10] * 47
    got = support(counts(base, 64), counts([1, 6, 30, *[60] * 47], 64))
    confidence = [p.confidence for p in got.problems[:3]]
    assert confidence[0] < confidence[1] < confidence[2]
    assert [p.id for p in got.significant("expanded")] == ["p0002"]
    # 6 of 64 against 0 of 64: Fisher p = 0.014 for one problem, not significant among 50
    assert confidence[1] == pytest.approx(1 - min(1.0, fisher_increase(0, 64, 6, 64) * 50 / 2))


@pytest.mark.slow
def test_false_discoveries_under_the_null() -> None:
    generator = np.random.default_rng(9)
    sets = 300
    found = 0
    for _ in range(sets):
        p = generator.beta(0.15, 0.5, 60)
        got = support(counts(generator.binomial(64, p), 64), counts(generator.binomial(64, p), 64), replicates=100)
        found += bool(got.significant("expanded"))
    assert found / sets <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)


def test_no_sample_is_refused() -> None:
    with pytest.raises(InputError, match="problem 'p0001' has no decided sample"):
        support(counts([1, 0], [8, 0]), counts([1, 1], 8))
    with pytest.raises(InputError, match="different problems"):
        support(counts([1], 8), counts([1, 1], 8))
