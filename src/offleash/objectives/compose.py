"""An objective: one advantage, and a sum of reduced per-token terms. A pure function of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.advantages.group import require_group
from offleash.objectives.batch import GroupBatch, TokenBatch
from offleash.objectives.reduce import Denominator, Reduction, RowFlags, count
from offleash.objectives.registry import PerToken
from offleash.objectives.regularizers.kl import k3

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Term:
    """weight x reduction(function(batch))."""

    name: str
    weight: float
    function: Callable[[TokenBatch], PerToken]
    reduction: Reduction


@dataclass(frozen=True)
class Objective:
    """A training objective with its settings bound.

    Attributes:
        name: the preset it comes from.
        settings: every setting as resolved; `get(name, **settings)` builds the same objective again.
        advantage: from a GroupBatch to adv_PG.
        terms: the surrogate first, then regularizers. The loss is their sum.
        needs: TokenBatch fields a batch must carry.
        group_baseline: whether a group of one is an error.
        uses_external: whether it has a rule for demonstration rows.
        needs_external: whether it does nothing without them.
        zero_advantage_is_zero_gradient: whether rows of advantage 0 can be left out of the backward pass.
        select: chooses tokens for `prepare`, or None.
        scope: on what `prepare` must be called before `loss`: "step" (the whole optimizer step), "micro-batch", or
            None where there is nothing to prepare.
    """

    name: str
    settings: Mapping[str, object]
    advantage: Callable[[GroupBatch], Tensor]
    terms: tuple[Term, ...]
    needs: frozenset[str] = frozenset()
    group_baseline: bool = False
    uses_external: bool = False
    needs_external: bool = False
    zero_advantage_is_zero_gradient: bool = False
    select: Callable[[TokenBatch, Key], Tensor] | None = None
    scope: str | None = None

    @property
    def needs_old(self) -> bool:
        """Whether the log-probs at sampling time enter the loss."""
        return "old_logprobs" in self.needs

    @property
    def needs_ref(self) -> bool:
        """Whether a reference model must score the tokens."""
        return "ref_logprobs" in self.needs

    @property
    def needs_entropy(self) -> bool:
        """Whether the entropy must carry a gradient."""
        return "entropy" in self.needs

    def advantages(
        self,
        rewards_PG: Float[Tensor, "P G"],
        external_PG: Bool[Tensor, "P G"] | None = None,
        valid_PG: Bool[Tensor, "P G"] | None = None,
    ) -> Float[Tensor, "P G"]:
        """Advantages of P groups of G completions.

        Args:
            rewards_PG: rewards.
            external_PG: True for demonstrations.
            valid_PG: False where there is no verdict; such a completion is in no baseline and gets 0.

        Raises:
            InputError: a reward is not finite; a group of one under a group baseline.
        """
        group = GroupBatch(rewards_PG=rewards_PG, external_PG=external_PG, valid_PG=valid_PG)
        group.check()
        self._refuse_external(external_PG)
        if self.group_baseline:
            require_group(self.name, rewards_PG)
        adv_PG = self.advantage(group)
        return adv_PG if valid_PG is None else torch.where(valid_PG, adv_PG, 0.0)

    def denominator(
        self,
        mask: Bool[Tensor, "N T"],
        *,
        advantages: Float[Tensor, " N"] | Float[Tensor, "N T"] | None = None,
        external: Bool[Tensor, " N"] | None = None,
        correct: Bool[Tensor, " N"] | None = None,
        max_completion_length: int | None = None,
    ) -> Denominator:
        """What the loss is divided by: counted once over the WHOLE step batch, then given to every `loss` call.

        Over several processes, add the denominators of all of them.

        Args:
            mask: of all completions of the optimizer step.
            advantages: needed by objectives that count negative or positive samples.
            external: needed by objectives that count demonstrations apart.
            correct: needed by objectives that imitate correct completions.
            max_completion_length: generation limit, for constant-length reductions (dr-grpo).

        Raises:
            InputError: something this objective's reductions need is missing.
        """
        result = count(mask, RowFlags(advantages, external, correct), max_completion_length)
        for term in self.terms:
            term.reduction.check(result)
        return result

    def prepare(self, batch: TokenBatch, state: object = None, *, key: Key = ()) -> tuple[TokenBatch, object]:
        """What must be decided over many tokens at once, written into the batch; nothing where `scope` is None.

        Args:
            batch: the whole step, or a micro-batch, as `scope` says. Its logprobs need no gradient; those at sampling
                time serve where the step is the first after the rollout.
            state: what the last call returned; no row keeps one yet.
            key: for random choices, e.g. (seed, step).
        """
        if self.select is None:
            return batch, state
        batch.check()
        return replace(batch, selected=self.select(batch, key)), state

    def loss(
        self, batch: TokenBatch, denominator: Denominator, *, check: bool = True
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """This batch's share of the step's loss, and of its metrics: over micro-batches, both add up.

        Args:
            batch: a micro-batch, or the whole step.
            denominator: of the whole step.
            check: look for wrong shapes and for numbers that are not finite. False is for vmap, where no value can be
                read.

        Raises:
            InputError: naming the field, row and token that cannot be used.
        """
        if check:
            self._check(batch)
        flags = RowFlags(batch.advantages, batch.external, batch.correct)
        total = batch.logprobs.new_zeros(())
        metrics: dict[str, Tensor] = {}
        for term in self.terms:
            values_NT, diagnostics = term.function(batch)
            share = term.weight * term.reduction(values_NT, batch.mask, denominator, flags)
            total = total + share
            metrics[f"loss_{term.name}"] = share.detach()
            for name, value_NT in diagnostics.items():
                metrics[name] = _share(value_NT, batch, denominator)
        metrics |= _monitors(batch, denominator)
        if check and not total.isfinite():
            raise InputError(_overflow(self.terms, batch))
        return total, metrics

    def _check(self, batch: TokenBatch) -> None:
        batch.check()
        for name in sorted(self.needs):
            if getattr(batch, name) is None:
                raise InputError(f"{name}: {self.name} needs it and the batch has none")
        self._refuse_external(batch.external)

    def _refuse_external(self, external: Tensor | None) -> None:
        if external is not None and not self.uses_external and bool(external.any()):
            raise InputError(
                f"external: {self.name} has no rule for demonstrations; leave them out, or use rl-plus, luffy or sft"
            )


def _share(value_NT: Tensor, batch: TokenBatch, denominator: Denominator) -> Tensor:
    kept_NT = torch.where(batch.mask, value_NT.detach().to(batch.logprobs.dtype), 0.0)
    return kept_NT.sum() / max(denominator.tokens["all"], 1.0)


def _monitors(batch: TokenBatch, denominator: Denominator) -> dict[str, Tensor]:
    """Means over the step's tokens that every objective reports, of what the batch carries."""
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        if batch.old_logprobs is not None:
            found["kl_old"] = _share(batch.old_logprobs - batch.logprobs, batch, denominator)
        if batch.ref_logprobs is not None:
            log_ratio_NT = torch.where(batch.mask, batch.logprobs - batch.ref_logprobs, 0.0)
            found["kl_ref"] = _share(k3(log_ratio_NT), batch, denominator)
        if batch.entropy is not None:
            found["token_entropy"] = _share(batch.entropy, batch, denominator)
    return found


def _overflow(terms: tuple[Term, ...], batch: TokenBatch) -> str:
    """Which term, row and token of finite inputs gave a loss that is not finite."""
    for term in terms:
        values_NT = term.function(batch)[0].detach()
        bad_NT = ~values_NT.isfinite().expand_as(batch.mask) & batch.mask
        if bad_NT.any():
            n, t = bad_NT.nonzero()[0].tolist()
            return (
                f"logprobs: row {n}, token {t} gives a {term.name} of {values_NT.expand_as(bad_NT)[n, t].item()}; "
                "the policy is too far from the one that sampled it"
            )
    return "advantages: the sum of the losses overflows; make them smaller"
