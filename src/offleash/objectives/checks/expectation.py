"""The mean gradient over everything that could be sampled, against the exact gradient of the expected reward.

The world is one prompt, a vocabulary {a, b, end} and at most three tokens: 15 completions of lengths 1 to 3, a tabular
softmax policy with logits of its own for each of the 7 prefixes, and a verifier that accepts three of the completions.
All groups of G samples are enumerated, so the mean over samples is exact, not a Monte-Carlo estimate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from offleash.core import rng
from offleash.objectives.batch import GroupBatch, TokenBatch
from offleash.objectives.checks.base import check, close, hold
from offleash.objectives.checks.example import annotated, denominator
from offleash.objectives.compose import Objective, over_tokens
from offleash.objectives.preset import Preset, build

END, LIMIT = 2, 3
RIGHT = {(0, END), (1, 0, 0), (1, 1, END)}
FACTORS: dict[str, Callable[[int, int], float]] = {
    "1": lambda group, k: 1.0,
    "(G-1)/(G*length)": lambda group, k: (group - 1) / (group * LIMIT),
    "1/k": lambda group, k: 1.0 / k,
    "(G-k)/(G*k)": lambda group, k: (group - k) / (group * k),
}
"""What the mean gradient is a multiple by, given G samples a group and k of pass@k."""
TARGETS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "J": lambda p, group, k: p,
    "pass@k": lambda p, group, k: 1.0 - (1.0 - p) ** k,
    "log-likelihood": lambda p, group, k: -torch.stack([(1.0 - p) ** j / j for j in range(1, group)]).sum(),
}
"""What is maximised, as a function of the probability p of a correct answer. The last is log p to order G - 1."""
SMALLEST_BIAS = 1e-3


@dataclass(frozen=True)
class World:
    """M = 15 completions of up to 3 tokens."""

    prefix_MT: Tensor
    token_MT: Tensor
    mask_MT: Tensor
    reward_M: Tensor
    prefixes: int


def world() -> World:
    """Enumerate the completions."""
    prefixes = {p: i for i, p in enumerate(p for n in range(LIMIT) for p in itertools.product((0, 1), repeat=n))}
    outcomes = [(*p, END) for p in prefixes] + list(itertools.product((0, 1), repeat=LIMIT))
    rows = []
    for y in outcomes:
        padding = LIMIT - len(y)
        rows.append(([prefixes[y[:t]] for t in range(len(y))] + [0] * padding, list(y) + [0] * padding))
    return World(
        prefix_MT=torch.tensor([r[0] for r in rows]),
        token_MT=torch.tensor([r[1] for r in rows]),
        mask_MT=torch.arange(LIMIT) < torch.tensor([[len(y)] for y in outcomes]),
        reward_M=torch.tensor([float(y in RIGHT) for y in outcomes], dtype=torch.float64),
        prefixes=len(prefixes),
    )


def token_logprobs(w: World, logits_SV: Tensor) -> Tensor:
    """Log-probs (M, T) of every token of every completion, 0 where masked."""
    logp_SV = logits_SV.log_softmax(-1)
    return torch.where(w.mask_MT, logp_SV[w.prefix_MT, w.token_MT], 0.0)


def exact_gradient(w: World, logits_SV: Tensor, target: str = "J", group: int = 2, k: int = 1) -> Tensor:
    """Gradient with respect to the logits of one of TARGETS."""
    logits = logits_SV.clone().requires_grad_()
    correct = (token_logprobs(w, logits).sum(1).exp() * w.reward_M).sum()
    return torch.autograd.grad(TARGETS[target](correct, group, k), logits)[0]


def mean_sampled_gradient(objective: Objective, w: World, logits_SV: Tensor, group: int) -> Tensor:
    """Minus the mean over all groups of the gradient of the loss, on-policy, with respect to the logits."""
    logits = logits_SV.clone().requires_grad_()
    logp_MT = token_logprobs(w, logits)
    table_MT = logp_MT.detach()
    probability_M = table_MT.sum(1).exp()
    logp_SV = logits.detach().log_softmax(-1)
    entropy_MT = -(logp_SV.exp() * logp_SV).sum(-1)[w.prefix_MT]
    total_MT = torch.zeros_like(table_MT)
    for members in itertools.combinations_with_replacement(range(len(w.reward_M)), group):
        index = torch.tensor(members)
        orders = len(set(itertools.permutations(members)))
        groups, state = objective.prepare(_groups(w, table_MT, index))
        leaf = table_MT[index].clone().requires_grad_()
        batch = TokenBatch(
            logprobs=leaf,
            old_logprobs=leaf.detach(),
            engine_logprobs=leaf.detach(),
            ref_logprobs=leaf.detach(),
            entropy=entropy_MT[index].requires_grad_(),
            mask=w.mask_MT[index],
            advantages=over_tokens(objective.advantages(groups), torch.arange(LIMIT).expand(group, LIMIT)),
            vocab_size=3,
            external=torch.zeros(group, dtype=torch.bool),
            correct=w.reward_M[index] == 1.0,
            group_ids=torch.zeros(group, dtype=torch.long),
            planning=w.token_MT[index] == 0,
        )
        batch, _ = objective.prepare(batch, state)
        divisor = denominator(objective, batch, LIMIT)
        grad = torch.autograd.grad(objective.loss(batch, divisor)[0], leaf)[0]
        total_MT.index_add_(0, index, -orders * probability_M[index].prod() * grad)
    return torch.autograd.grad(logp_MT, logits, total_MT)[0]


def _groups(w: World, table_MT: Tensor, index: Tensor) -> GroupBatch:
    """One group of these completions; every token is a step, its state the prefix, its reward 0 before the last."""
    length_G = w.mask_MT[index].sum(1)
    last = torch.arange(LIMIT) == length_G[:, None] - 1
    return replace(
        annotated(w.reward_M[index][None], index[None]),
        lengths_PG=length_G[None],
        mean_logprobs_PG=(table_MT[index].sum(1) / length_G)[None],
        step_rewards_PGS=torch.where(last, w.reward_M[index][:, None], 0.0)[None],
        step_tags_PGS=w.token_MT[index][None],
        step_states_PGS=w.prefix_MT[index][None],
        step_mask_PGS=w.mask_MT[index][None],
    )


def logits(w: World) -> Tensor:
    """A policy that is far from uniform."""
    return torch.from_numpy(rng.stream("tabular policy").normal(0.0, 1.0, (w.prefixes, 3)))


def bias(objective: Objective, group: int) -> float:
    """How far the mean sampled gradient is from a multiple of the exact one: sine of the angle, 1 if it is 0."""
    w = world()
    policy = logits(w)
    exact, sampled = exact_gradient(w, policy).flatten(), mean_sampled_gradient(objective, w, policy, group).flatten()
    if sampled.norm() == 0:
        return 1.0
    cosine = (exact @ sampled / (exact.norm() * sampled.norm())).clamp(-1.0, 1.0)
    return float((1.0 - cosine**2).sqrt())


@check(
    "unbiased", "the mean sampled gradient is the exact one of what the row maximises", lambda c: bool(c.unbiased_for)
)
def unbiased(preset: Preset) -> None:
    """For groups of two sizes, with the constant the row states."""
    w, c = world(), preset.claims
    assert c.unbiased_for is not None
    objective, policy = build(preset, **c.shown_at), logits(w)
    k = int(str(objective.settings.get("pass_k", 1)))
    for group in (c.smallest_group, c.smallest_group + 1):
        factor = FACTORS[c.unbiased_factor](group, k)
        expected = factor * exact_gradient(w, policy, c.unbiased_for, group, k)
        actual = mean_sampled_gradient(objective, w, policy, group)
        close(f"mean gradient over groups of {group}", actual, expected, 1e-12)


@check("biased", "a row that does not claim to be unbiased is not", lambda c: not c.unbiased_for)
def biased(preset: Preset) -> None:
    """Measured, so that the claim is made wherever it can be."""
    measured = bias(build(preset, **preset.claims.shown_at), preset.claims.smallest_group)
    hold(measured > SMALLEST_BIAS, f"the bias is {measured:.2g}: claim unbiased_for")
