"""An objective: one advantage, and a sum of reduced per-token terms. A pure function of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.advantages.group import require_group
from offleash.objectives.batch import GroupBatch, TokenBatch
from offleash.objectives.reduce import Denominator, Reduction, RowFlags, count
from offleash.objectives.registry import PerToken, State
from offleash.objectives.regularizers.kl import k3

Key = tuple[str | int, ...]
Prepare = Callable[[Any, State], tuple[Mapping[str, Any], State]]


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
        advantage: from a GroupBatch to adv_PG, or adv_PGS with one number a step.
        terms: the surrogate first, then regularizers. The loss is their sum.
        credit: spreads a completion's advantage over its tokens for the surrogate; None where all get the same.
        needs: TokenBatch fields a batch must carry.
        group_needs: GroupBatch fields that groups must carry beyond the rewards.
        least_group: the smallest group it can compare.
        uses_external: whether it has a rule for demonstration rows.
        needs_external: whether it does nothing without them.
        zero_advantage_is_zero_gradient: whether rows of advantage 0 can be left out of the backward pass.
        select: chooses tokens for `prepare`, or None.
        scope: on what `prepare` must see the current log-probs before `loss`: "step" (the whole optimizer step),
            "micro-batch", or None where no tokens are chosen.
        prepare_groups: what the advantage remembers from step to step, or None.
        prepare_tokens: what regularizers remember, by name.
    """

    name: str
    settings: Mapping[str, object]
    advantage: Callable[[GroupBatch], Tensor]
    terms: tuple[Term, ...]
    credit: Callable[[TokenBatch], Tensor] | None = None
    needs: frozenset[str] = frozenset()
    group_needs: frozenset[str] = frozenset()
    least_group: int = 1
    uses_external: bool = False
    needs_external: bool = False
    zero_advantage_is_zero_gradient: bool = False
    select: Callable[[TokenBatch, Key], Tensor] | None = None
    scope: str | None = None
    prepare_groups: Prepare | None = None
    prepare_tokens: Mapping[str, Prepare] = field(default_factory=dict)

    @property
    def group_baseline(self) -> bool:
        """Whether a group of one is an error."""
        return self.least_group > 1

    @property
    def remembers(self) -> bool:
        """Whether `prepare` keeps a state, which belongs into checkpoints."""
        return self.prepare_groups is not None or bool(self.prepare_tokens)

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
        rewards_PG: Float[Tensor, "P G"] | GroupBatch,
        external_PG: Bool[Tensor, "P G"] | None = None,
        valid_PG: Bool[Tensor, "P G"] | None = None,
    ) -> Float[Tensor, "P G"] | Float[Tensor, "P G S"]:
        """Advantages of P groups of G completions; with a step axis for objectives that give steps their own.

        Args:
            rewards_PG: rewards; or a GroupBatch, for objectives that read more of the groups (`group_needs`).
            external_PG: True for demonstrations.
            valid_PG: False where there is no verdict; such a completion is in no baseline and gets 0.

        Raises:
            InputError: a number is not finite; a group is too small; a field that the objective needs is missing.
        """
        if isinstance(rewards_PG, GroupBatch):
            if external_PG is not None or valid_PG is not None:
                raise InputError(
                    "external_PG, valid_PG: put them into the GroupBatch; beside one they would be ignored"
                )
            group = rewards_PG
        elif not isinstance(rewards_PG, Tensor):
            raise InputError(
                f"rewards_PG: is a {type(rewards_PG).__name__}; give a float tensor of shape (prompts, group)"
            )
        else:
            group = GroupBatch(rewards_PG=rewards_PG, external_PG=external_PG, valid_PG=valid_PG)
        self._check_groups(group)
        adv = self.advantage(group)
        if group.valid_PG is None:
            return adv
        return torch.where(group.valid_PG if adv.ndim == 2 else group.valid_PG[..., None], adv, 0.0)

    def _check_groups(self, group: GroupBatch) -> None:
        group.check()
        self._refuse_external(group.external_PG)
        require_group(self.name, group.rewards_PG, self.least_group)
        for name in sorted(self.group_needs):
            if getattr(group, name) is None:
                raise InputError(f"{name}: {self.name} needs it and the groups have none")

    def denominator(
        self,
        mask: Bool[Tensor, "N T"],
        *,
        advantages: Float[Tensor, " N"] | Float[Tensor, "N T"] | None = None,
        external: Bool[Tensor, " N"] | None = None,
        correct: Bool[Tensor, " N"] | None = None,
        group_ids: Int[Tensor, " N"] | None = None,
        selected: Bool[Tensor, "N T"] | None = None,
        max_completion_length: int | None = None,
    ) -> Denominator:
        """What the loss is divided by: counted once over the WHOLE step batch, then given to every `loss` call.

        Over several processes, add the denominators of all of them.

        Args:
            mask: of all completions of the optimizer step.
            advantages: needed by objectives that count negative or positive samples.
            external: needed by objectives that count demonstrations apart.
            correct: needed by objectives that imitate correct completions.
            group_ids: needed by objectives that weigh prompts equally; over several processes they must differ.
            selected: needed by objectives that count chosen tokens: those that `prepare` chose.
            max_completion_length: generation limit, for constant-length reductions (dr-grpo).

        Raises:
            InputError: something this objective's reductions need is missing.
        """
        if mask.dtype != torch.bool or mask.ndim != 2:
            raise InputError(f"mask: is {mask.dtype} of shape {tuple(mask.shape)}; give a bool tensor of shape (N, T)")
        if advantages is not None and tuple(advantages.shape) not in ((len(mask),), tuple(mask.shape)):
            raise InputError(
                f"advantages: shape is {tuple(advantages.shape)}; give ({len(mask)},) or {tuple(mask.shape)}"
            )
        flags = RowFlags(advantages, external, correct, selected, group_ids)
        result = count(mask, flags, max_completion_length)
        for term in self.terms:
            term.reduction.check(result)
        return result

    @overload
    def prepare(self, batch: GroupBatch, state: State | None = None, *, key: Key = ()) -> tuple[GroupBatch, State]: ...

    @overload
    def prepare(self, batch: TokenBatch, state: State | None = None, *, key: Key = ()) -> tuple[TokenBatch, State]: ...

    def prepare(
        self, batch: GroupBatch | TokenBatch, state: State | None = None, *, key: Key = ()
    ) -> tuple[GroupBatch | TokenBatch, State]:
        """What must be decided over many completions or tokens at once, written into the batch.

        Args:
            batch: the groups of a rollout, before `advantages`; and the tokens of an optimizer step (or of a
                micro-batch, as `scope` says), before `denominator` and `loss`. Its logprobs need no gradient; where
                `scope` is None those at sampling time will do.
            state: what the last call returned, or came back from a checkpoint; None at the start.
            key: for random choices, e.g. (seed, step).

        Returns:
            The batch with `stats`, or with `selected` and `controls`, and the next state, in JSON's types.
        """
        state = dict(state or {})
        if isinstance(batch, GroupBatch):
            if self.prepare_groups is not None:
                self._check_groups(batch)
                found, state["advantage"] = self.prepare_groups(batch, state.get("advantage", {}))
                batch = replace(batch, stats=found)
            return batch, state
        if self.select is None and not self.prepare_tokens:
            return batch, state
        batch.check()
        controls: dict[str, float] = {}
        for name, prepare in self.prepare_tokens.items():
            found, state[name] = prepare(batch, state.get(name, {}))
            controls |= found
        if self.select is not None:
            batch = replace(batch, selected=self.select(batch, key))
        return replace(batch, controls=controls), state

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
        if not check:
            return self._loss(batch, denominator)
        self._check(batch)
        # Products mask faster, and padding is nearly always finite: the loss and the metrics read every number, so one
        # test of them tells. Only where it fails is the padding cut out, and then the place looked for.
        total, metrics = self._loss(replace(batch, clean=True), denominator)
        if not _finite(total, metrics, batch):
            total, metrics = self._loss(batch, denominator)
            if not _finite(total, metrics, batch):
                batch.check_finite()
                raise InputError(_overflow(self.terms, batch))
        return total, metrics

    def _loss(self, batch: TokenBatch, denominator: Denominator) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        flags = RowFlags(
            batch.advantages, batch.external, batch.correct, batch.selected, batch.group_ids, batch.length_N, batch.keep
        )
        if self.credit is not None:
            batch = replace(batch, advantages=self.credit(batch))
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
        if self.credit is not None and batch.planning is not None:
            metrics["planning_fraction"] = _share(batch.planning, batch, denominator)
        return total, metrics

    def _check(self, batch: TokenBatch) -> None:
        batch.check_shapes()
        for name in sorted(self.needs):
            if getattr(batch, name) is None:
                raise InputError(f"{name}: {self.name} needs it and the batch has none")
        self._refuse_external(batch.external)

    def _refuse_external(self, external: Tensor | None) -> None:
        if external is not None and not self.uses_external and bool(external.any()):
            raise InputError(
                f"external: {self.name} has no rule for demonstrations; leave them out, or use rl-plus, luffy or sft"
            )


def over_tokens(
    adv: Float[Tensor, "P G"] | Float[Tensor, "P G S"], step_NT: Int[Tensor, "N T"] | None = None
) -> Float[Tensor, " N"] | Float[Tensor, "N T"]:
    """Advantages as a TokenBatch takes them: a number a completion, or that of the step each token belongs to.

    `step_NT` numbers the step of each token of the N = P x G completions; -1 for a token of no step, which gets 0.
    """
    if adv.ndim == 2:
        return adv.flatten()
    if step_NT is None:
        raise InputError("step_NT: the advantages are one a step; say which step each token belongs to")
    adv_NT = adv.flatten(0, 1).gather(1, step_NT.clamp(min=0))
    return torch.where(step_NT >= 0, adv_NT, 0.0)


def _finite(total: Tensor, metrics: Mapping[str, Tensor], batch: TokenBatch) -> bool:
    counted = batch.mask if batch.advantages.ndim == 2 else batch.length_N > 0
    advantages = torch.where(counted, batch.advantages, 0.0)
    numbers = torch.stack([total.detach(), *metrics.values(), advantages.sum().to(total.dtype)])
    return bool(numbers.isfinite().all())


def _share(value_NT: Tensor, batch: TokenBatch, denominator: Denominator) -> Tensor:
    """A diagnostic's share of its mean over the step's tokens; of shape (N, 1) it is the same at all of a row's."""
    value_NT, tokens = value_NT.detach(), max(denominator.tokens["all"], 1.0)
    if value_NT.shape[1] == 1 and batch.mask.shape[1] != 1:
        total = (torch.where(batch.length_N > 0, value_NT[:, 0], 0.0) * batch.length_N).sum()
    elif value_NT.dtype == torch.bool:
        total = (value_NT & batch.mask).count_nonzero().to(batch.logprobs.dtype)
    else:
        total = batch.keep(value_NT, batch.mask).sum()
    return total / tokens


def _monitors(batch: TokenBatch, denominator: Denominator) -> dict[str, Tensor]:
    """Means over the step's tokens that every objective reports, of what the batch carries."""
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        tokens = max(denominator.tokens["all"], 1.0)
        if batch.old_logprobs is not None:
            found["kl_old"] = -batch.log_ratio_NT.detach().sum() / tokens
        else:
            found["logprob"] = _share(batch.logprobs, batch, denominator)
        if batch.engine_logprobs is not None and batch.old_logprobs is not None:
            found["kl_engine"] = _share(batch.engine_logprobs - batch.old_logprobs, batch, denominator)
        if batch.ref_logprobs is not None:
            log_ratio_NT = batch.keep(batch.logprobs - batch.ref_logprobs, batch.mask)
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
