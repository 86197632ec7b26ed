"""Numbers of the literature on how completions are compared. "As computed": worked out from the cited formula by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from offleash.core import InputError
from offleash.objectives import GroupBatch, get
from offleash.objectives.advantages import r3

ROUNDED = 5e-4
"""The numbers are given to three or four digits."""


def rows(values: list[list[float]]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rewards(*values: float) -> torch.Tensor:
    return rows([list(values)])


def ids(*values: int) -> torch.Tensor:
    return torch.tensor([values])


def one(name: str, group: GroupBatch | torch.Tensor, **overrides: Any) -> list[float]:
    """Advantages of a single group."""
    adv: list[float] = get(name, **overrides).advantages(group)[0].tolist()
    return adv


# ------------------------------------------------------------------------------------------------ statistics of the batch


@pytest.mark.parametrize(
    ("group", "mean_only", "population", "sample"),
    [(8, 0.875, 2.646, 2.475), (16, 0.938, 3.873, 3.750), (32, 0.969, 5.568, 5.480)],
)
def test_one_success_in_a_group(group: int, mean_only: float, population: float, sample: float) -> None:
    """1 - 1/G with Dr.GRPO (arXiv 2503.20783), sqrt(G - 1) with numpy's deviation, less with torch's. As computed."""
    lone = rewards(1, *[0] * (group - 1))
    assert one("dr-grpo", lone)[0] == pytest.approx(mean_only, abs=ROUNDED)
    assert one("grpo", lone, std="population")[0] == pytest.approx(population, abs=ROUNDED)
    assert one("grpo", lone, std="sample")[0] == pytest.approx(sample, abs=ROUNDED)
    assert one("pass-at-k", lone, pass_k=1) == pytest.approx(one("grpo", lone, std="population"), abs=1e-9)


def test_reinforce_plus_plus_baseline() -> None:
    """R = 1, 0, 0, 0 of lengths 10 to 40: over tokens mean -0.15 and variance 0.09 (arXiv 2501.03262, as in ProRL v2;
    as computed). Over completions it would be 1.732 and -0.577."""
    group = GroupBatch(rewards_PG=rewards(1, 0, 0, 0), lengths_PG=ids(10, 20, 30, 40))
    adv = one("reinforce++-baseline", group)
    assert adv == pytest.approx([3.0, -1 / 3, -1 / 3, -1 / 3], abs=1e-9)
    assert 10 * adv[0] + 20 * adv[1] + 30 * adv[2] + 40 * adv[3] == pytest.approx(0.0, abs=1e-9)
    samples = one("reinforce++-baseline", group, weight="samples")
    assert samples == pytest.approx([1.732, -0.577, -0.577, -0.577], abs=ROUNDED)


def test_deviation_of_the_batch_in_scale_rl() -> None:
    """Groups 1, -1, -1, -1 and 1, 1, 1, -1: centred, then divided by one deviation, the population's (arXiv 2510.13786,
    as computed). A group whose rewards are equal is dropped before, though its mean is within 0 and 1."""
    groups = rows([[1, -1, -1, -1], [1, 1, 1, -1]])
    expected = rows([[1.732, -0.577, -0.577, -0.577], [0.577, 0.577, 0.577, -1.732]])
    assert torch.allclose(get("scale-rl").advantages(groups), expected, atol=ROUNDED)
    with_flat = get("scale-rl").advantages(torch.cat([groups, rows([[1, 1, 1, 1]])]))
    assert torch.allclose(with_flat[:2], expected, atol=ROUNDED)
    assert (with_flat[2] == 0).all()


# ---------------------------------------------------------------------------------------------------------------- pass@k


@pytest.mark.parametrize(
    ("right", "total", "k", "positive", "negative"),
    [
        (1, 8, 1, 2.6458, -0.3780),
        (1, 8, 4, 1.0, -0.1429),
        (3, 8, 4, 0.2774, -0.1664),
        (4, 8, 4, 0.1204, -0.1204),
        (5, 8, 4, 0.0, 0.0),
        (16, 32, 4, 0.2309, -0.2309),
    ],
)
def test_pass_at_k_training(right: int, total: int, k: int, positive: float, negative: float) -> None:
    """arXiv 2508.10751 and RUCAIBox/Passk_Training, passk_adv.py; as computed, by enumeration of the k-subsets."""
    adv = one("pass-at-k", rewards(*[1] * right, *[0] * (total - right)), pass_k=k)
    assert adv[:right] == pytest.approx([positive] * right, abs=1e-4)
    assert adv[right:] == pytest.approx([negative] * (total - right), abs=1e-4)


def test_pass_at_k_sums_to_0_and_is_0_where_no_k_can_be_wrong() -> None:
    """N_pos A_pos + N_neg A_neg = 0; no gradient for N_neg < k (arXiv 2508.10751, as computed)."""
    for k in (1, 2, 4, 8):
        for right in range(9):
            adv = one("pass-at-k", rewards(*[1] * right, *[0] * (8 - right)), pass_k=k)
            assert sum(adv) == pytest.approx(0.0, abs=1e-9)
            assert any(adv) == (8 - right >= k and right > 0)


@pytest.mark.parametrize(("k", "peak"), [(1, 16), (2, 12), (4, 8), (8, 4)])
def test_where_pass_at_k_moves_a_group_the_most(k: int, peak: int) -> None:
    """Of 32 samples, the number of right ones at which sum |A| is largest (arXiv 2508.10751, as computed)."""
    groups = rows([[1.0] * right + [0.0] * (32 - right) for right in range(33)])
    assert get("pass-at-k", pass_k=k).advantages(groups).abs().sum(1).argmax().item() == peak


def test_pass_at_k_refuses_a_reward_of_minus_1() -> None:
    """The released code leaves it and takes it for an advantage: -1 for each of 7 failures, not -0.1429. As computed."""
    with pytest.raises(InputError, match="row 0, sample 1 is -1"):
        one("pass-at-k", rewards(1, *[-1] * 7), pass_k=4)


# ------------------------------------------------------------------------------------------------ likelihood and diversity


def test_unlikeliness() -> None:
    """Ranks 3, 0, 1, 2 of mean log-probs, rewards 0.8125, 1, 0, 0 (arXiv 2506.02355 and its released code's
    _compute_advantages; as computed)."""
    group = GroupBatch(rewards_PG=rewards(1, 1, 0, 0), mean_logprobs_PG=rewards(-0.1, -0.9, -0.5, -0.2))
    assert one("unlikeliness", group, std="none") == pytest.approx(
        [r - 0.453125 for r in (0.8125, 1.0, 0.0, 0.0)], abs=1e-6
    )
    assert one("unlikeliness", group) == pytest.approx([0.680, 1.034, -0.857, -0.857], abs=ROUNDED)


def test_unlikeliness_in_a_group_that_is_right_throughout() -> None:
    """Skipped as released; else the deviation blows a discount of 25% up to 1.16 (arXiv 2506.02355, as computed)."""
    group = GroupBatch(rewards_PG=rewards(1, 1, 1, 1), mean_logprobs_PG=rewards(-0.1, -0.9, -0.5, -0.2))
    assert one("unlikeliness", group) == [0.0] * 4
    blown = one("unlikeliness", group, skip_equal=False)
    assert blown == pytest.approx([-1.162, 1.162, 0.387, -0.387], abs=ROUNDED)


def test_collisions_of_answers() -> None:
    """b = -(1/n) |others with the same answer|: x, x, x, y give -1/2, -1/2, -1/2, 0 (arXiv 2509.06941, as computed)."""
    group = GroupBatch(rewards_PG=rewards(0, 0, 0, 0), answers_PG=ids(7, 7, 7, 2))
    assert one("outcome-batch", group) == [-0.5, -0.5, -0.5, 0.0]
    mixed = replace(group, rewards_PG=rewards(1, 1, 1, 0))
    bonus = [a - b for a, b in zip(one("outcome-batch", mixed), one("grpo", mixed.rewards_PG), strict=True)]
    assert bonus == pytest.approx([-0.5, -0.5, -0.5, 0.0], abs=1e-9)
    assert one("outcome-batch", replace(group, rewards_PG=rewards(1, 1, 1, 1))) == [0.0] * 4


def test_bonus_for_rarely_visited_answers() -> None:
    """b - 1/2 after 1, 2, 4 and 9 visits: 0.5, 0.207, 0, -0.167 (arXiv 2509.06941, UCB-Con; as computed)."""
    objective, state, seen = get("outcome-ucb"), None, []
    for new in (1, 1, 2, 5):  # times the answer 3 is given; the reward is 0, so the bonus is all there is
        answers = ids(*[3] * new, 4)
        group = GroupBatch(rewards_PG=torch.zeros(1, new + 1), answers_PG=answers, prompts=("p",))
        group, state = objective.prepare(group, state)
        seen.append(objective.advantages(group)[0, 0].item())
    assert seen == pytest.approx([0.5, 0.207, 0.0, -0.167], abs=ROUNDED)
    other, _ = objective.prepare(GroupBatch(rewards_PG=torch.zeros(1, 2), answers_PG=ids(3, 4), prompts=("q",)), state)
    assert objective.advantages(other).tolist() == [[0.5, 0.5]]  # another prompt's visits are its own


def test_diversity_of_clusters() -> None:
    """(n - |cluster|) / (n - 1) of clusters of 5, 2 and 1: 3/7, 6/7, 1; of 8 in one: 0.1 (arXiv 2509.02534 and
    facebookresearch/darling; as computed). The first completion is wrong, so the others stand that much above it."""
    for clusters, unlike in (
        ((0, 0, 0, 0, 0, 1, 1, 2), [3 / 7] * 4 + [6 / 7] * 2 + [1.0]),
        ((0,) * 8, [0.1] * 7),
    ):
        group = GroupBatch(rewards_PG=rewards(0, *[1] * 7), clusters_PG=ids(*clusters))
        adv = one("darling", group)
        assert [a - adv[0] for a in adv[1:]] == pytest.approx(unlike, abs=1e-6)


# -------------------------------------------------------------------------------------------------------- quantiles, risk


@pytest.mark.parametrize(
    ("right", "total", "quantile", "interpolation", "baseline"),
    [
        (4, 8, 0.4, "inverted-cdf", 0.0),
        (5, 8, 0.4, "inverted-cdf", 1.0),
        (6, 8, 0.4, "inverted-cdf", 1.0),
        (3, 8, 0.6, "inverted-cdf", 0.0),
        (4, 8, 0.6, "inverted-cdf", 1.0),
        (3, 5, 0.4, "inverted-cdf", 0.0),  # p = 1 - K itself
        (4, 10, 0.6, "inverted-cdf", 0.0),
        (5, 10, 0.6, "inverted-cdf", 1.0),
        (5, 8, 0.4, "linear", 0.8),
        (3, 8, 0.6, "linear", 0.2),
    ],
)
def test_quantile_baseline(right: int, total: int, quantile: float, interpolation: str, baseline: float) -> None:
    """0 while p <= 1 - K, else 1; numpy's default lies between (arXiv 2509.22611, as computed)."""
    group = rewards(*[1] * right, *[0] * (total - right))
    settings = {"quantile": quantile, "interpolation": interpolation}
    assert one("qae", group, std="none", **settings) == pytest.approx((group[0] - baseline).tolist(), abs=1e-6)
    if interpolation == "inverted-cdf":
        moved = [a != 0 for a in one("qae", group, **settings)]
        assert moved == [(r == 1) == (baseline == 0) for r in group[0].tolist()]


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("range", [-5, -5, -3.333, -1.667, 0, 0]),
        ("tail", [-5, 0, 0, 0, 0, 0]),
        ("mixed", [-5, -2, -1.333, -0.667, 0, 0]),
    ],
)
@pytest.mark.parametrize("tracking", ["batch", "tracked", "mix"])
def test_risk_of_a_bundle(measure: str, expected: list[float], tracking: str) -> None:
    """Bundles of 5 questions that score 0 to 5, whose quantiles at 0.2 and 0.8 are 1 and 4, natural baseline on
    (RTkenny/RiskPO, core_algos.py; as computed). A tracked quantile that does not move stays at the first batch's."""
    papers = torch.tensor([[float(question < score) for score in range(6)] for question in range(5)])
    settings = {"risk_measure": measure, "tracking": tracking, "quantile_rate": 0.0, "std": "none"}
    objective = get("riskpo", **settings)
    group, _ = objective.prepare(GroupBatch(rewards_PG=papers.double()))
    adv = objective.advantages(group)
    assert torch.allclose(adv, rows([expected]).expand(5, 6), atol=ROUNDED)
    assert (adv <= 0).all()  # nothing is reinforced directly


def test_a_tracked_quantile_moves_to_its_level() -> None:
    """q += 0.1 (level - share of scores below q) (RTkenny/RiskPO; as computed): from 1 by 0.1 (0.2 - 1/6), then on."""
    objective = get("riskpo", bundle_size=1, tracking="tracked", risk_measure="tail", std="none")
    scores, low, state = rewards(0, 1, 2, 3, 4, 5), 1.0, None
    for share in (1 / 6, 2 / 6, 1 / 6):  # 1 is below 1.00333, and not below 0.99
        group, state = objective.prepare(GroupBatch(rewards_PG=scores), state)
        low += 0.1 * (0.2 - share)
        assert objective.advantages(group)[0, 0].item() == pytest.approx(-low / 0.2, abs=1e-9)


# ------------------------------------------------------------------------------------------------------- steps, references


def steps(**changes: Any) -> GroupBatch:
    """Four trajectories of one step: three of one tag with rewards 1, 0, 0, and one alone with its tag."""
    group = GroupBatch(
        rewards_PG=rewards(1, 1, 0, 0),
        step_rewards_PGS=rows([[1, 0, 0, 1]])[..., None],
        step_tags_PGS=ids(2, 2, 2, 1)[..., None],
        step_mask_PGS=ids(1, 1, 1, 1)[..., None] == 1,
    )
    return replace(group, **changes)


def test_tagged_steps() -> None:
    """A_traj = 1, 1, -1, -1 (0.866 with torch's deviation), A_MR = 1.414, -0.707, -0.707, half of each: 1.207 for a
    winner's rewarded step (arXiv 2507.22844, as computed)."""

    def found(**settings: Any) -> list[float]:
        return [step for (step,) in get("rlvmr", **settings).advantages(steps())[0].tolist()]

    only = {"step_weight": 0.0, "trajectory_weight": 1.0}
    assert found(**only) == pytest.approx([1, 1, -1, -1], abs=1e-5)
    assert found(**only, std="sample") == pytest.approx([0.866, 0.866, -0.866, -0.866], abs=ROUNDED)
    parts = {"step_weight": 1.0, "trajectory_weight": 0.0}
    assert found(**parts) == pytest.approx([1.414, -0.707, -0.707, 0.0], abs=ROUNDED)
    assert found()[0] == pytest.approx(1.207, abs=ROUNDED)


def test_a_step_alone_with_its_tag() -> None:
    """0 by default, its raw reward as released (arXiv 2507.22844 and its code), whatever the other groups do."""
    parts = {"step_weight": 1.0, "trajectory_weight": 0.0}
    for singleton, expected in (("zero", 0.0), ("reward", 1.0)):
        adv = get("rlvmr", **parts, singleton=singleton).advantages(steps())
        assert adv[0, 3, 0].item() == expected
    released = get("rlvmr", trajectory_weight=1.0, step_weight=1.0, std="none", singleton="reward")
    assert released.advantages(steps())[0, :, 0].tolist() == pytest.approx(
        [0.5 + 2 / 3, 0.5 - 1 / 3, -0.5 - 1 / 3, 0.5]
    )


def reference(*later: list[float]) -> GroupBatch:
    return GroupBatch(
        rewards_PG=torch.zeros(1, len(later), dtype=torch.float64),
        reference_logprobs_PGR=rows(list(later))[None],
        masked_logprobs_PR=rewards(-0.2, -2.5, -0.1),
        reference_mask_PR=torch.ones(1, 3, dtype=torch.bool),
    )


def reward_of(group: GroupBatch, token_weight: str = "deviation") -> torch.Tensor:
    after, without = group.require("reference_logprobs_PGR"), group.require("masked_logprobs_PR")
    return r3(after, without, group.require("reference_mask_PR"), group.decided_PG, token_weight)[0]


def test_reasoning_reflection_reward() -> None:
    """Deviations 0, 0.9, 0 of a reference's three tokens: R3 = 0.45, 2.07, unweighted 0.6, 2.4 (arXiv 2506.13351 v1, as
    computed)."""
    group = reference([-0.1, -2.0, -0.1], [-0.1, -0.2, -0.1])
    assert reward_of(group).tolist() == pytest.approx([0.45, 2.07], abs=1e-9)
    assert reward_of(group, "uniform").tolist() == pytest.approx([0.6, 2.4], abs=1e-9)
    assert one("dro", group, std="none") == pytest.approx([-0.81, 0.81], abs=1e-9)


@pytest.mark.parametrize("constant", [0.1, -math.pi, 30.0])
def test_a_reference_token_that_no_completion_changes_counts_for_nothing(constant: float) -> None:
    """Any constant at a token of deviation 0 leaves R3 (arXiv 2506.13351 v1, derived from the formula)."""
    tokens = [[-0.1, -2.0, -0.1], [-0.1, -0.2, -0.1], [-0.1, -1.0, -0.1]]
    before, after = reference(*tokens), reference(*([first + constant, *rest] for first, *rest in tokens))
    assert torch.equal(reward_of(before), reward_of(after))
    moved = reward_of(after, "uniform") - reward_of(before, "uniform")
    assert torch.allclose(moved, torch.full_like(moved, constant))
