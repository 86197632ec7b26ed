"""KL estimators: their values, and what their gradients average to on an enumerated policy. The entropy bonus."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from offleash.core import InputError
from offleash.core.rng import stream
from offleash.objectives import PRESETS, get
from offleash.objectives.checks import example, gradient
from offleash.objectives.regularizers import k1, k2, k3

LOGITS = torch.from_numpy(stream("kl test").normal(size=6))
REFERENCE = torch.from_numpy(stream("kl reference").normal(size=6)).log_softmax(0)


def kl_forward(logp: torch.Tensor) -> torch.Tensor:
    return (logp.exp() * (logp - REFERENCE)).sum()


def kl_backward(logp: torch.Tensor) -> torch.Tensor:
    return (REFERENCE.exp() * (REFERENCE - logp)).sum()


def mean_gradient(estimator) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Mean over tokens sampled from pi of the estimator's own gradient: the sampling is not differentiated."""
    logits = LOGITS.clone().requires_grad_()
    logp = logits.log_softmax(0)
    return torch.autograd.grad((logp.detach().exp() * estimator(logp - REFERENCE)).sum(), logits)[0]


def true_gradient(divergence) -> torch.Tensor:  # type: ignore[no-untyped-def]
    logits = LOGITS.clone().requires_grad_()
    return torch.autograd.grad(divergence(logits.log_softmax(0)), logits)[0]


def test_k1_penalises_nothing() -> None:
    assert torch.allclose(mean_gradient(k1), torch.zeros(6, dtype=torch.float64), atol=1e-15)


def test_k2_has_the_gradient_of_the_divergence_from_the_reference() -> None:
    assert torch.allclose(mean_gradient(k2), true_gradient(kl_forward), rtol=1e-12)


def test_k3_has_the_gradient_of_the_other_direction() -> None:
    assert torch.allclose(mean_gradient(k3), true_gradient(kl_backward), rtol=1e-12)
    assert not torch.allclose(mean_gradient(k3), true_gradient(kl_forward), rtol=1e-2)


def test_k1_and_k3_are_unbiased_in_value_and_k3_is_never_negative() -> None:
    logp = LOGITS.log_softmax(0)
    for estimator in (k1, k3):
        assert (logp.exp() * estimator(logp - REFERENCE)).sum().item() == pytest.approx(kl_forward(logp).item())
    assert (k3(torch.linspace(-5, 5, 101)) >= 0).all()
    assert k3(torch.tensor(1e-9, dtype=torch.float64)).item() == pytest.approx(5e-19, rel=1e-6)  # expm1, not exp - 1


@pytest.mark.parametrize(
    ("estimator", "weight"), [("k1", lambda d: 1 + 0 * d), ("k2", lambda d: d), ("k3", lambda d: 1 - (-d).exp())]
)
def test_the_penalty_in_the_loss_has_the_stated_gradient(estimator, weight) -> None:  # type: ignore[no-untyped-def]
    e = example(PRESETS["grpo"], kl_beta=0.3, kl_estimator=estimator, reduction="token-mean")
    zero = e.with_advantages(torch.zeros_like(e.batch.advantages))
    _, grad, _, metrics = gradient(e.objective, zero.batch, zero.denominator)
    d = e.batch.logprobs - e.batch.ref_logprobs  # type: ignore[operator]
    assert torch.allclose(grad, torch.where(e.batch.mask, 0.3 * weight(d) / e.batch.mask.sum(), 0.0))
    assert metrics["kl_ref"].item() == pytest.approx((k3(d) * e.batch.mask).sum().item() / e.batch.mask.sum().item())
    assert e.objective.needs_ref


def test_a_penalty_without_a_reference_is_an_error() -> None:
    e = example(PRESETS["grpo"], kl_beta=0.1)
    with pytest.raises(InputError, match="ref_logprobs: grpo needs it"):
        e.objective.loss(replace(e.batch, ref_logprobs=None), e.denominator)
    with pytest.raises(InputError, match="did you mean 'k3'"):
        get("grpo", kl_beta=0.1, kl_estimator="k33")


def test_entropy_bonus_and_the_error_when_it_would_do_nothing() -> None:
    e = example(PRESETS["grpo"], entropy_coef=0.01, reduction="token-mean")
    _, _, grad_entropy, metrics = gradient(e.objective, e.batch, e.denominator)
    assert torch.allclose(grad_entropy, torch.where(e.batch.mask, -0.01 / e.batch.mask.sum().double(), 0.0))
    assert metrics["loss_entropy"].item() == pytest.approx(-0.01 * metrics["token_entropy"].item())
    training = replace(e.batch, logprobs=e.batch.logprobs.clone().requires_grad_())
    with pytest.raises(InputError, match="entropy: carries no gradient"):
        e.objective.loss(training, e.denominator)
    assert get("grpo", entropy_coef=0.01).needs_entropy
