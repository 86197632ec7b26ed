"""Clip-Cov and KL-Cov: tokens whose log-prob and advantage vary together most are taken out, or held back.

G. Cui et al., "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models", arXiv 2505.22617.

Which tokens those are is decided before the loss, by `Objective.prepare`: over the whole step (the default), or on each
micro-batch as in the released code. Decided inside the loss it would depend on how the step was split.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from offleash.core import rng
from offleash.core.errors import InputError
from offleash.objectives.batch import TokenBatch
from offleash.objectives.registry import PerToken, surrogate
from offleash.objectives.surrogates.policy_gradient import importance
from offleash.objectives.surrogates.ppo import ppo_clip


def token_covariance(batch: TokenBatch) -> Float[Tensor, "N T"]:
    """(log pi - mean log pi) x (A - mean A), means over the unmasked tokens of the batch; 0 where masked.

    The mean of A is over tokens, so long completions weigh more in it.
    """
    count = batch.mask.sum().clamp(min=1)
    parts = []
    for value in (batch.logprobs.detach(), batch.advantages_NT):
        kept_NT = torch.where(batch.mask, value, 0.0)
        parts.append(torch.where(batch.mask, kept_NT - kept_NT.sum() / count, 0.0))
    return parts[0] * parts[1]


def select_clip_cov(
    batch: TokenBatch,
    key: tuple[str | int, ...],
    *,
    clip_cov_ratio: float = 2e-4,
    clip_cov_low: float = 1.0,
    clip_cov_high: float = 5.0,
    least_selected: int = 1,
    epsilon_low: float | None = 1.0,
    epsilon_high: float | None = 1.0,
) -> Bool[Tensor, "N T"]:
    """A random fraction of all tokens, drawn from those of clip_cov_low < covariance < clip_cov_high that PPO keeps."""
    if not clip_cov_low <= clip_cov_high:
        raise InputError(
            f"clip_cov_low: is {clip_cov_low} and clip_cov_high {clip_cov_high}; give a low bound below the high"
        )
    covariance_NT = token_covariance(batch)
    clipped_NT = ppo_clip(batch, epsilon_low=epsilon_low, epsilon_high=epsilon_high)[1]["clip_fraction"]
    eligible_NT = (covariance_NT > clip_cov_low) & (covariance_NT < clip_cov_high) & batch.mask & ~clipped_NT
    places = eligible_NT.flatten().nonzero().flatten()
    count = min(_how_many("clip_cov_ratio", clip_cov_ratio, least_selected, batch), len(places))
    order = torch.from_numpy(rng.stream("clip-cov", *key).permutation(len(places))[:count])
    return _marked(places[order.to(places.device)], batch)


def select_kl_cov(
    batch: TokenBatch, key: tuple[str | int, ...], *, kl_cov_ratio: float = 2e-3, least_selected: int = 1
) -> Bool[Tensor, "N T"]:
    """The fraction of all tokens with the largest covariance."""
    covariance_NT = token_covariance(batch).masked_fill(~batch.mask, -torch.inf)
    count = _how_many("kl_cov_ratio", kl_cov_ratio, least_selected, batch)
    return _marked(covariance_NT.flatten().topk(count).indices, batch)


@surrogate("clip-cov", needs=("old_logprobs", "selected"), select=select_clip_cov, scales_with_advantage=True)
def clip_cov(batch: TokenBatch, *, epsilon_low: float | None = 1.0, epsilon_high: float | None = 1.0) -> PerToken:
    """ppo-clip, and nothing at the selected tokens. They stay in the denominator."""
    loss_NT, diagnostics = ppo_clip(batch, epsilon_low=epsilon_low, epsilon_high=epsilon_high)
    selected = batch.require("selected")
    return batch.keep(loss_NT, ~selected), diagnostics | {"selected_fraction": selected}


@surrogate("kl-cov", needs=("old_logprobs", "selected"), select=select_kl_cov)
def kl_cov(batch: TokenBatch, *, kl_cov_beta: float = 1.0) -> PerToken:
    """-rho A without any clip, plus kl_cov_beta x |log rho| at the selected tokens.

    At pi = pi_old the penalty has no slope: with one update per rollout this is the plain policy gradient.
    """
    loss_NT, diagnostics = importance(batch)
    selected = batch.require("selected")
    # They are few: adding the penalty at their places costs less than a whole tensor of mostly zeros.
    places = selected.flatten().nonzero().flatten()
    penalty = kl_cov_beta * batch.log_ratio_NT.flatten()[places].abs()
    penalised_NT = loss_NT.flatten().index_add(0, places, penalty).view_as(loss_NT)
    return penalised_NT, diagnostics | {"selected_fraction": selected}


def _how_many(name: str, ratio: float, least: int, batch: TokenBatch) -> int:
    if not 0 <= ratio <= 1:
        raise InputError(f"{name}: is {ratio}; give a fraction between 0 and 1 (the paper's scripts give percent)")
    tokens = int(batch.mask.sum())
    return min(max(int(ratio * tokens), int(least)), tokens)


def _marked(places: Tensor, batch: TokenBatch) -> Bool[Tensor, "N T"]:
    marked = torch.zeros(batch.mask.numel(), dtype=torch.bool, device=batch.mask.device)
    marked[places] = True
    return marked.view_as(batch.mask)
