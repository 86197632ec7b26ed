"""Rows against verl, the reference implementation of many papers: its own numbers, as tests/golden/verl stores them.

Every case names the row and the settings under which the two are equal. What verl does otherwise by design is said beside
the case; what it has and this package has not is in NO_ROW.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives import PRESETS, Denominator, GroupBatch, Objective, TokenBatch, get
from offleash.objectives.checks.example import gradient
from offleash.objectives.oracles import COMPARED
from offleash.objectives.regularizers import k2, k3

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "verl" / "verl_0_9_1.json").read_text())
INPUTS = GOLDEN["inputs"]
MASK = torch.tensor(INPUTS["mask"], dtype=torch.bool)
REWARDS = torch.tensor(INPUTS["rewards"], dtype=torch.float64)
TOLERANCE = 1e-9
# verl adds 1e-8 to the lengths and counts of its means, and to the variance it whitens with.
VERL_EPSILON = 1e-8

Settings = dict[str, Any]


def cases(rows: dict[str, tuple[str, Settings]]) -> list[Any]:
    """Test parameters; a row that PRESETS lacks shows as skipped."""
    return [
        pytest.param(
            name, row, settings, id=name, marks=pytest.mark.skipif(row not in PRESETS, reason=f"there is no row {row}")
        )
        for name, (row, settings) in rows.items()
    ]


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def token_batch(**changed: Any) -> TokenBatch:
    batch = TokenBatch(
        logprobs=double(INPUTS["logprobs"]),
        mask=MASK,
        advantages=double(INPUTS["advantages"]),
        vocab_size=11,
        old_logprobs=double(INPUTS["old_logprobs"]),
        ref_logprobs=double(INPUTS["ref_logprobs"]),
        group_ids=torch.arange(len(MASK)) // REWARDS.shape[1],
    )
    return replace(batch, **changed)


def check(
    objective: Objective, batch: TokenBatch, expected: dict[str, Any], denominator: Denominator | None = None
) -> None:
    """Loss and gradient; of a whole step, unless a denominator is given."""
    if expected["loss_agg_mode"] == "seq-mean-token-mean":
        # The loss is proportional to A, so the 1e-8 that verl adds to a completion's length can go in there.
        length_N = batch.mask.sum(1).double()
        batch = replace(batch, advantages=batch.advantages * length_N / (length_N + VERL_EPSILON))
    denominator = objective.denominator(batch.mask) if denominator is None else denominator
    loss, grad, _, _ = gradient(objective, batch, denominator)
    assert loss.item() == pytest.approx(expected["loss"], rel=TOLERANCE, abs=TOLERANCE)
    assert torch.allclose(grad, double(expected["grad"]), rtol=TOLERANCE, atol=TOLERANCE)
    assert bool((grad != 0).any())


def test_the_inputs_meet_every_bound() -> None:
    batch = token_batch()
    rho = batch.log_ratio_NT.exp()
    for sign in (-1, 1):
        here = rho[MASK & (sign * batch.advantages[:, None] > 0)]
        assert min((here < 0.8).sum(), ((here > 0.8) & (here < 1.2)).sum(), (here > 1.28).sum()) >= 3
    assert (rho[MASK & (batch.advantages[:, None] < 0)] > 3.0).any()
    assert (MASK.sum(1) == 0).any() and (MASK.sum(1) == 7).any()


# ----------------------------------------------------------------------------------------------------------- advantages

ADVANTAGES: dict[str, tuple[str, Settings]] = {
    "grpo": ("grpo", {}),
    "grpo, no std": ("dr-grpo", {}),
    "rloo": ("rloo", {}),
    "rloo_vectorized": ("rloo", {}),
}
# Whitened over the tokens of the batch: long completions weigh more in mean and variance.
WHITENED: dict[str, tuple[str, Settings]] = {
    "reinforce_plus_plus": ("reinforce++", {}),
    "reinforce_plus_plus_baseline": ("reinforce++-baseline", {}),
}


def row_advantages(objective: Objective) -> Tensor:
    """One number a completion, as N x 1."""
    group = GroupBatch(rewards_PG=REWARDS)
    if "lengths_PG" in objective.group_needs:
        group = replace(group, lengths_PG=MASK.sum(1).view_as(REWARDS))
    group, _ = objective.prepare(group)
    return objective.advantages(group).flatten()[:, None]


@pytest.mark.parametrize(("name", "row", "settings"), cases(ADVANTAGES))
def test_advantages(name: str, row: str, settings: Settings) -> None:
    expected = double(GOLDEN["advantages"][name]["advantages"])
    adv = torch.where(MASK, row_advantages(get(row, **settings)), 0.0)
    assert torch.allclose(adv, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(("name", "row", "settings"), cases(WHITENED))
def test_whitened_advantages(name: str, row: str, settings: Settings) -> None:
    """verl's variance divides by n - 1 and has 1e-8 added; that of the rows divides by n, and 1e-8 is its floor."""
    centred = REWARDS - REWARDS.mean(1, keepdim=True) if row.endswith("baseline") else REWARDS
    tokens = centred.flatten().repeat_interleave(MASK.sum(1))
    scale = (tokens.var(correction=0) / (tokens.var(correction=1) + VERL_EPSILON)).sqrt()
    expected = double(GOLDEN["advantages"][name]["advantages"])
    adv = torch.where(MASK, scale * row_advantages(get(row, **settings)), 0.0)
    assert torch.allclose(adv, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_gpg_weighs_the_centred_reward_by_the_share_of_rewards_that_are_not_zero() -> None:
    # N / (number of rewards that are not 0), in float32.
    alpha = (torch.tensor(REWARDS.numel()) / torch.count_nonzero(REWARDS)).double()
    expected = double(GOLDEN["advantages"]["gpg"]["advantages"])
    assert torch.allclose(torch.where(MASK, alpha * row_advantages(get("dr-grpo")), 0.0), expected, atol=TOLERANCE)


def test_the_vectorized_grpo_of_verl_rounds_to_single_precision() -> None:
    expected = double(GOLDEN["advantages"]["grpo_vectorized"]["advantages"])
    adv = torch.where(MASK, row_advantages(get("grpo")), 0.0)
    equal = torch.zeros_like(MASK)
    equal[8:12] = True  # the third group: four rewards of 0.7
    assert torch.allclose(adv[~equal], expected[~equal], rtol=2e-6, atol=2e-6)
    # There the mean is off by half a unit in the last place, and 1e-6 divides it: 0.012 in place of 0.
    assert (adv[equal] == 0).all()
    assert expected[equal & MASK].tolist() == pytest.approx([0.0119209] * int((equal & MASK).sum()), abs=1e-6)


def test_a_group_of_one_is_an_error_here() -> None:
    # verl takes mean 0 and deviation 1 there, so that the advantage is the reward.
    with pytest.raises(InputError, match="num_generations"):
        get("grpo").advantages(double([[0.5], [1.0]]))


# --------------------------------------------------------------------------------------------------------------- losses

CLIP = {"epsilon_low": 0.2, "epsilon_high": 0.28}
# verl clips negative advantages at rho = 3 unless told otherwise; the rows have no dual clip.
DUAL = {**CLIP, "dual_clip": 3.0}
BAND = {"clip_cov_low": 0.2}

LOSSES: dict[str, tuple[str, Settings]] = {
    "vanilla, token-mean": ("dapo", {"dual_clip": 3.0}),
    "vanilla, token-sum": ("grpo", {**DUAL, "reduction": "constant-sum", "constant_length": 1}),
    "vanilla, seq-mean-token-sum": ("grpo", {**DUAL, "reduction": "sequence-sum"}),
    "vanilla, seq-mean-token-mean": ("grpo", DUAL),
    # Without loss_scale_factor verl divides by the padded width of the batch; it is a setting here.
    "vanilla, seq-mean-token-sum-norm": ("dr-grpo", {**DUAL, "constant_length": MASK.shape[1]}),
    "vanilla, constant length": ("dr-grpo", {**DUAL, "constant_length": 9}),
    "vanilla, no dual clip": ("dapo", {}),
    "vanilla, dual clip 1.5": ("grpo", {"dual_clip": 1.5}),
    # verl has the token form alone; with one advantage a completion the two have one gradient.
    "gspo": ("gspo", {}),
    "gspo, wide": ("gspo", {"epsilon_low": 0.1, "epsilon_high": 0.1}),
    "gspo, token-mean": ("gspo", {"epsilon_low": 0.1, "epsilon_high": 0.1, "reduction": "token-mean"}),
    "gpg": ("reinforce", {"reduction": "token-mean"}),
    # In verl the cap is 1 + clip_ratio_high and there is a floor; 1 - clip_ratio_low below 0 is none.
    "cispo, cap 1.2": ("cispo", {"epsilon_low": 0.2, "epsilon_high": 0.2}),
    "cispo, cap 2, no floor": ("cispo", {"epsilon_high": 1.0}),
    # In a band of its own, ratio 1 chooses every eligible token: nothing is left to chance.
    "clip_cov, all": ("clip-cov", {**BAND, "clip_cov_ratio": 1.0}),
    # Fractions in both (the paper's scripts give percent). At least one token is chosen, also of a small micro-batch.
    "kl_cov": ("kl-cov", {"kl_cov_ratio": 0.1}),
    "kl_cov, one": ("kl-cov", {"kl_cov_ratio": 2e-4, "kl_cov_beta": 0.1}),
}


@pytest.mark.parametrize(("name", "row", "settings"), cases(LOSSES))
def test_loss_and_gradient(name: str, row: str, settings: Settings) -> None:
    objective = get(row, **settings)
    batch, _ = objective.prepare(token_batch(), key=(0,))
    check(objective, batch, GOLDEN["losses"][name])


@pytest.mark.parametrize("name", ["gspo", "gspo, wide", "gspo, token-mean"])
def test_gspo_token_is_the_form_verl_has(name: str) -> None:
    check(get("gspo-token", **LOSSES[name][1]), token_batch(), GOLDEN["losses"][name])


@pytest.mark.parametrize(("name", "ratio"), [("clip_cov, some", 0.1), ("clip_cov, one", 2e-4)])
def test_clip_cov_with_the_tokens_that_verl_drew(name: str, ratio: float) -> None:
    """Which of the eligible tokens go is drawn at random, so the loss is compared under verl's draw.

    The number drawn and their being eligible are compared with this package's own draw.
    """
    drawn = torch.tensor(GOLDEN["losses"][name]["selected"], dtype=torch.bool)
    objective = get("clip-cov", clip_cov_low=0.1, clip_cov_ratio=ratio)
    check(objective, token_batch(selected=drawn), GOLDEN["losses"][name])
    ours, _ = objective.prepare(token_batch(), key=(0,))
    everyone, _ = get("clip-cov", clip_cov_low=0.1, clip_cov_ratio=1.0).prepare(token_batch(), key=(0,))
    assert ours.require("selected").sum() == drawn.sum()
    assert not (drawn & ~everyone.require("selected")).any()


def test_verl_holds_the_log_ratio_within_20() -> None:
    # Beyond, its ratio has no gradient. Nothing is held here: the same numbers come out of log-ratios that are.
    far, objective = GOLDEN["far"], get("dapo")
    old = double(far["inputs"]["old_logprobs"])
    batch = TokenBatch(
        logprobs=double(far["inputs"]["logprobs"]),
        mask=torch.ones(2, 2, dtype=torch.bool),
        advantages=double(far["inputs"]["advantages"]),
        vocab_size=2,
        old_logprobs=old,
    )
    held = replace(batch, logprobs=old + (batch.logprobs - old).clamp(-20, 20))
    denominator = objective.denominator(batch.mask)
    loss, grad, _, _ = gradient(objective, held, denominator)
    assert loss.item() == pytest.approx(far["loss"], rel=TOLERANCE)
    beyond = torch.tensor([[True, False], [True, False]])
    assert torch.allclose(grad[~beyond], double(far["grad"])[~beyond], rtol=TOLERANCE, atol=TOLERANCE)
    assert (double(far["grad"])[beyond] == 0).all()
    _, ours, _, _ = gradient(objective, batch, denominator)
    assert ours[0, 0].item() == pytest.approx(math.exp(25.0) / 4)


@pytest.mark.parametrize("case", list(GOLDEN["micro_batches"].values()), ids=list(GOLDEN["micro_batches"]))
def test_micro_batches_under_the_counts_of_the_step(case: dict[str, Any]) -> None:
    row = {"token-mean": "dapo", "seq-mean-token-mean": "grpo"}[case["loss_agg_mode"]]
    objective, batch = get(row, **DUAL), token_batch()
    check(objective, batch.rows(slice(*case["rows"])), case, objective.denominator(batch.mask))


# ---------------------------------------------------------------------------------- KL, and correction of the engine


# With advantages of 0 a row's loss is its penalty.
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_penalty(estimator: str) -> None:
    objective = get("dapo", kl_beta=1.0, kl_estimator=estimator)
    check(objective, token_batch(advantages=torch.zeros(len(MASK), dtype=torch.float64)), GOLDEN["kl"][estimator])


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_a_plus_takes_the_gradient_of_k2(estimator: str) -> None:
    # Not offered here: k2 has that gradient, and the value is a monitor.
    assert GOLDEN["kl"][f"{estimator}+"]["loss"] == GOLDEN["kl"][estimator]["loss"]
    assert GOLDEN["kl"][f"{estimator}+"]["grad"] == GOLDEN["kl"]["k2"]["grad"]


def test_abs_is_no_estimator_here() -> None:
    log_ratio = token_batch().logprobs - double(INPUTS["ref_logprobs"])
    assert log_ratio[MASK].abs().mean().item() == pytest.approx(GOLDEN["kl"]["abs"]["loss"], rel=TOLERANCE)
    with pytest.raises(InputError, match="kl_estimator"):
        get("dapo", kl_beta=1.0, kl_estimator="abs")


def test_verl_holds_k3_below_10() -> None:
    # A token whose reference is 4 nats likelier costs 10 there, without a gradient, and 49.6 here.
    case = GOLDEN["kl"]["k3, reference 4 nats above"]
    assert case["loss"] == 10.0 and not double(case["grad"]).any()
    assert k3(double([-4.0])).item() == pytest.approx(math.exp(4.0) - 5.0)
    assert k2(double([-4.0])).item() == 8.0


# verl's lower bound belongs to a weight ("0.6_1.5" is IcePop). Its rejection bounds engine / trainer, one over our ratio.
CORRECTIONS: dict[str, tuple[str, Settings]] = {
    "token, truncated": ("grpo+tis", {"mismatch_high": 1.5}),
    "token, band": ("icepop", {"mismatch_low": 0.6, "mismatch_high": 1.5}),
    "sequence, truncated": ("grpo+tis", {"mismatch": "sequence-truncate", "mismatch_high": 1.5}),
    "sequence, band": ("grpo+mis", {"mismatch_low": 0.3, "mismatch_high": 1.5}),
    "mean, rejected": (
        "grpo+mis",
        {"mismatch": "geometric-mask", "mismatch_low": 1 / 1.25, "mismatch_high": 1 / 0.9},
    ),
}


@pytest.mark.parametrize(("name", "row", "settings"), cases(CORRECTIONS))
def test_correction_for_the_engine(name: str, row: str, settings: Settings) -> None:
    case = GOLDEN["corrections"][name]
    objective = get(row, **DUAL, reduction="token-mean", **settings)
    batch = token_batch(engine_logprobs=double(INPUTS["engine_logprobs"]))
    # What verl rejects leaves its mask, and so its denominator; here it stays in.
    counted = torch.tensor(case["mask"], dtype=torch.bool) if "mask" in case else MASK
    check(objective, batch, case, objective.denominator(counted))


# ------------------------------------------------------------------------------------------------------------ coverage


def test_the_list_of_compared_rows_is_what_is_compared() -> None:
    tables = (ADVANTAGES, WHITENED, LOSSES, CORRECTIONS)
    rows = {row for table in tables for row, _ in table.values()} | {"gspo-token"}
    assert rows == COMPARED["verl 0.9.1"]
    assert GOLDEN["versions"]["verl"] == "0.9.1"


NO_ROW = {
    "bypass_mode": "vanilla or gpg with the engine's log-probs as the old ones",
    "dppo_kl": "DPPO, arXiv 2602.04879",
    "dppo_tv": "DPPO, arXiv 2602.04879",
    "dro": "quadratic penalty on the log-ratio; the row of that name is another method",
    "geo_mean": "GMPO, arXiv 2507.20673",
    "sapo": "SAPO, arXiv 2511.20347",
    "gae": "needs a critic",
    "gdpo": "several rewards, arXiv 2601.05242",
    "grpo_passk": "best against second best of the group, arXiv 2503.19595: the rows have other estimators",
    "opo": "baseline weighted by length, arXiv 2505.23585",
    "optimal_token_baseline": "a baseline a token",
    "tir_optimal_token_baseline": "a baseline a token",
    "remax": "needs a greedy completion",
}
"""What verl registers and nothing here is compared with."""


def test_everything_verl_registers_is_compared_or_named() -> None:
    registered = {*GOLDEN["registered"]["losses"], *GOLDEN["registered"]["advantages"]}
    losses = {GOLDEN["losses"][name]["verl"] for name in LOSSES}
    advantages = {GOLDEN["advantages"][name]["verl"] for name in (*ADVANTAGES, *WHITENED)}
    assert registered - losses - advantages - {"grpo_vectorized"} == set(NO_ROW)
