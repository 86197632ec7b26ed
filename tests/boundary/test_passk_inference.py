"""Agreement with passk-inference, the one other package with bands for paired pass@k; on its own example too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import passk_inference
import pytest

from offleash.boundary import Counts, compare, difference, load_counts, pass_at_k

EXAMPLE = Path(__file__).parents[1] / "golden" / "passk_inference"


def test_the_estimator_on_random_counts() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = rng.integers(1, 2000, 50)
        c = rng.integers(0, n + 1)
        k = int(rng.integers(1, n.min() + 1))
        assert np.allclose(pass_at_k(c, n, k), passk_inference.pass_at_k(c, n, k), rtol=1e-11, atol=1e-14)


@pytest.fixture(scope="module")
def example() -> tuple[Counts, Counts]:
    return load_counts(EXAMPLE / "base.jsonl"), load_counts(EXAMPLE / "rl.jsonl")


def test_its_own_example(example: tuple[Counts, Counts]) -> None:
    """1,060 problems x 128 of a base and its RL model: both packages certify gain to k = 10 and loss from about 61."""
    a, b = example
    ks = tuple(range(1, 129))
    ours = difference(a, b, ks, seed=0)
    order = [b.ids.index(name) for name in a.ids]
    theirs = passk_inference.compare(a.c, a.n, b.c[order], b.n[order], seed=0)
    assert np.allclose(ours.value, theirs["mean"], atol=1e-12)
    assert (theirs["certified_positive_budgets"], theirs["first_loss_interval"]) == (list(range(1, 11)), [11, 61])
    gain = [k for k, low in zip(ks, ours.low, strict=True) if low > 0]
    loss = [k for k, high in zip(ks, ours.high, strict=True) if high < 0]
    assert gain == list(range(1, gain[-1] + 1)) and abs(gain[-1] - 10) <= 1
    assert loss == list(range(loss[0], 129)) and abs(loss[0] - 61) <= 6
    width = (ours.high - ours.low) / (np.array(theirs["upper"]) - np.array(theirs["lower"]))
    assert width.min() > 0.9 and width.max() < 1.2


def test_the_verdict_of_its_own_example(example: tuple[Counts, Counts]) -> None:
    found = compare(*example)
    assert found.verdict == "shrunk" and found.k == 64
    assert found.crossing is not None and 10 < found.crossing.k < 61
    assert (found.support.counts["expanded"], found.support.counts["shrunk"]) == (12.0, 33.0)


def test_where_all_problems_agree_it_has_no_band_and_here_there_is_one() -> None:
    ids, n = tuple(f"p{i}" for i in range(50)), np.full(50, 64)
    a, b = Counts(ids, np.full(50, 64), n), Counts(ids, np.full(50, 64), n)
    assert passk_inference.compare(a.c, a.n, b.c, b.n, ks=[1, 64])["lower"] == [-1.0, -1.0]
    ours = difference(a, b, (1, 64))
    assert (ours.low > -0.15).all() and (ours.high < 0.15).all() and (ours.low < 0).all()
