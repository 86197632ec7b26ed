"""Rows against TRL: GRPOTrainer's own methods, run on a stand-in for the trainer.

`_compute_loss` and `_generate_and_score_completions` are called unbound; the stand-in has the attributes they read, and hands
out given log-probs in place of a model's. Written against trl 1.16; another version may read other attributes.

What TRL has and nothing here is compared with: sapo, vespo, off_policy_mask_threshold, use_bias_correction_kl (its default: the
KL times the ratio), the adaptive entropy bonus, normalize_then_sum.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from offleash.objectives import PRESETS, Denominator, Objective, TokenBatch, get
from offleash.objectives.checks.example import gradient
from offleash.objectives.oracles import COMPARED

pytestmark = pytest.mark.slow  # importing trl takes about ten seconds

TOLERANCE = 1e-9
LIMIT = 9
SEEDS = (0, 6)
LENGTHS = (7, 3, 5, 1, 6, 4, 7, 2, 5, 3, 6, 6)
HOLES = ((0, 2), (6, 3), (6, 4))
"""Output of a tool, inside a completion: TRL's tool_mask."""

Settings = dict[str, Any]


@pytest.fixture(scope="module")
def trainer() -> Any:
    from trl.trainer.grpo_trainer import GRPOTrainer

    return GRPOTrainer


def steps(seed: int = 0) -> TokenBatch:
    """Twelve completions with log-ratios up to 1.5 either way. Engine log-probs are exact in single precision."""
    draw = np.random.default_rng(seed)
    shape = (len(LENGTHS), max(LENGTHS))
    logprobs = -draw.uniform(0.05, 3.0, shape)
    old = np.minimum(logprobs + draw.uniform(-1.5, 1.5, shape), -1e-3)
    engine = (old + draw.uniform(-0.4, 0.4, shape)).astype(np.float32).astype(np.float64)
    mask = torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]
    for n, t in HOLES:
        mask[n, t] = False
    return TokenBatch(
        logprobs=torch.from_numpy(logprobs),
        mask=mask,
        advantages=torch.from_numpy(draw.uniform(-1.5, 1.5, len(LENGTHS))),
        vocab_size=11,
        old_logprobs=torch.from_numpy(old),
        ref_logprobs=torch.from_numpy(logprobs + draw.uniform(-1.0, 1.0, shape)),
        entropy=torch.from_numpy(draw.uniform(0.1, 2.0, shape)),
        engine_logprobs=torch.from_numpy(engine),
        group_ids=torch.arange(len(LENGTHS)) // 4,
    )


# --------------------------------------------------------------------------------------------------------- the stand-in


@dataclass
class OneProcess:
    """What the trainer asks of its accelerator."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    num_processes: int = 1
    process_index: int = 0
    sync_gradients: bool = True

    def gather(self, values: Tensor) -> Tensor:
        return values

    def reduce(self, values: Tensor, reduction: str) -> Tensor:
        return values

    def pad_across_processes(self, values: Tensor, **how: Any) -> Tensor:
        return values


def stand_in(**changed: Any) -> SimpleNamespace:
    """A GRPOTrainer's attributes at its defaults, but for a mean over one micro-batch and KL without correction."""
    args = {"delta": None, "use_bias_correction_kl": False, "steps_per_generation": 1}
    for name in args:
        args[name] = changed.pop(name, args[name])
    attributes: Settings = {
        "accelerator": OneProcess(),
        "args": SimpleNamespace(**args),
        "aux_loss_enabled": False,
        "beta": 0.0,
        "current_gradient_accumulation_steps": 1,
        "entropy_coef": 0.0,
        "epsilon_high": 0.2,
        "epsilon_low": 0.2,
        "importance_sampling_level": "token",
        "loss_type": "grpo",
        "max_completion_length": LIMIT,
        "model": SimpleNamespace(training=True),
        "off_policy_mask_threshold": None,
        "top_entropy_quantile": 1.0,
        "use_adaptive_entropy": False,
        "use_vllm": False,
        "vllm_importance_sampling_correction": False,
        "_metrics": defaultdict(lambda: defaultdict(list)),
        **changed,
    }
    attributes["_entropy_bonus_enabled"] = attributes["entropy_coef"] != 0.0
    return SimpleNamespace(**attributes)


@dataclass(frozen=True)
class Result:
    loss: float
    grad: Tensor
    grad_entropy: Tensor


def by_trl(
    trainer: Any, batch: TokenBatch, weights: Tensor | None = None, tokens: int | None = None, **settings: Any
) -> Result:
    """GRPOTrainer._compute_loss of a batch; `tokens` are those of the whole generation batch."""
    assert batch.entropy is not None
    logprobs = batch.logprobs.detach().clone().requires_grad_()
    entropy = batch.entropy.detach().clone().requires_grad_()
    fake = stand_in(**settings)
    fake._get_per_token_logps_and_entropies = lambda *args, **keywords: (logprobs, entropy, None)
    fake.get_high_entropy_mask = lambda *args: trainer.get_high_entropy_mask(fake, *args)
    shape = batch.mask.shape
    inputs = {
        "prompt_ids": torch.zeros(shape[0], 1, dtype=torch.long),
        "prompt_mask": torch.ones(shape[0], 1, dtype=torch.long),
        "completion_ids": torch.zeros(shape, dtype=torch.long),
        "completion_mask": torch.ones(shape, dtype=torch.long),
        "tool_mask": batch.mask.long(),
        "advantages": batch.advantages,
        "old_per_token_logps": batch.old_logprobs,
        "ref_per_token_logps": batch.ref_logprobs,
        "importance_sampling_ratio": weights,
        "num_items_in_batch": torch.tensor(int(batch.mask.sum()) if tokens is None else tokens),
    }
    loss = trainer._compute_loss(fake, None, inputs)
    grads = torch.autograd.grad(loss, [logprobs, entropy], allow_unused=True, materialize_grads=True)
    return Result(loss.item(), *grads)


def by_row(objective: Objective, batch: TokenBatch, denominator: Denominator | None = None) -> Result:
    """The same of a row: of a whole step, unless the step's denominator is given."""
    batch, _ = objective.prepare(batch)
    if denominator is None:
        denominator = objective.denominator(batch.mask, max_completion_length=LIMIT)
    loss, grad, grad_entropy, _ = gradient(objective, batch, denominator)
    return Result(loss.item(), grad, grad_entropy)


def agree(found: Result, expected: Result) -> None:
    assert found.loss == pytest.approx(expected.loss, rel=TOLERANCE, abs=TOLERANCE)
    assert torch.allclose(found.grad, expected.grad, rtol=TOLERANCE, atol=TOLERANCE)
    assert torch.allclose(found.grad_entropy, expected.grad_entropy, rtol=TOLERANCE, atol=TOLERANCE)
    assert bool((expected.grad != 0).any())


def test_the_steps_meet_every_bound() -> None:
    for seed in SEEDS:
        batch = steps(seed)
        rho, adv_N1 = batch.log_ratio_NT.exp(), batch.advantages[:, None]
        for here in (rho[batch.mask & (adv_N1 > 0)], rho[batch.mask & (adv_N1 < 0)]):
            assert min((here < 0.8).sum(), ((here > 0.8) & (here < 1.2)).sum(), (here > 1.28).sum()) >= 2
        assert (rho[batch.mask & (adv_N1 < 0)] > 2.0).any()


# --------------------------------------------------------------------------------------------------------------- losses

HIGHER: Settings = {"epsilon_high": 0.28}
SEQUENCE: Settings = {"importance_sampling_level": "sequence"}
NARROW: Settings = {"epsilon_low": 3e-4, "epsilon_high": 4e-4}
TENTH: Settings = {"epsilon_low": 0.1, "epsilon_high": 0.1}

CASES: dict[str, tuple[Settings, str, Settings]] = {
    "grpo": ({}, "grpo", {}),
    "grpo, clip higher": (HIGHER, "grpo", HIGHER),
    "grpo, KL": ({"beta": 0.3}, "grpo", {"kl_beta": 0.3}),
    # delta bounds the ratio under both signs of A, but above 1 + epsilon_high it acts on A < 0 alone: the dual clip.
    "grpo, delta": ({"delta": 1.5}, "grpo", {"dual_clip": 1.5}),
    "dr_grpo": ({"loss_type": "dr_grpo"}, "dr-grpo", {}),
    "dapo": ({"loss_type": "dapo", **HIGHER}, "dapo", {}),
    "dapo, KL": ({"loss_type": "dapo", **HIGHER, "beta": 0.3}, "dapo", {"kl_beta": 0.3}),
    # Not the row bnpo: a mean over the tokens of the micro-batch. Here one micro-batch is the step.
    "bnpo": ({"loss_type": "bnpo"}, "grpo", {"reduction": "token-mean"}),
    # The bonus is a mean over tokens whatever the loss_type; here it follows the row's reduction.
    "bnpo, entropy": (
        {"loss_type": "bnpo", "entropy_coef": 0.05},
        "grpo",
        {"reduction": "token-mean", "entropy_coef": 0.05},
    ),
    # TRL's epsilon_high is the cap itself, ours the room above 1; epsilon_low is not used there.
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.5}, "cispo", {"epsilon_high": 0.5}),
    "cispo, cap 5": ({"loss_type": "cispo", "epsilon_high": 5.0}, "cispo", {}),
    "gspo": ({**SEQUENCE, **NARROW}, "gspo", {}),
    "gspo, wide": ({**SEQUENCE, **TENTH}, "gspo", TENTH),
    "gspo, KL": ({**SEQUENCE, **TENTH, "beta": 0.3}, "gspo", {**TENTH, "kl_beta": 0.3}),
    "gspo, bnpo": ({**SEQUENCE, **TENTH, "loss_type": "bnpo"}, "gspo", {**TENTH, "reduction": "token-mean"}),
    # TRL has no token form; with one advantage a completion it has the gradient of gspo.
    "gspo-token": ({**SEQUENCE, **TENTH}, "gspo-token", TENTH),
    "luspo": ({**SEQUENCE, **TENTH, "loss_type": "luspo"}, "gspo", {**TENTH, "reduction": "sequence-sum"}),
    "luspo, tokens": ({"loss_type": "luspo"}, "grpo", {"reduction": "sequence-sum"}),
    # TRL chooses in one micro-batch over all processes, and divides by all tokens. It keeps what lies above an interpolated
    # quantile: for 1/5 and 1/2 that is the fraction rounded up, as here; for others it can be one token less.
    "80-20, dapo": (
        {"loss_type": "dapo", **HIGHER, "top_entropy_quantile": 0.2},
        "80-20",
        {"entropy_fraction": 0.2, "rows": "all"},
    ),
    "80-20, grpo": (
        {**HIGHER, "top_entropy_quantile": 0.5},
        "80-20",
        {"entropy_fraction": 0.5, "rows": "all", "reduction": "sequence-mean"},
    ),
}
"""Settings of TRL, the row, and its settings that make the two equal."""


@pytest.mark.parametrize(
    ("theirs", "row", "ours"),
    [
        pytest.param(*case, id=name, marks=pytest.mark.skipif(case[1] not in PRESETS, reason=f"no row {case[1]}"))
        for name, case in CASES.items()
    ],
)
def test_loss_and_gradient(trainer: Any, theirs: Settings, row: str, ours: Settings) -> None:
    for seed in SEEDS:
        batch = steps(seed)
        agree(by_row(get(row, **ours), batch), by_trl(trainer, batch, **theirs))


def test_dapo_in_micro_batches(trainer: Any) -> None:
    """Each under the tokens of the whole step: steps_per_generation is the number of micro-batches."""
    batch, objective = steps(), get("dapo")
    denominator = objective.denominator(batch.mask)
    parts: Settings = {"current_gradient_accumulation_steps": 2, "steps_per_generation": 2}
    for rows in (slice(0, 5), slice(5, 12)):
        expected = by_trl(trainer, batch.rows(rows), tokens=int(batch.mask.sum()), loss_type="dapo", **parts, **HIGHER)
        agree(by_row(objective, batch.rows(rows), denominator), expected)


def test_a_mean_over_the_micro_batch_depends_on_the_split(trainer: Any) -> None:
    """TRL's bnpo; here the denominator is the step's, and the shares add up."""
    batch, objective = steps(), get("grpo", reduction="token-mean")
    denominator = objective.denominator(batch.mask)
    halves = (slice(0, 3), slice(3, 12))
    whole = by_trl(trainer, batch, loss_type="bnpo").loss
    theirs = [
        by_trl(trainer, batch.rows(rows), loss_type="bnpo", current_gradient_accumulation_steps=2).loss
        for rows in halves
    ]
    ours = [by_row(objective, batch.rows(rows), denominator).loss for rows in halves]
    assert sum(ours) == pytest.approx(whole, rel=TOLERANCE)
    assert abs(sum(theirs) - whole) > 1e-3


def test_a_completion_without_tokens_counts_in_trl(trainer: Any) -> None:
    # Here it has no share in the mean over completions.
    batch = steps()
    batch.mask[-1] = False
    found, expected = by_row(get("grpo"), batch), by_trl(trainer, batch)
    assert found.loss * 11 == pytest.approx(expected.loss * 12, rel=TOLERANCE)
    assert torch.allclose(found.grad * 11, expected.grad * 12, rtol=TOLERANCE, atol=TOLERANCE)


# ------------------------------------------------------------------------- advantages, and correction of the engine


DEFAULTS: Settings = {
    "vllm_importance_sampling_mode": "sequence_mask",
    "vllm_importance_sampling_clip_min": None,
    "vllm_importance_sampling_clip_max": 3.0,
}


def scored(trainer: Any, rewards: Tensor, batch: TokenBatch | None = None, **settings: Any) -> Any:
    """What GRPOTrainer._generate_and_score_completions makes of given rewards (P x G) and completions."""
    batch = steps() if batch is None else batch
    assert batch.engine_logprobs is not None
    fake = stand_in(
        use_vllm=True,
        vllm_importance_sampling_correction=True,
        **{**DEFAULTS, **settings},
    )
    fake.args.per_device_train_batch_size = len(LENGTHS)
    fake.args.gradient_accumulation_steps = 1
    fake.args.gradient_checkpointing_kwargs = None
    fake.model.is_gradient_checkpointing = False
    fake.num_iterations = 1
    fake.num_generations = rewards.shape[1]
    fake.environment_factories, fake.environments, fake.tools = None, None, None
    fake.pad_to_multiple_of, fake.mask_truncated_completions, fake.log_multimodal = None, False, False
    fake._tokenizer = SimpleNamespace(pad_token_id=0)
    fake.multi_objective_aggregation = "sum_then_normalize"
    fake.reward_weights = torch.ones(1, dtype=rewards.dtype)
    fake.reward_func_names, fake.reward_funcs = ["reward"], [None]
    fake._logs = defaultdict(lambda: defaultdict(list), {name: [] for name in ("prompt", "completion", "advantages")})
    fake._pending_extra_logs, fake._pending_metrics = {}, {}
    fake._get_per_token_logps_and_entropies = lambda *args, **keywords: (batch.old_logprobs, None, None)
    fake._calculate_rewards = lambda *args: rewards.reshape(-1, 1)
    engine = [row[:n].tolist() for row, n in zip(batch.engine_logprobs, LENGTHS, strict=True)]
    tools = [row[:n].tolist() for row, n in zip(batch.mask.long(), LENGTHS, strict=True)]
    ids = [[1] * n for n in LENGTHS]
    fake._generate = lambda prompts: ([[1]] * len(LENGTHS), ids, tools, ids, engine, {}, None, None)
    return trainer._generate_and_score_completions(fake, [{"prompt": ""}] * len(LENGTHS))


REWARDS = torch.tensor(
    [[0.3, 1.0, 0.75, 0.1], [1.0, 0.0, 0.0, 1.0], [0.7, 0.7, 0.7, 0.7]],
    dtype=torch.float64,
)


# TRL adds 1e-4 to the deviation.
@pytest.mark.parametrize(
    ("scale", "row", "settings"), [("group", "grpo", {"std_epsilon": 1e-4}), ("none", "dr-grpo", {})]
)
@pytest.mark.parametrize("undecided", [False, True])
def test_advantages(trainer: Any, scale: str, row: str, settings: Settings, undecided: bool) -> None:
    """A completion that no reward function judges is NaN there and False in valid_PG here."""
    rewards, valid = REWARDS.clone(), torch.ones_like(REWARDS, dtype=torch.bool)
    if undecided:
        rewards[0, 2] = torch.nan
        valid[0, 2] = False
    expected = scored(trainer, rewards, scale_rewards=scale)["advantages"].view_as(rewards)
    assert torch.allclose(get(row, **settings).advantages(rewards, valid_PG=valid), expected, atol=TOLERANCE)


def test_advantages_scaled_by_the_batch(trainer: Any) -> None:
    # No row has this one: the deviation of all rewards, not of their distances to the group's mean.
    expected = scored(trainer, REWARDS, scale_rewards="batch")["advantages"].view_as(REWARDS)
    centred = get("dr-grpo").advantages(REWARDS)
    assert torch.allclose(centred / (REWARDS.std() + 1e-4), expected, atol=TOLERANCE)


# The lower bound that TRL also gives to truncation has no counterpart; its default is none.
CORRECTIONS: dict[str, tuple[float | None, float, str]] = {
    "token_truncate": (None, 1.2, "grpo+tis"),
    "token_mask": (0.8, 1.2, "icepop"),
    "sequence_truncate": (None, 1.3, "grpo+tis"),
    "sequence_mask": (0.6, 1.8, "grpo+mis"),
}


@pytest.mark.parametrize("surrogate", ["ppo-clip", "gspo"])
@pytest.mark.parametrize(
    ("mode", "low", "high", "row"),
    [
        pytest.param(mode, *case, id=mode, marks=pytest.mark.skipif(case[2] not in PRESETS, reason=f"no row {case[2]}"))
        for mode, case in CORRECTIONS.items()
    ],
)
def test_correction_for_the_engine(
    trainer: Any, mode: str, low: float | None, high: float, row: str, surrogate: str
) -> None:
    ours: Settings = {"mismatch": mode.replace("_", "-"), "mismatch_low": low, "mismatch_high": high}
    ours |= {"surrogate": surrogate, "reduction": "sequence-mean", "kl_beta": 0.3, **TENTH}
    level = "sequence" if surrogate == "gspo" else "token"
    for seed in SEEDS:
        batch = steps(seed)
        weights = scored(
            trainer,
            REWARDS,
            batch,
            scale_rewards="group",
            vllm_importance_sampling_mode=mode,
            vllm_importance_sampling_clip_min=low,
            vllm_importance_sampling_clip_max=high,
        )["importance_sampling_ratio"]
        kept = weights.expand_as(batch.mask)[batch.mask]
        assert len(kept.unique()) > 2 and ((kept == 0) | (kept == high)).any()
        expected = by_trl(
            trainer,
            batch,
            weights,
            use_vllm=True,
            vllm_importance_sampling_correction=True,
            importance_sampling_level=level,
            beta=0.3,
            **TENTH,
        )
        agree(by_row(get(row, **ours), batch), expected)


def test_the_list_of_compared_rows_is_what_is_compared() -> None:
    rows = {row for _, row, _ in CASES.values()} | {row for _, _, row in CORRECTIONS.values()}
    assert rows == COMPARED["TRL 1.16.0"]
