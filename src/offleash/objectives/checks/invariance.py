"""What must not change a loss: padding, the order of samples, the split into micro-batches, how settings are given."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from offleash.objectives.batch import TokenBatch
from offleash.objectives.checks.base import check, close, hold
from offleash.objectives.checks.example import advantages, denominator, example, gradient
from offleash.objectives.preset import Preset, build

_EXTRAS: tuple[dict[str, Any], ...] = ({}, {"kl_beta": 0.1, "entropy_coef": 0.01, "sft_coef": 0.5, "nll_coef": 0.2})


@check("settings", "get(name, **objective.settings) builds the same objective again")
def settings_round_trip(preset: Preset) -> None:
    """The resolved settings are the whole recipe."""
    for overrides in ({}, preset.released):
        one = build(preset, **overrides)
        hold(build(preset, **one.settings).settings == one.settings, "settings do not survive a round trip")


@check("padding", "more padding, with anything in it, changes neither loss nor gradient")
def padding(preset: Preset) -> None:
    """Three more columns and everything masked hold NaN and infinities."""
    for extra in _EXTRAS:
        e = example(preset, **extra)
        loss, grad, _, metrics = gradient(e.objective, e.batch, e.denominator)
        wide = _padded(e.batch)
        loss_wide, grad_wide, _, metrics_wide = gradient(e.objective, wide, denominator(e.objective, wide))
        close("loss under padding", loss_wide, loss)
        width = grad.shape[1]
        hold(
            bool(grad_wide.isfinite().all()),
            "padding reaches the gradient: put masked places to 0 before exp, by batch.keep(value, batch.mask)",
        )
        close("gradient under padding", grad_wide[:, :width], grad)
        hold(bool((grad_wide[~wide.mask] == 0).all()), "a masked position gets a gradient")
        for name, value in metrics.items():
            close(f"metric {name} under padding", metrics_wide[name], value)


def _padded(batch: TokenBatch) -> TokenBatch:
    filler = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=torch.float64)
    wide: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor) and value.ndim == 2:
            more = torch.zeros(len(value), 3, dtype=value.dtype)
            if value.is_floating_point():
                value = value.masked_fill(~batch.mask, torch.nan)
                more = filler.to(value.dtype).expand(len(value), 3)
            wide[field.name] = torch.cat([value, more], dim=1)
    return replace(batch, **wide)


@check("permutation", "advantages move with their samples; the order of rows changes nothing")
def permutation(preset: Preset) -> None:
    """Samples permuted within each group, and rows within the batch."""
    e = example(preset)
    prompts, group = e.rewards_PG.shape
    order_G = torch.tensor([2, 0, 3, 1])[:group]
    permuted = advantages(e.objective, e.group.members(order_G))
    close("advantages under permutation", permuted, e.advantages()[:, order_G])
    rows_N = (torch.arange(prompts)[:, None] * group + order_G).flatten().flip(0)
    loss, grad, _, _ = gradient(e.objective, e.batch, e.denominator)
    loss_permuted, grad_permuted, _, _ = gradient(e.objective, e.batch.rows(rows_N), e.denominator)
    close("loss under permutation", loss_permuted, loss)
    close("gradient under permutation", grad_permuted, grad[rows_N])


@check(
    "micro-batches",
    "losses, gradients and metrics of micro-batches add up to those of the step, whatever the split",
    lambda claims: claims.micro_batch_invariant,
)
def micro_batches(preset: Preset) -> None:
    """Splits of one row, of uneven sizes, and sorted by length; denominators of parts add up too."""
    for extra in _EXTRAS:
        e = example(preset, **extra)
        n = len(e.batch.mask)
        loss, grad, grad_entropy, metrics = gradient(e.objective, e.batch, e.denominator)
        by_length = _pieces(e.batch.mask.sum(1).argsort(), 5)
        for split in (_pieces(torch.arange(n), 1), _pieces(torch.arange(n), 4), by_length):
            parts = [(rows, gradient(e.objective, e.batch.rows(rows), e.denominator)) for rows in split]
            close("sum of losses", torch.stack([p[0] for _, p in parts]).sum(), loss)
            summed, summed_entropy = torch.zeros_like(grad), torch.zeros_like(grad)
            for rows, part in parts:
                summed[rows], summed_entropy[rows] = part[1], part[2]
            close("gradient", summed, grad)
            close("gradient of the entropy", summed_entropy, grad_entropy)
            for name, value in metrics.items():
                close(f"metric {name}", torch.stack([p[3][name] for _, p in parts]).sum(), value)
            total = denominator(e.objective, e.batch.rows(split[0]))
            for rows in split[1:]:
                total = total + denominator(e.objective, e.batch.rows(rows))
            hold(total == e.denominator, f"denominators of parts give {total}, the whole {e.denominator}")


def _pieces(rows_N: Tensor, size: int) -> list[Tensor]:
    return [rows_N[i : i + size] for i in range(0, len(rows_N), size)]


@check("vmap", "loss(check=False) runs under torch.func.vmap", lambda claims: claims.vmap)
def vmap(preset: Preset) -> None:
    """Two sets of log-probs at once, against one at a time."""
    e = example(preset)
    two = torch.stack([e.batch.logprobs, e.batch.logprobs - 0.1])

    def loss(logprobs: Tensor) -> Tensor:
        return e.objective.loss(replace(e.batch, logprobs=logprobs), e.denominator, check=False)[0]

    close("loss under vmap", torch.func.vmap(loss)(two), torch.stack([loss(two[0]), loss(two[1])]))
