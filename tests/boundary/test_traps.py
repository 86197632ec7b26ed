"""Mistakes that other tools make, each beside the same numbers here.

Elsewhere: best@n drawn with replacement and the plug-in 1 - (1 - c/n)^k (test_passk); the percentile bootstrap near pass@k of 1
(test_coverage); unequal budgets (test_support); c > n, negative counts, an id twice, disjoint sets (test_counts); an overwritten
or doubled log (store/test_importers_bad); a store read while it is written (store/test_written_while_read).
"""

from __future__ import annotations

import json
from fractions import Fraction
from math import comb
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from offleash.boundary import Counts, curve, difference, pass_at_k, resample, support
from offleash.boundary.passk import log_miss
from offleash.core import InputError
from offleash.store import importers


def counts(c: list[int], n: list[int] | int) -> Counts:
    total = np.broadcast_to(np.asarray(n), len(c)).copy()
    return Counts(tuple(f"p{i:04d}" for i in range(len(c))), np.asarray(c), total)


def test_trap_unpaired_z_on_paired_problems() -> None:
    """lm-evaluation-harness's model comparator: z = (a - b) / sqrt(se_a^2 + se_b^2), as if the two had met other problems.

    300 problems; a solves 150 of them, b the same less 12. Nothing else moved, and z says p = 0.33.
    """
    a, b = counts([1] * 150 + [0] * 150, 1), counts([1] * 138 + [0] * 162, 1)
    share_a, share_b = a.c.mean(), b.c.mean()
    z = (share_a - share_b) / np.sqrt((share_a * (1 - share_a) + share_b * (1 - share_b)) / 299)
    assert 2 * norm.sf(z) == pytest.approx(0.33, abs=0.01)
    assert support(a, b, replicates=200).sign_p == pytest.approx(2 * 0.5**12)  # exact McNemar: 12 lost, none gained
    assert difference(a, b, [1]).high[0] < -0.015


def test_trap_enumerating_subsets() -> None:
    """NeMo-RL's cons@k walks through all C(n, k) subsets: 5e14 of them at n = 64, k = 16. A closed form need not.

    Here 50,000 problems of a million samples, and single ones against rational arithmetic.
    """
    assert comb(64, 16) > 4e14
    n = 1_000_000
    for c, k in ((1, 1), (1, n), (3, 400_000), (33, 100_000), (40, 1000), (500, 2000), (2000, 33)):
        few, many = min(c, k), max(c, k)
        miss = Fraction(1)
        for j in range(few):
            miss *= Fraction(n - many - j, n - j)
        assert pass_at_k(c, n, k) == pytest.approx(float(1 - miss), rel=1e-9), (c, k)
        if miss:
            assert log_miss(c, n, k) == pytest.approx(np.log(float(miss)), rel=1e-9, abs=1e-15), (c, k)
    c = np.random.default_rng(0).binomial(n, 1e-4, 50_000)
    assert pass_at_k(c, n, 10_000).mean() == pytest.approx(1 - (1 - 1e-4) ** 10_000, abs=0.002)


def test_trap_another_set_of_problems_at_every_k() -> None:
    """prime-rl's pass@k averages over whatever problems have k samples left, so the curve can fall as k grows.

    Two easy problems lost half of their samples, a hard one did not: 0.67 at k = 4, then 0 at k = 8.
    """
    seen = counts([4, 4, 0], [4, 4, 8])
    theirs = {k: float(np.mean(pass_at_k(seen.c[seen.n >= k], seen.n[seen.n >= k], k))) for k in (4, 8)}
    assert theirs == {4: pytest.approx(2 / 3), 8: 0.0}
    ours = curve(seen, [4, 8], replicates=200)
    assert ours[4].value == pytest.approx(2 / 3) and ours[4].n == 3
    assert np.isnan(ours[8].value) and "2 of 3 have fewer" in ours[8].reason
    with pytest.raises(InputError, match="k: 8 exceeds the samples of 2 of 3 problems"):
        difference(seen, seen, [4, 8])


def test_trap_no_spread_found_by_equality_with_zero() -> None:
    """NeMo-RL asked whether a group's deviation `== 0.0`; that of equal numbers is often 1e-17 instead.

    In a group of rewards it blows rounding up to an advantage (objectives: test_verl, four rewards of 0.7). In a band over k,
    a column in which every problem moved by 0.1 has means that differ in their last bits: their order is noise, and ranking
    it widens the band of the other column as if there were two comparisons.
    """
    assert sum([0.1] * 10) / 10 != 0.1
    moved = np.random.default_rng(0).uniform(-1, 1, 50)
    columns = np.stack([moved, np.full(50, 0.1)], axis=1)
    drawn = resample.draw(columns, replicates=4000)
    constant = drawn.sums[:, 1] / drawn.total
    assert constant.std() != 0.0
    ranked = [(np.argsort(np.argsort(x)) + 0.5) / 4000 for x in (drawn.sums[:, 0] / drawn.total, constant)]
    theirs = np.quantile(np.minimum(*[np.minimum(r, 1 - r) for r in ranked]), 0.05)
    assert theirs == pytest.approx(0.0127, abs=0.0015)
    assert resample.simultaneous_tail(drawn, 0.95) == pytest.approx(0.025, abs=1e-3)  # one comparison, as there is


@pytest.mark.parametrize("kind", ["verl", "table"])
def test_trap_any_reward_above_zero_is_a_success(tmp_path: Path, kind: str) -> None:
    """SkyRL counts every reward > 0 as a pass, so 0.1 for a well-formed wrong answer makes pass@1 equal to 1.

    Here scores other than 0 and 1 are refused until a threshold is declared, and the threshold is said with the counts.
    """
    scores = [0.1, 0.1, 1.0, 0.1]
    assert np.mean([score > 0 for score in scores]) == 1.0
    path = tmp_path / "log.jsonl"
    columns = {"id": "input", "correct": "score"} if kind == "table" else {}
    rows = [{"input": "1+1?", "output": "2", "gts": "2", "score": score, "step": 1} for score in scores]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"score: .* has scores other than 0 and 1 \(0.1\); say from which score on"):
        importers.read(path, reading=importers.Reading(columns=columns))
    found = importers.read(path, reading=importers.Reading(threshold=0.5, columns=columns))
    assert found is not None and found.rule == "score >= 0.5"
    assert [(row.c, row.n) for row in found.rows] == [(1, 4)]


def test_trap_more_samples_on_one_side() -> None:
    """Solved once in 1,024 samples against never in 64: every rare solve is then an expansion.

    One model, twice: by raw counts b solves many problems that a does not; at equal budgets neither side gains.
    """
    generator = np.random.default_rng(0)
    p = generator.beta(0.1, 1, 300)
    a, b = counts(list(generator.binomial(64, p)), 64), counts(list(generator.binomial(1024, p)), 1024)
    raw = int(((a.c == 0) & (b.c > 0)).sum())
    found = support(a, b, replicates=200)
    assert raw > 25 and found.budget == (64, 64)
    assert abs(found.counts["expanded"] - found.counts["shrunk"]) < 10 and found.sign_p > 0.05
