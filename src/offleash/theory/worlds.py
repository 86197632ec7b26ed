"""Worlds small enough to enumerate: every completion, its reward, and the logits it is drawn from.

A policy is a table of logits, one row a context (a prompt, or a prompt and the tokens so far), one column a token. Replicas
(seeds, settings) are stacked on a leading axis R, so that one call trains all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from offleash.core import InputError


@dataclass(frozen=True)
class World:
    """P prompts, each with the same M outcomes of up to T tokens.

    Attributes:
        context_PMT: which row of the logits each token is drawn from.
        token_MT: the tokens of each outcome.
        mask_MT: True where an outcome has a token.
        rewards_PM: reward of each outcome.
        chance_PM: probability of this reward given the tokens: 1, unless the same tokens are rewarded by luck.
        correct_PM: True where the outcome counts as right, for pass@k and support.
        contexts: S, rows of the logits.
        vocab: V, columns of the logits.
    """

    context_PMT: Tensor
    token_MT: Tensor
    mask_MT: Tensor
    rewards_PM: Tensor
    chance_PM: Tensor
    correct_PM: Tensor
    contexts: int
    vocab: int

    @property
    def prompts(self) -> int:
        """P."""
        return self.rewards_PM.shape[0]

    @property
    def outcomes(self) -> int:
        """M."""
        return self.rewards_PM.shape[1]

    @property
    def last_token(self) -> Tensor:
        """(M, T), True at the last token of each outcome."""
        return torch.arange(self.mask_MT.shape[1]) == self.mask_MT.sum(1, keepdim=True) - 1

    def with_rewards(self, rewards: Sequence[float]) -> World:
        """The same outcomes under other rewards, the same for every prompt. What is right stays."""
        return replace(self, rewards_PM=_table([rewards] * self.prompts))


def bandit(rewards: Sequence[float], correct: Sequence[bool] | None = None) -> World:
    """One prompt, V answers of one token. Right answers are those of reward 1 unless `correct` says otherwise."""
    return bandits([rewards], None if correct is None else [correct])


def bandits(rewards_PV: Sequence[Sequence[float]], correct_PV: Sequence[Sequence[bool]] | None = None) -> World:
    """P prompts with V answers of one token, each prompt with a row of logits of its own."""
    rewards = _table(rewards_PV)
    prompts, vocab = rewards.shape
    return World(
        context_PMT=torch.arange(prompts)[:, None, None].expand(prompts, vocab, 1),
        token_MT=torch.arange(vocab)[:, None],
        mask_MT=torch.ones(vocab, 1, dtype=torch.bool),
        rewards_PM=rewards,
        chance_PM=torch.ones_like(rewards),
        correct_PM=rewards == 1.0 if correct_PV is None else torch.tensor(correct_PV),
        contexts=prompts,
        vocab=vocab,
    )


def lottery(rates_PV: Sequence[Sequence[float]], honest: Sequence[bool]) -> World:
    """P prompts with V ways to answer; way v earns 1 with probability rates_PV[p][v] and 0 otherwise.

    `honest` says which ways count as right when they succeed; others succeed by luck. Outcomes are the V successes, then
    the V failures.
    """
    rates = _table(rates_PV)
    if bool(((rates < 0) | (rates > 1)).any()):
        raise InputError("rates: a probability is below 0 or above 1; give success rates")
    prompts, vocab = rates.shape
    right = torch.tensor([*honest, *[False] * vocab]).expand(prompts, 2 * vocab)
    return World(
        context_PMT=torch.arange(prompts)[:, None, None].expand(prompts, 2 * vocab, 1),
        token_MT=torch.arange(vocab).repeat(2)[:, None],
        mask_MT=torch.ones(2 * vocab, 1, dtype=torch.bool),
        rewards_PM=torch.cat([torch.ones_like(rates), torch.zeros_like(rates)], 1),
        chance_PM=torch.cat([rates, 1 - rates], 1),
        correct_PM=right,
        contexts=prompts,
        vocab=vocab,
    )


def sequences(vocab: int, limit: int, right: Callable[[tuple[int, ...]], bool], end: int | None = None) -> World:
    """One prompt; all sequences of up to `limit` tokens, which stop at `end` if there is such a token.

    Every prefix has a row of logits of its own. Without `end` every outcome has `limit` tokens.
    """
    going = [v for v in range(vocab) if v != end]
    prefixes = {p: i for i, p in enumerate(p for n in range(limit) for p in itertools.product(going, repeat=n))}
    stopped = [(*p, end) for p in prefixes] if end is not None else []
    outcomes: list[tuple[int, ...]] = [*stopped, *itertools.product(going, repeat=limit)]
    rows = [[prefixes[y[:t]] for t in range(len(y))] + [0] * (limit - len(y)) for y in outcomes]
    rewards = _table([[float(right(y)) for y in outcomes]])
    return World(
        context_PMT=torch.tensor([rows]),
        token_MT=torch.tensor([[*y, *[0] * (limit - len(y))] for y in outcomes]),
        mask_MT=torch.arange(limit) < torch.tensor([[len(y)] for y in outcomes]),
        rewards_PM=rewards,
        chance_PM=torch.ones_like(rewards),
        correct_PM=rewards == 1.0,
        contexts=len(prefixes),
        vocab=vocab,
    )


def logits_of(probabilities: Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
    """Logits (..., V) of given probabilities: their logarithms.

    Raises:
        InputError: a probability is not above 0, or they do not sum to 1 (within 1e-9).
    """
    p = torch.tensor(probabilities, dtype=torch.float64)
    if not bool((p > 0).all()) or not bool(((p.sum(-1) - 1).abs() < 1e-9).all()):
        raise InputError(f"start: {probabilities} is no distribution; give probabilities above 0 that sum to 1")
    return p.log()


def _table(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor([list(row) for row in rows], dtype=torch.float64)
