"""From tokens to per-token losses, not reduced: one idea a file.

Each is `fn(batch: TokenBatch, *, settings) -> (loss_NT, diagnostics)`.
"""

from offleash.objectives.surrogates.covariance import (
    clip_cov,
    kl_cov,
    select_clip_cov,
    select_kl_cov,
    token_covariance,
)
from offleash.objectives.surrogates.detached import cispo, gppo
from offleash.objectives.surrogates.gspo import gspo, gspo_token, mean_log_ratio
from offleash.objectives.surrogates.high_entropy import high_entropy, select_high_entropy
from offleash.objectives.surrogates.imitation import negative_log_likelihood
from offleash.objectives.surrogates.luffy import luffy
from offleash.objectives.surrogates.policy_gradient import importance, score_function
from offleash.objectives.surrogates.ppo import ppo_clip
from offleash.objectives.surrogates.rl_plus import exploration_weight, multiple_importance_ratio, rl_plus

__all__ = [
    "cispo",
    "clip_cov",
    "exploration_weight",
    "gppo",
    "gspo",
    "gspo_token",
    "high_entropy",
    "importance",
    "kl_cov",
    "luffy",
    "mean_log_ratio",
    "multiple_importance_ratio",
    "negative_log_likelihood",
    "ppo_clip",
    "rl_plus",
    "score_function",
    "select_clip_cov",
    "select_high_entropy",
    "select_kl_cov",
    "token_covariance",
]
