"""From rewards of groups to advantages: one idea a file, each `fn(group: GroupBatch, *, settings) -> adv_PG`."""

from offleash.objectives.advantages.batch import batch_normalised, batch_std
from offleash.objectives.advantages.beta import beta_normalised, fit_beta
from offleash.objectives.advantages.demonstration import demonstration_only
from offleash.objectives.advantages.diversity import diversity, diversity_weighted
from offleash.objectives.advantages.group import (
    group_relative,
    leave_one_out,
    negative_only,
    normalise,
    standard_deviation,
)
from offleash.objectives.advantages.maximum_likelihood import mean_normalised
from offleash.objectives.advantages.outcomes import batch_bonus, count_answers, outcome_batch, outcome_ucb
from offleash.objectives.advantages.overlong import soft_overlong
from offleash.objectives.advantages.pass_at_k import pass_at_k, pass_at_k_leave_one_out
from offleash.objectives.advantages.plain import plain_reward, require_binary, signed_binary
from offleash.objectives.advantages.quantile import quantile_baseline
from offleash.objectives.advantages.reference import r3, reasoning_reflection
from offleash.objectives.advantages.risk import bundle_scores, risk, track_quantiles
from offleash.objectives.advantages.steps import compare_steps, discounted, state_steps, tagged_steps
from offleash.objectives.advantages.unlikeliness import unlikeliness

__all__ = [
    "batch_bonus",
    "batch_normalised",
    "batch_std",
    "beta_normalised",
    "bundle_scores",
    "compare_steps",
    "count_answers",
    "demonstration_only",
    "discounted",
    "diversity",
    "diversity_weighted",
    "fit_beta",
    "group_relative",
    "leave_one_out",
    "mean_normalised",
    "negative_only",
    "normalise",
    "outcome_batch",
    "outcome_ucb",
    "pass_at_k",
    "pass_at_k_leave_one_out",
    "plain_reward",
    "quantile_baseline",
    "r3",
    "reasoning_reflection",
    "require_binary",
    "risk",
    "signed_binary",
    "soft_overlong",
    "standard_deviation",
    "state_steps",
    "tagged_steps",
    "track_quantiles",
    "unlikeliness",
]
