"""What a policy is worth, exactly: expected reward, pass@k, entropy, support. Differentiable in the logits.

Logits have shape (..., S, V); what is returned has the same leading axes, then P prompts. Nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from offleash.theory.worlds import World

Measure = Callable[[World, Tensor], Tensor]


def token_logprobs(world: World, logits: Tensor) -> Tensor:
    """Log-probs (..., P, M, T) in nats of every token of every outcome; 0 where masked."""
    logp = logits.log_softmax(-1)[..., world.context_PMT, world.token_MT]
    return torch.where(world.mask_MT, logp, 0.0)


def sequence_logprobs(world: World, logits: Tensor) -> Tensor:
    """Log-probs (..., P, M) of the tokens of every outcome, without the luck of its reward."""
    return token_logprobs(world, logits).sum(-1)


def probabilities(world: World, logits: Tensor) -> Tensor:
    """Probability (..., P, M) of every outcome; sums to 1 over M."""
    return sequence_logprobs(world, logits).exp() * world.chance_PM


def expected_reward(world: World, logits: Tensor) -> Tensor:
    """J = sum of probability x reward, (..., P)."""
    return (probabilities(world, logits) * world.rewards_PM).sum(-1)


def success(world: World, logits: Tensor) -> Tensor:
    """Probability (..., P) of a right outcome: pass@1."""
    return (probabilities(world, logits) * world.correct_PM).sum(-1)


def pass_at_k(world: World, logits: Tensor, k: int) -> Tensor:
    """1 - (1 - success)^k, (..., P): the chance that one of k samples is right."""
    return -torch.expm1(k * torch.log1p(-success(world, logits)))


def entropy(world: World, logits: Tensor) -> Tensor:
    """Entropy (..., P) in nats of the whole sequence of tokens."""
    return -(probabilities(world, logits) * sequence_logprobs(world, logits)).sum(-1)


def kl(world: World, logits: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference), (..., P), in nats; of whole sequences."""
    gap = sequence_logprobs(world, logits) - sequence_logprobs(world, reference)
    return (probabilities(world, logits) * gap).sum(-1)


def support(world: World, logits: Tensor, epsilon: float) -> Tensor:
    """Right outcomes more probable than epsilon, (..., P, M) of bool: supp_epsilon of arXiv 2507.14843, sec. 3."""
    return (probabilities(world, logits) > epsilon) & world.correct_PM


def gradient(measure: Measure, world: World, logits: Tensor) -> Tensor:
    """Gradient of the sum over prompts (and replicas) of a measure with respect to the logits."""
    leaf = logits.detach().clone().requires_grad_()
    return torch.autograd.grad(measure(world, leaf).sum(), leaf)[0]


def conditional_entropies(world: World, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of -log pi over right and over wrong outcomes, each (..., P): how far each kind is from the policy's mode."""
    p, surprise = probabilities(world, logits), -sequence_logprobs(world, logits)
    right = world.correct_PM.to(p.dtype)
    means = [(p * w * surprise).sum(-1) / (p * w).sum(-1) for w in (right, 1 - right)]
    return means[0], means[1]
