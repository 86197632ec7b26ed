"""What an objective reads: groups of rewards (GroupBatch), then tokens (TokenBatch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from offleash.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class GroupBatch:
    """P prompts with G completions each, before they are tokens of a loss. Most rows read the rewards alone.

    Attributes:
        rewards_PG: the verifier's reward of each completion.
        external_PG: True where the completion is a demonstration, not a rollout; None if there is none.
        valid_PG: False where the verifier could not decide. Such a completion belongs to no baseline and has advantage
            0. None if all are decided.
        prompts: names of the prompts, for what is remembered of them from step to step.
        answers_PG: equal numbers for equal answers to the same prompt.
        clusters_PG: equal numbers for completions that count as the same idea.
        lengths_PG: tokens that count in the loss.
        mean_logprobs_PG: mean over a completion's tokens of the log-prob at sampling, in nats.
        step_rewards_PGS: reward of each of up to S steps of a trajectory.
        step_tags_PGS: kind of each step, at least 0; -1 for a step of no kind.
        step_states_PGS: equal numbers for steps taken from the same state of the same prompt.
        step_mask_PGS: True where a trajectory has a step.
        reference_logprobs_PGR: log-prob of each of the R tokens of the prompt's reference after this completion.
        masked_logprobs_PR: the same without any completion before them.
        reference_mask_PR: True where the reference has a token.
        stats: what `Objective.prepare` found.
    """

    rewards_PG: Float[Tensor, "P G"]
    external_PG: Bool[Tensor, "P G"] | None = None
    valid_PG: Bool[Tensor, "P G"] | None = None
    prompts: tuple[str, ...] | None = None
    answers_PG: Int[Tensor, "P G"] | None = None
    clusters_PG: Int[Tensor, "P G"] | None = None
    lengths_PG: Int[Tensor, "P G"] | None = None
    mean_logprobs_PG: Float[Tensor, "P G"] | None = None
    step_rewards_PGS: Float[Tensor, "P G S"] | None = None
    step_tags_PGS: Int[Tensor, "P G S"] | None = None
    step_states_PGS: Int[Tensor, "P G S"] | None = None
    step_mask_PGS: Bool[Tensor, "P G S"] | None = None
    reference_logprobs_PGR: Float[Tensor, "P G R"] | None = None
    masked_logprobs_PR: Float[Tensor, "P R"] | None = None
    reference_mask_PR: Bool[Tensor, "P R"] | None = None
    stats: Mapping[str, Tensor] = field(default_factory=dict)

    def check(self) -> None:
        """Raise InputError for wrong shapes and for numbers that are not finite (where they are valid)."""
        shape = tuple(self.rewards_PG.shape)
        if self.rewards_PG.ndim != 2 or not self.rewards_PG.is_floating_point():
            raise InputError(
                f"rewards_PG: is {self.rewards_PG.dtype} of shape {shape}; give a float tensor of shape (prompts, group)"
            )
        for name in ("external_PG", "valid_PG"):
            _check_mask(name, getattr(self, name), shape)
        if self.prompts is not None and len(self.prompts) != shape[0]:
            raise InputError(f"prompts: {len(self.prompts)} names for {shape[0]} prompts; give one each")
        self._check_annotations(shape)
        for name in ("rewards_PG", "mean_logprobs_PG"):
            value = getattr(self, name)
            bad = ~value.isfinite() & self.decided_PG if value is not None else torch.zeros(1, dtype=torch.bool)
            if bad.any():
                p, g = bad.nonzero()[0].tolist()
                raise InputError(
                    f"{name}: row {p}, sample {g} is {value[p, g].item()}; "
                    "a completion without a verdict must be False in valid_PG"
                )

    def _check_annotations(self, shape: tuple[int, ...]) -> None:
        if self.lengths_PG is not None and (self.lengths_PG.is_floating_point() or bool((self.lengths_PG < 0).any())):
            raise InputError("lengths_PG: is not a count of tokens; give whole numbers of at least 0")
        if self.step_mask_PGS is not None and not self.step_mask_PGS.shape[-1]:
            raise InputError("step_mask_PGS: has no step; give every completion at least one")
        for f in fields(self):
            value, axes = getattr(self, f.name), f.name.rpartition("_")[2]
            if not isinstance(value, Tensor) or axes not in ("PG", "PGS", "PGR", "PR"):
                continue
            wanted = shape if axes.startswith("PG") else shape[:1]
            if value.ndim != len(axes) or tuple(value.shape[: len(wanted)]) != wanted:
                raise InputError(f"{f.name}: shape is {tuple(value.shape)}; rewards_PG is of shape {shape}")

    @property
    def decided_PG(self) -> Bool[Tensor, "P G"]:
        """True where there is a verdict."""
        if self.valid_PG is not None:
            return self.valid_PG
        return torch.ones_like(self.rewards_PG, dtype=torch.bool)

    def members(self, index_G: Int[Tensor, " H"]) -> GroupBatch:
        """The groups with these members, in this order. What `prepare` found is left out."""
        changes: dict[str, Any] = {"stats": {}}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor) and f.name.rpartition("_")[2].startswith("PG"):
                changes[f.name] = value[:, index_G]
        return replace(self, **changes)

    def require(self, name: str) -> Tensor:
        """The field or the prepared statistic `name`, or InputError if this batch does not carry it."""
        value = getattr(self, name, None)
        if value is None:
            value = self.stats.get(name)
        if value is None:
            raise InputError(f"{name}: this objective needs it and the groups have none")
        assert isinstance(value, Tensor)
        return value


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """N completions, right-padded to T tokens; prompts are not in it. What stands at masked positions is never read.

    Attributes:
        logprobs: log-prob of each token under the policy being trained, in nats; carries the gradient.
        mask: True at tokens the model chose and that count in the loss.
        advantages: one number a completion (N), or one a token (N x T).
        vocab_size: V, for rows that need the uniform policy 1/V.
        old_logprobs: log-probs when the completions were sampled (for demonstrations: under the same old policy).
        ref_logprobs: log-probs under the frozen reference, for a KL penalty.
        entropy: entropy of the distribution each token came from; must carry the gradient for an entropy bonus.
        external: True for demonstration rows.
        correct: True for completions the verifier accepted, for terms that imitate them.
        group_ids: which prompt each row belongs to.
        planning: True at tokens that plan rather than carry out, for token credit.
        engine_logprobs: log-probs as the sampling engine gave them, where old_logprobs are the trainer's own.
        selected: tokens chosen over the whole step batch by `Objective.prepare`.
        controls: numbers decided by `Objective.prepare`, e.g. the coefficient of an adaptive bonus.
        clean: what stands at masked positions is finite, so that products may mask. `Objective.loss` tries that first.
    """

    logprobs: Float[Tensor, "N T"]
    mask: Bool[Tensor, "N T"]
    advantages: Float[Tensor, " N"] | Float[Tensor, "N T"]
    vocab_size: int
    old_logprobs: Float[Tensor, "N T"] | None = None
    ref_logprobs: Float[Tensor, "N T"] | None = None
    entropy: Float[Tensor, "N T"] | None = None
    external: Bool[Tensor, " N"] | None = None
    correct: Bool[Tensor, " N"] | None = None
    group_ids: Int[Tensor, " N"] | None = None
    planning: Bool[Tensor, "N T"] | None = None
    engine_logprobs: Float[Tensor, "N T"] | None = None
    selected: Bool[Tensor, "N T"] | None = None
    controls: Mapping[str, float] = field(default_factory=dict)
    clean: bool = False

    @property
    def advantages_NT(self) -> Float[Tensor, "N _"]:
        """Advantages with a token axis: of length T if they were given a token, else of length 1 to broadcast."""
        return self.advantages if self.advantages.ndim == 2 else self.advantages[:, None]

    @cached_property
    def log_ratio_NT(self) -> Float[Tensor, "N T"]:
        """log(pi / pi_old) with its gradient; 0 at masked positions, so that no exp of padding can overflow."""
        old = self.require("old_logprobs")
        return self.keep(self.logprobs - old, self.mask)

    def keep(self, value: Float[Tensor, "N _"], where: Bool[Tensor, "N T"]) -> Float[Tensor, "N T"]:
        """The value at some tokens, 0 at the others, whatever stands there.

        A product where the batch is clean: it costs a fraction of `torch.where`, but 0 x inf would be NaN.
        """
        if not self.clean:
            return torch.where(where, value, 0.0)
        return value * (self.mask_as_float if where is self.mask else where.to(value.dtype))

    @cached_property
    def mask_as_float(self) -> Float[Tensor, "N T"]:
        """1 at unmasked tokens, 0 elsewhere."""
        return self.mask.to(self.logprobs.dtype)

    @cached_property
    def length_N(self) -> Int[Tensor, " N"]:
        """Unmasked tokens of each row."""
        return self.mask.count_nonzero(1)

    def require(self, name: str) -> Tensor:
        """The field `name`, or InputError if this batch does not carry it."""
        value = getattr(self, name)
        if value is None:
            raise InputError(f"{name}: this objective needs it and the batch has none")
        assert isinstance(value, Tensor)
        return value

    def rows(self, index: slice | Int[Tensor, " M"] | Bool[Tensor, " N"]) -> TokenBatch:
        """The batch of some of the rows: a micro-batch."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        taken: dict[str, Any] = {name: value[index] for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **taken)

    def check(self) -> None:
        """Raise InputError for wrong shapes or types, and for a number at an unmasked position that is not finite."""
        self.check_shapes()
        self.check_finite()

    def check_shapes(self) -> None:
        """Raise InputError for wrong shapes or types; reads no number."""
        for name in ("logprobs", "mask", "advantages"):
            if not isinstance(getattr(self, name), Tensor):
                raise InputError(f"{name}: is a {type(getattr(self, name)).__name__}; give a tensor")
        n_t = tuple(self.logprobs.shape)
        if len(n_t) != 2 or not self.logprobs.is_floating_point():
            raise InputError(f"logprobs: is {self.logprobs.dtype} of shape {n_t}; give floats of shape (N, T)")
        for name in ("mask", "selected", "planning"):
            _check_mask(name, getattr(self, name), n_t)
        _check_mask("external", self.external, n_t[:1])
        _check_mask("correct", self.correct, n_t[:1])
        if tuple(self.advantages.shape) not in (n_t[:1], n_t):
            raise InputError(f"advantages: shape is {tuple(self.advantages.shape)}; give {n_t[:1]} or {n_t}")
        if self.vocab_size < 1:
            raise InputError(f"vocab_size: is {self.vocab_size}; give the number of tokens of the vocabulary")
        for name in _TOKEN_FLOATS:
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != n_t:
                raise InputError(f"{name}: shape is {tuple(value.shape)}, that of logprobs {n_t}; make them equal")
        for name in (*_FIXED, "advantages"):
            value = getattr(self, name)
            if value is not None and not value.is_floating_point():
                raise InputError(f"{name}: is {value.dtype}; give floats")
            if value is not None and value.requires_grad:
                raise InputError(
                    f"{name}: carries a gradient, which would cancel or double that of logprobs; detach it"
                )

    def check_finite(self) -> None:
        """Raise InputError naming the first number at an unmasked position that is not finite."""
        for name in (*_TOKEN_FLOATS, "advantages"):
            if getattr(self, name) is not None:
                self._check_finite(name)

    def _check_finite(self, name: str) -> None:
        value_NT = self.advantages_NT if name == "advantages" else self.require(name)
        bad = (~value_NT.detach().isfinite()).expand_as(self.mask) & self.mask
        if bad.any():
            n, t = bad.nonzero()[0].tolist()
            number = value_NT.expand_as(self.mask)[n, t].item()
            raise InputError(f"{name}: row {n}, token {t} is {number}; mask that row out or mend what produced it")


_FIXED = ("old_logprobs", "engine_logprobs", "ref_logprobs")
_TOKEN_FLOATS = ("logprobs", "old_logprobs", "engine_logprobs", "ref_logprobs", "entropy")


def _check_mask(name: str, mask: Tensor | None, shape: tuple[int, ...]) -> None:
    if mask is not None and (mask.dtype != torch.bool or tuple(mask.shape) != shape):
        raise InputError(f"{name}: is {mask.dtype} of shape {tuple(mask.shape)}; give a bool tensor of shape {shape}")
