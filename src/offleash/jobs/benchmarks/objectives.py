"""The loss of a step beside the same arithmetic written down by hand: forward and backward over 64 x 2,048 tokens.

By hand means eager torch: the loss, and the three numbers that every trainer logs with it (share of clipped tokens, mean of
log pi_old - log pi, mean entropy). `ratio_to_loss_alone` is against the loss without them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from offleash.objectives import TokenBatch, get
from offleash.objectives.preset import denominator_of

ROWS, TOKENS, VOCAB, PAIRS = 64, 2048, 151_936, 15
TARGET = 1.2
"""Time of a loss as a multiple of the arithmetic by hand."""
ByHand = Callable[[TokenBatch], tuple[Tensor, Tensor | None]]
"""The loss, and which tokens are clipped (None where there is no clip)."""
Work = Callable[[TokenBatch], Tensor]


def beside_by_hand() -> list[dict[str, Any]]:
    """Every surrogate once, under the row that uses it most plainly."""
    return [_row(name, by_hand) for name, by_hand in BY_HAND.items()]


def _row(name: str, by_hand: ByHand) -> dict[str, Any]:
    objective = get(name)
    batch, _ = objective.prepare(_batch(objective.uses_external))
    divisor = denominator_of(objective, batch, TOKENS)
    ours = lambda b: objective.loss(b, divisor)[0]  # noqa: E731
    alone = lambda b: by_hand(b)[0]  # noqa: E731
    logged = lambda b: _logged(*by_hand(b), b)  # noqa: E731
    torch.testing.assert_close(_gradient(ours, batch), _gradient(alone, batch), rtol=1e-4, atol=1e-9)
    rounds = [tuple(_milliseconds(work, batch) for work in (ours, logged, alone)) for _ in range(PAIRS + 3)][3:]
    ratios = [a / b for a, b, _ in rounds]
    return {
        "name": f"loss and gradient of {name}, {ROWS} x {TOKENS} tokens",
        "unit": "ms",
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "target": TARGET,
        "better": "lower",
        "ours": statistics.median(a for a, _, _ in rounds),
        "peer": statistics.median(b for _, b, _ in rounds),
        "ratio_to_loss_alone": statistics.median(a / c for a, _, c in rounds),
        "pairs": PAIRS,
        "dtype": "float32",
    }


def _batch(external: bool) -> TokenBatch:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    draw = torch.Generator(device).manual_seed(0)
    uniform = lambda: torch.rand(ROWS, TOKENS, generator=draw, device=device)  # noqa: E731
    logprobs = -3.0 * uniform() - 0.05
    lengths = (uniform()[:, :1] * (TOKENS - 100)).long() + 100
    return TokenBatch(
        logprobs=logprobs,
        old_logprobs=logprobs + 0.4 * (uniform() - 0.5),
        engine_logprobs=logprobs + 0.4 * (uniform() - 0.5),
        mask=torch.arange(TOKENS, device=device) < lengths,
        advantages=torch.randn(ROWS, generator=draw, device=device),
        vocab_size=VOCAB,
        entropy=uniform(),
        planning=uniform() < 0.3,
        external=(torch.arange(ROWS, device=device) % 8 == 0) & external,
        correct=torch.arange(ROWS, device=device) % 2 == 0,
        group_ids=torch.arange(ROWS, device=device) // 8,
    )


def _gradient(loss: Work, batch: TokenBatch) -> Tensor:
    leaf = batch.logprobs.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(replace(batch, logprobs=leaf)), leaf)[0]


def _milliseconds(loss: Work, batch: TokenBatch) -> float:
    leaf = batch.logprobs.detach().clone().requires_grad_()
    batch = replace(batch, logprobs=leaf)
    _wait()
    start = time.perf_counter()
    loss(batch).backward()
    _wait()
    return 1000.0 * (time.perf_counter() - start)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# ------------------------------------------------------------------------------------------- as anyone would write them


def _logged(loss: Tensor, clipped: Tensor | None, batch: TokenBatch) -> Tensor:
    """What trainers log beside the loss, computed and thrown away."""
    with torch.no_grad():
        count = batch.mask.sum()
        (batch.require("entropy") * batch.mask).sum() / count
        ((batch.require("old_logprobs") - batch.logprobs) * batch.mask).sum() / count
        if clipped is not None:
            (clipped * batch.mask).sum() / count
    return loss


def _clipped(batch: TokenBatch, low: float, high: float, adv: Tensor | None = None) -> tuple[Tensor, Tensor]:
    ratio = (batch.logprobs - batch.require("old_logprobs")).exp()
    adv = batch.advantages[:, None] if adv is None else adv
    plain, bounded = ratio * adv, ratio.clamp(1 - low, 1 + high) * adv
    return -torch.min(plain, bounded), (bounded < plain).detach()


def _token_mean(loss_NT: Tensor, batch: TokenBatch) -> Tensor:
    return (loss_NT * batch.mask).sum() / batch.mask.sum()


def _sequence_mean(loss_NT: Tensor, batch: TokenBatch) -> Tensor:
    return ((loss_NT * batch.mask).sum(1) / batch.mask.sum(1)).mean()


def _grpo(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    loss, clipped = _clipped(batch, 0.2, 0.2)
    return _sequence_mean(loss, batch), clipped


def _dapo(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    loss, clipped = _clipped(batch, 0.2, 0.28)
    return _token_mean(loss, batch), clipped


def _gspo(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    log_ratio = (batch.logprobs - batch.require("old_logprobs")) * batch.mask
    s = (log_ratio.sum(1) / batch.mask.sum(1)).exp()
    plain, bounded = s * batch.advantages, s.clamp(1 - 3e-4, 1 + 4e-4) * batch.advantages
    return -torch.min(plain, bounded).mean(), (bounded < plain)[:, None].detach()


def _cispo(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    ratio = (batch.logprobs - batch.require("old_logprobs")).exp().detach()
    loss = -ratio.clamp(max=5.0) * batch.advantages[:, None] * batch.logprobs
    return _token_mean(loss, batch), ratio > 5.0


def _gppo(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    ratio, adv = (batch.logprobs - batch.require("old_logprobs")).exp(), batch.advantages[:, None]
    fixed = ratio.detach()
    bounded = torch.where(fixed < 0.8, 0.8 / fixed * ratio, torch.where(fixed > 1.28, 1.28 / fixed * ratio, ratio))
    plain, bounded = ratio * adv, bounded * adv
    return _token_mean(-torch.min(plain, bounded), batch), (bounded < plain).detach()


def _kl_cov(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    log_ratio = batch.logprobs - batch.require("old_logprobs")
    plain, selected = -log_ratio.exp() * batch.advantages[:, None], batch.require("selected")
    return _token_mean(torch.where(selected, plain + log_ratio.abs(), plain), batch), selected


def _rl_plus(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    old, adv = batch.require("old_logprobs"), batch.advantages[:, None]
    pi = batch.logprobs.exp()
    demo = 2 * pi / (1.5 * old.exp() + 0.5 / batch.vocab_size) * (1 - pi.detach()).sqrt()
    ratio = (batch.logprobs - old).exp()
    return _token_mean(-adv * torch.where(batch.require("external")[:, None], demo, ratio), batch), None


def _high_entropy(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    loss, clipped = _clipped(batch, 0.2, 0.28)
    return _token_mean(loss * batch.require("selected"), batch), clipped


def _hicra(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    adv = batch.advantages[:, None]
    loss, clipped = _clipped(batch, 0.2, 0.28, torch.where(batch.require("planning"), adv + 0.2 * adv.abs(), adv))
    return _sequence_mean(loss, batch), clipped


def _tis(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    weight = (batch.require("old_logprobs") - batch.require("engine_logprobs")).exp().clamp(max=2.0)
    loss, clipped = _clipped(batch, 0.2, 0.2)
    return _sequence_mean(loss * weight, batch), clipped


BY_HAND: dict[str, ByHand] = {
    "grpo": _grpo,
    "dapo": _dapo,
    "gspo": _gspo,
    "cispo": _cispo,
    "gppo": _gppo,
    "kl-cov": _kl_cov,
    "rl-plus": _rl_plus,
    "80-20": _high_entropy,
    "hicra": _hicra,
    "grpo+tis": _tis,
}
