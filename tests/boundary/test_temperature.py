"""Taking temperature out of a difference: known answers, and how often the bands cover."""

from __future__ import annotations

import numpy as np
import pytest

from offleash.boundary import Counts
from offleash.boundary.temperature import Heat, temperatures
from offleash.core import InputError

COLD, WARM = (0.5, 1.0, 1.5, 2.0), (0.5, 1.0, 1.5, 2.0, 3.0)


def heat(rate: np.ndarray, n: int, entropy: float, rng: np.random.Generator) -> Heat:
    ids = tuple(f"p{i}" for i in range(len(rate)))
    return Heat(Counts(ids, rng.binomial(n, rate), np.full(len(rate), n)), entropy)


def model(
    logit: np.ndarray, scale: float, n: int, rng: np.random.Generator, temps: tuple[float, ...]
) -> dict[float, Heat]:
    """Success rates that depend on temperature / scale alone, and so does the entropy."""
    return {t: heat(1 / (1 + np.exp(-(logit * scale / t))), n, t / scale, rng) for t in temps}


def test_a_model_that_is_only_colder() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(-2.0, 2.0, 400)
    a, b = model(logit, 1.0, 128, rng, COLD), model(logit, 1.5, 128, rng, WARM)
    found = temperatures(a, b, k=64, replicates=2000)
    assert found.answer == "only temperature"
    assert found.matched_at == pytest.approx(1.5)
    assert found.plain.at(64)[2] < 0
    assert found.matched is not None
    low, high = found.matched.at(64)[1:]
    assert low < 0 < high


def test_a_model_that_lost_problems_at_every_temperature() -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(-1.0, 2.0, 300)
    lost = np.where(np.arange(300) < 90, -30.0, logit)
    a, b = model(logit, 1.0, 128, rng, COLD), model(lost, 1.5, 128, rng, WARM)
    found = temperatures(a, b, k=64, replicates=2000)
    assert found.answer == "not only temperature"
    assert "at A's token entropy" in found.because


def test_nothing_to_explain() -> None:
    rng = np.random.default_rng(2)
    logit = rng.normal(0.0, 2.0, 200)
    a, b = model(logit, 1.0, 64, rng, COLD), model(logit, 1.0, 64, rng, COLD)
    assert temperatures(a, b, k=32, replicates=2000).answer == "no difference to explain"


def test_a_match_that_cannot_be_made_says_why() -> None:
    rng = np.random.default_rng(3)
    logit = rng.normal(0.0, 2.0, 50)
    a, b = model(logit, 1.0, 32, rng, (1.0,)), model(logit, 4.0, 32, rng, (0.5, 1.0))
    found = temperatures(a, b, k=8, replicates=500)
    assert found.matched is None and np.isnan(found.matched_at)
    assert "sample B warmer" in found.matched_reason
    bare = {1.0: Heat(a[1.0].counts)}
    assert "not recorded" in temperatures(bare, bare, k=8, replicates=500).matched_reason


@pytest.mark.slow
def test_the_best_of_several_noisy_curves_is_not_biased() -> None:
    """B's four temperatures are all alike, so any of them is best; the best on the same problems would look better."""
    rng, covered, cross, plug_in, runs = np.random.default_rng(4), 0, [], [], 300
    for _ in range(runs):
        rate = rng.beta(0.5, 2.0, 60)
        a = {1.0: heat(rate, 32, 1.0, rng)}
        b = {t: heat(rate, 32, 1.0, rng) for t in COLD}
        found = temperatures(a, b, k=1, replicates=500)
        j = found.best.ks.index(1)
        covered += found.best.point_low[j] <= 0.0 <= found.best.point_high[j]
        cross.append(found.best.value[j])
        plug_in.append(max(h.counts.c.mean() / 32 for h in b.values()) - a[1.0].counts.c.mean() / 32)
    error = np.std(cross) / runs**0.5
    assert covered / runs >= 0.93
    assert abs(np.mean(cross)) < 3 * error
    assert np.mean(plug_in) > 5 * error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("reference", "temperature: B has no samples at 1; it has 0.5"),
        ("problems", "no problem was sampled at all temperatures"),
        ("k", "k: 64 exceeds the samples"),
    ],
)
def test_bad_input(change: str, message: str) -> None:
    rng = np.random.default_rng(5)
    logit = rng.normal(0.0, 1.0, 10)
    a = model(logit, 1.0, 32, rng, (1.0,))
    b = {
        "reference": lambda: model(logit, 1.0, 32, rng, (0.5,)),
        "problems": lambda: {1.0: Heat(Counts(("other",), np.array([1]), np.array([32])), 1.0)},
        "k": lambda: model(logit, 1.0, 32, rng, (1.0,)),
    }[change]()
    with pytest.raises(InputError, match=message):
        temperatures(a, b, k=64 if change == "k" else 8)
