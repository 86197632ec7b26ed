"""Training with the preset called at every step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from offleash.core import InputError
from offleash.objectives import get
from offleash.theory.dynamics import fixed_point, mean_path, train
from offleash.theory.expectation import expected_update
from offleash.theory.race import race, table_of
from offleash.theory.worlds import bandit, bandits, logits_of

GRADED = bandit([0.8, 1.0, 0.0])
START = logits_of([[0.3, 0.02, 0.68]])


def test_it_agrees_with_the_fast_simulator_in_distribution():
    """Other streams of luck, one law: means of 60 seeds within 4 standard errors of each other."""
    path = train(get("grpo"), GRADED, START.expand(60, 1, 3), group=4, rate=0.3, steps=40, every=40)
    table = table_of(get("grpo"), GRADED, 4)
    fast = race([table], np.zeros(1, int), START.numpy(), rate=0.3, steps=40, seeds=60).end_SCV[:, 0]
    slow = path.probabilities_ERPM[-1, :, 0].numpy()
    error = np.sqrt((fast.var(0) + slow.var(0)) / 60)
    assert (np.abs(fast.mean(0) - slow.mean(0)) <= 4 * error).all()


def test_replicas_of_one_seed_share_their_luck():
    path = train(get("grpo"), GRADED, START.expand(3, 1, 3), seeds=[5, 5, 6], group=3, rate=0.2, steps=5)
    assert torch.equal(path.logits_RSV[0], path.logits_RSV[1]) and not torch.equal(
        path.logits_RSV[0], path.logits_RSV[2]
    )
    assert path.steps_E == (0, 1, 2, 3, 4, 5)


def test_only_the_chosen_prompts_are_trained():
    world = bandits([[0.0, 1.0], [0.0, 1.0]])
    start = torch.zeros(2, 2, 2, dtype=torch.float64)
    path = train(get("grpo"), world, start, group=4, rate=0.5, steps=10, prompts=[1])
    assert torch.equal(path.logits_RSV[:, 0], start[:, 0])
    assert float(path.probabilities_ERPM[-1, :, 1, 1].min()) > 0.6


def test_shared_features_carry_what_is_learned():
    world = bandits([[0.0, 1.0], [0.0, 1.0]])
    start = torch.zeros(2, 2, 2, dtype=torch.float64)
    both = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]], dtype=torch.float64)
    path = train(get("grpo"), world, start, group=4, rate=0.5, steps=10, prompts=[1], features_DSV=both)
    assert torch.allclose(path.probabilities_ERPM[-1, :, 0], path.probabilities_ERPM[-1, :, 1])
    assert float(path.probabilities_ERPM[-1, :, 0, 1].min()) > 0.6


def test_the_reference_is_the_start_until_it_is_reset():
    more = {"group": 4, "rate": 0.1, "steps": 60, "every": 60}
    objective = get("grpo", kl_beta=5.0, kl_estimator="k2")
    held = train(objective, GRADED, START.expand(4, 1, 3), **more)
    reset = train(objective, GRADED, START.expand(4, 1, 3), reset_every=10, **more)
    moved = [float((p.logits_RSV - START).abs().max()) for p in (held, reset)]
    assert moved[1] > 2 * moved[0]


def test_demonstrations_are_members_of_every_group():
    right = bandit([0.0, 1.0])
    start = logits_of([[1 - 1e-6, 1e-6]]).expand(1, 1, 2)
    taught = train(get("sft"), right, start, group=2, rate=1.0, steps=30, demonstrations=[1])
    assert float(taught.probabilities_ERPM[-1, 0, 0, 1]) > 0.9


def test_the_mean_path_and_its_rest():
    objective = get("rloo", kl_beta=1.0, kl_estimator="k2")
    path = mean_path(objective, GRADED, START, group=2, rate=0.5, steps=100, every=50)
    rest = fixed_point(objective, GRADED, START, group=2, rate=0.5)
    assert float(expected_update(objective, GRADED, rest, 2, reference_SV=START).abs().max()) < 1e-10
    near = (path.probabilities_ERPM[-1, 0, 0] - rest[0].softmax(0)).abs().max()
    assert float(near) < 0.05 and path.steps_E == (0, 50, 100)


def test_what_remembers_is_refused():
    with pytest.raises(InputError, match="remembers"):
        train(get("skywork-or1"), GRADED, START[None], group=4, rate=0.1, steps=1)


def test_no_rest_names_the_mend(monkeypatch):
    monkeypatch.setattr("offleash.theory.dynamics.TRIES", 1)
    with pytest.raises(InputError, match="rate: rloo is not at rest"):
        fixed_point(get("rloo"), GRADED, START, group=2, rate=1e-3, follow=1, tolerance=1e-300)
