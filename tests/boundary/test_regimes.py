"""Boundary regimes: synthetic Bernoulli curves of each regime get their label, and what the rule does at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from offleash.boundary import Counts, pass_at_k, regime
from offleash.boundary.regimes import contrasts, labels
from offleash.core import InputError

Floats = NDArray[np.float64]
P, N, K, DRAWS = 120, 64, 64, 1000

# Shares of problems with success rates 0, .02 and .9 for (base, mid, final); their pass@64 is 0, .73 and 1.
CURVES = {
    "diminish": ((0.1, 0.7, 0.2), (0.35, 0.25, 0.4), (0.55, 0.05, 0.4)),
    "plateau": ((0.6, 0.3, 0.1), (0.3, 0.2, 0.5), (0.3, 0.2, 0.5)),
    "sustained": ((0.7, 0.3, 0.0), (0.5, 0.2, 0.3), (0.2, 0.3, 0.5)),
}
CHURN = 0.15  # of the problems find a new place in each model: some are lost and some gained whatever the shares do


def passes(generator: np.random.Generator, shares: tuple[tuple[float, ...], ...]) -> list[Floats]:
    """Three (P, DRAWS) tables of pass@K; a problem mostly keeps its rank among the models."""
    rank = generator.random((P, DRAWS))
    out = []
    for share in shares:
        rank = np.where(generator.random((P, DRAWS)) < CHURN, generator.random((P, DRAWS)), rank)
        rate = np.array([0.0, 0.02, 0.9])[np.searchsorted(np.cumsum(share)[:2], rank)]
        out.append(pass_at_k(generator.binomial(N, rate), N, K))
    return out


@pytest.mark.parametrize("name", CURVES)
def test_synthetic_curves_get_their_label(name: str) -> None:
    """At least 95% of 1,000 draws of 120 problems x 64 samples, judged at k = 64."""
    base, mid, final = passes(np.random.default_rng(0), CURVES[name])
    found = labels(*contrasts(base, mid, final, replicates=2000))
    assert found.count(name) / DRAWS >= 0.95  # type: ignore[arg-type]


def test_nothing_changed_is_undecided() -> None:
    shares = CURVES["plateau"][1]
    found = labels(*contrasts(*passes(np.random.default_rng(1), (shares, shares, shares)), replicates=2000))
    assert found.count("undecided") / DRAWS >= 0.95


def test_the_rule_at_its_edges() -> None:
    def rule(mid_base: tuple[float, float], final_mid: tuple[float, float], final_base: tuple[float, float]) -> str:
        ends = np.array([mid_base, final_mid, final_base])
        return labels(ends.mean(axis=1, keepdims=True), ends[:, :1], ends[:, 1:])[0]

    assert rule((0.1, 0.2), (-0.4, -0.3), (-0.2, -0.1)) == "diminish"
    assert rule((-0.4, -0.3), (0.1, 0.2), (-0.2, -0.1)) == "diminish"  # a partial recovery is no sustained rise
    assert rule((-0.3, -0.1), (0.1, 0.2), (-0.2, 0.1)) == "undecided"
    assert rule((0.1, 0.2), (0.01, 0.2), (0.2, 0.3)) == "sustained"
    assert rule((0.1, 0.2), (0.0, 0.2), (0.2, 0.3)) == "plateau"
    assert rule((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1)) == "undecided"  # it rose and fell back
    assert rule((-0.1, 0.2), (-0.1, 0.1), (-0.1, 0.2)) == "undecided"


def counts(rates: Floats, n: int, seed: int) -> Counts:
    drawn = np.random.default_rng(seed).binomial(n, rates)
    return Counts(tuple(f"p{i:03d}" for i in range(len(rates))), drawn, np.full(len(rates), n))


def test_one_task() -> None:
    base, mid, final = (np.repeat([0.0, 0.3], [zeros, 100 - zeros]) for zeros in (70, 40, 10))
    got = regime(counts(base, 70, 0), counts(mid, 64, 1), counts(final, 100, 2))
    assert got.label == "sustained" and got.k == 64  # the largest power of two that 64 samples allow
    assert got.mid_base.value == pytest.approx(0.3) and got.final_mid.value == pytest.approx(0.3)
    assert "pass@64 over 100 problems, 95% intervals together: mid - base +0.300 [" in got.because
    back = regime(counts(final, 64, 2), counts(mid, 64, 1), counts(base, 64, 0), k=32)
    assert back.label == "diminish" and back.k == 32


def test_refused() -> None:
    a, b = counts(np.full(5, 0.5), 8, 0), counts(np.full(4, 0.5), 8, 0)
    with pytest.raises(InputError, match="mid: other problems than base"):
        regime(a, b, a)
    with pytest.raises(InputError, match=r"k: 16 exceeds .* .least n is 8.; ask for k <= 8"):
        regime(a, a, a, k=16)
    with pytest.raises(InputError, match="level: 95"):
        regime(a, a, a, level=95.0)
    with pytest.raises(InputError, match=r"give \(P, K\), all alike"):
        contrasts(np.zeros((3, 1)), np.zeros((3, 2)), np.zeros((3, 1)))
    empty = Counts(("a",), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    with pytest.raises(InputError, match="k: 1 exceeds the samples"):
        regime(empty, empty, empty)
