"""The fast simulator takes the preset's own steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from offleash.core import InputError, rng
from offleash.objectives import get
from offleash.theory.expectation import multisets
from offleash.theory.measures import probabilities
from offleash.theory.race import race, table_of
from offleash.theory.updates import update
from offleash.theory.worlds import bandit, logits_of, lottery, sequences

GRADED = bandit([0.8, 1.0, 0.0])
START = logits_of([[0.3, 0.02, 0.68]])
BINARY_ONLY = ("nsr", "psr", "w-reinforce", "pass-at-k", "max-rl", "pkpo", "qae")


def world_for(name):
    return bandit([0.0, 1.0, 0.0]) if name in BINARY_ONLY else GRADED


@pytest.mark.parametrize("name", ["grpo", "dr-grpo", "dapo", "gspo", "cispo", "grpo-n", "gspo-n", "rloo", *BINARY_ONLY])
def test_a_look_up_is_the_gradient_on_the_same_group(name):
    """Every group of five, at a policy of its own."""
    world, group = world_for(name), 5
    table = table_of(get(name), world, group)
    groups = multisets(3, group)
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (len(groups), 1, 3)))
    expected = update(get(name), world, logits, groups[:, None])[:, 0].numpy()
    weights = table.weights_KV[table.code(torch.nn.functional.one_hot(groups, 3).sum(1).numpy())]
    got = weights - logits[:, 0].softmax(1).numpy() * weights.sum(1, keepdims=True)
    np.testing.assert_allclose(got, expected, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo", "grpo-n"])
def test_a_run_is_the_presets_run(name):
    """Thirty steps under three seeds, drawn from the same stream, each by the preset's loss."""
    group, rate, steps = 4, 0.3, 30
    raced = race([table_of(get(name), GRADED, group)], np.zeros(1, int), START.numpy(), rate=rate, steps=steps, seeds=3)
    for seed in range(3):
        luck, logits = rng.stream("theory race", seed).random((steps, group)), START.clone()
        for row in luck:
            edges = probabilities(GRADED, logits)[0].cumsum(0)
            drawn = torch.searchsorted(edges, torch.from_numpy(row), right=True)
            logits = logits + rate * update(get(name), GRADED, logits[None], drawn[None, None])[0]
        np.testing.assert_allclose(raced.end_SCV[seed, 0], logits[0].softmax(0).numpy(), rtol=1e-9)


def test_a_lottery_draws_successes_at_their_rate():
    world = lottery([[1.0, 0.3, 0.0]], honest=[True, False, False])
    table = table_of(get("rloo"), world, 4)
    start = logits_of([[0.1, 0.6, 0.3]]).numpy()
    raced = race([table], np.zeros(1, int), start, rate=1e-6, steps=1, seeds=4000)
    moved = np.log(raced.end_SCV[:, 0]) - np.log(np.exp(start))
    mean, error = moved.mean(0) / 1e-6, moved.std(0) / 1e-6 / np.sqrt(len(moved))
    pi, r = np.exp(start[0]), np.array([1.0, 0.3, 0.0])
    dz = pi * (r - pi @ r)
    assert (np.abs(mean - (dz - pi @ dz)) <= 4 * error).all()


def test_a_setting_does_not_see_its_neighbours():
    table = table_of(get("grpo"), GRADED, 3)
    starts = np.concatenate([START.numpy(), logits_of([[0.2, 0.2, 0.6]]).numpy()])
    both = race([table], np.zeros(2, int), starts, rate=0.1, steps=300, seeds=4, target=1, every=100)
    alone = race([table], np.zeros(1, int), starts[1:], rate=0.1, steps=300, seeds=4, target=1, every=100)
    np.testing.assert_array_equal(both.end_SCV[:, 1:], alone.end_SCV)
    assert both.steps_E == (0, 100, 200, 300) and both.final_ESCV.shape == (4, 4, 2, 3)


def test_blocks_and_chunks_leave_no_trace(monkeypatch):
    table = table_of(get("grpo"), GRADED, 3)
    args = ([table], np.zeros(3, int), np.repeat(START.numpy(), 3, 0))
    whole = race(*args, rate=0.1, steps=100, seeds=2)
    monkeypatch.setattr("offleash.theory.race.BLOCK", 7)
    monkeypatch.setattr("offleash.theory.race.CELLS", 2)
    np.testing.assert_array_equal(race(*args, rate=0.1, steps=100, seeds=2).end_SCV, whole.end_SCV)


def test_found_is_the_first_step_above_a_half():
    table = table_of(get("grpo"), bandit([0.0, 1.0]), 4)
    raced = race([table], np.zeros(1, int), np.zeros((1, 2)), rate=0.5, steps=40, seeds=3, target=1, every=1)
    for seed in range(3):
        path = raced.final_ESCV[:, seed, 0, 1]
        assert raced.found_SC[seed, 0] == np.flatnonzero(path > 0.5)[0]


@pytest.mark.parametrize("more", [{"kl_beta": 0.1}, {"entropy_coef": 0.1}])
def test_what_depends_on_the_policy_is_refused(more):
    with pytest.raises(InputError, match=r"use dynamics\.train"):
        table_of(get("grpo", **more), GRADED, 3)


def test_sequences_are_refused():
    with pytest.raises(InputError, match="one token"):
        table_of(get("grpo"), sequences(2, 2, lambda y: True), 3)
