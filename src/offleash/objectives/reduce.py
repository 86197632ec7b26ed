"""From per-token losses to one number. The denominator is an argument, counted once over the whole step batch.

So the loss of a batch is the sum of the losses of its micro-batches, whatever the split: a mean taken inside a
micro-batch would weigh a token by the company it was packed with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from offleash.core.errors import InputError, unknown_name

MODES = ("token-mean", "sequence-mean", "prompt-mean", "sequence-sum", "constant-length", "constant-sum")
ROWS = ("all", "policy", "external", "negative", "positive", "correct", "selected")
TOLD_BY = {
    "policy": "external",
    "external": "external",
    "negative": "advantages",
    "positive": "advantages",
    "correct": "correct",
    "selected": "selected",
}


def token_mean(sum_N: Float[Tensor, " N"], tokens: float) -> Float[Tensor, ""]:
    """Sum over tokens / `tokens` of the step batch: every token weighs the same (DAPO)."""
    return sum_N.sum() / _or_one(tokens)


def sequence_mean(sum_N: Float[Tensor, " N"], length_N: Int[Tensor, " N"], sequences: float) -> Float[Tensor, ""]:
    """Mean over a completion's tokens, then sum / `sequences`: every completion weighs the same (GRPO)."""
    return (sum_N / length_N.clamp(min=1)).sum() / _or_one(sequences)


def constant_length(sum_N: Float[Tensor, " N"], sequences: float, length: float) -> Float[Tensor, ""]:
    """Sum over tokens / (`sequences` x `length`): the weight of a token is the same in any length (Dr.GRPO).

    `length` is the generation limit of the run, never the padded width of the batch.
    """
    return sum_N.sum() / (_or_one(sequences) * length)


def prompt_mean(sum_N: Float[Tensor, " N"], tokens_N: Float[Tensor, " N"], prompts: float) -> Float[Tensor, ""]:
    """Mean over all tokens of a prompt's completions, then sum / `prompts`: every prompt weighs the same (ScaleRL).

    `tokens_N` holds for each row the tokens of its whole prompt in the step, wherever its other completions are.
    """
    return (sum_N / tokens_N.clamp(min=1)).sum() / _or_one(prompts)


@dataclass(frozen=True)
class Denominator:
    """Counts over the whole step batch, per kind of rows. Counts of parts add up: micro-batches, processes.

    Attributes:
        tokens: unmasked tokens of each kind of rows (ROWS).
        sequences: completions with at least one such token.
        length: generation limit in tokens, for constant reductions; None if not given.
        prompts: for each kind of rows, how many such tokens each prompt (by its group id) has.
    """

    tokens: Mapping[str, float]
    sequences: Mapping[str, float]
    length: int | None = None
    prompts: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def __add__(self, other: Denominator) -> Denominator:
        if self.length != other.length:
            raise InputError(
                f"max_completion_length: {self.length} in one part, {other.length} in another; make them equal"
            )
        return Denominator(
            {k: self.tokens[k] + other.tokens[k] for k in self.tokens.keys() & other.tokens.keys()},
            {k: self.sequences[k] + other.sequences[k] for k in self.sequences.keys() & other.sequences.keys()},
            self.length,
            {k: _added(self.prompts[k], other.prompts[k]) for k in self.prompts.keys() & other.prompts.keys()},
        )


def _added(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {i: one.get(i, 0.0) + other.get(i, 0.0) for i in sorted(one.keys() | other.keys())}


@dataclass(frozen=True)
class RowFlags:
    """What tells the kinds of rows apart; None where it is not known.

    Attributes:
        advantages: their sign tells negative and positive rows (or tokens).
        external: True for demonstrations.
        correct: True for completions that the verifier accepted.
        selected: True for tokens chosen by `Objective.prepare`.
        group_ids: which prompt a row belongs to.
        length_N: unmasked tokens of each row, if they are counted already.
        keep: how a value is put to 0 at other tokens; `torch.where` by default.
    """

    advantages: Float[Tensor, " N"] | Float[Tensor, "N T"] | None = None
    external: Bool[Tensor, " N"] | None = None
    correct: Bool[Tensor, " N"] | None = None
    selected: Bool[Tensor, "N T"] | None = None
    group_ids: Int[Tensor, " N"] | None = None
    length_N: Int[Tensor, " N"] | None = None
    keep: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Reduction:
    """How a term is summed, and over which rows.

    Attributes:
        mode: one of MODES. `sequence-sum` is the sum over a completion's tokens, averaged over completions (the
            gradient of an expectation); `constant-sum` divides by `length` alone, not by the number of completions.
        rows: one of ROWS; only these rows are summed and counted.
        length: overrides the denominator's length in the constant modes.
    """

    mode: str
    rows: str = "all"
    length: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown_name("reduction", self.mode, MODES)
        if self.rows not in ROWS:
            raise unknown_name("kind of rows", self.rows, ROWS)
        if self.length is not None and not self.length > 0:
            raise InputError(f"constant_length: is {self.length}; give the generation limit in tokens")

    def __call__(
        self,
        loss_NT: Float[Tensor, "N _"],
        mask_NT: Bool[Tensor, "N T"],
        denominator: Denominator,
        flags: RowFlags,
    ) -> Float[Tensor, ""]:
        """This batch's share of the step's loss; of shape (N, 1) a loss is the same at all of a row's tokens."""
        kept_NT = restrict(mask_NT, self.rows, flags)
        length_N = flags.length_N
        if length_N is None or kept_NT is not mask_NT:
            length_N = kept_NT.count_nonzero(1)
        if loss_NT.shape[1] == 1 and mask_NT.shape[1] != 1:
            sum_N = torch.where(length_N > 0, loss_NT[:, 0], 0.0) * length_N
        else:
            sum_N = (flags.keep or _where)(loss_NT, kept_NT).sum(1)
        if self.mode == "token-mean":
            return token_mean(sum_N, self._count(denominator.tokens))
        if self.mode == "sequence-mean":
            return sequence_mean(sum_N, length_N, self._count(denominator.sequences))
        if self.mode == "prompt-mean":
            counts = self._prompts(denominator)
            if flags.group_ids is None:
                raise InputError("group_ids: reduction 'prompt-mean' needs them; the batch has none")
            tokens = [counts.get(i, 0.0) for i in flags.group_ids.tolist()]
            tokens_N = torch.tensor(tokens, dtype=loss_NT.dtype, device=loss_NT.device)
            return prompt_mean(sum_N, tokens_N, float(sum(n > 0 for n in counts.values())))
        sequences = 1.0 if self.mode == "constant-sum" else self._count(denominator.sequences)
        return constant_length(sum_N, sequences, self.limit(denominator.length))

    def check(self, denominator: Denominator) -> None:
        """Raise InputError if the denominator lacks what this reduction needs."""
        self._count(denominator.tokens)
        if self.mode == "prompt-mean":
            self._prompts(denominator)
        if self.mode.startswith("constant"):
            self.limit(denominator.length)

    def limit(self, length: int | None) -> float:
        """The constant that divides a completion's sum of losses; 1 for `sequence-sum`."""
        if self.mode == "sequence-sum":
            return 1.0
        chosen = self.length if self.length is not None else length
        if chosen is None:
            raise InputError(
                f"constant_length: reduction {self.mode!r} needs the generation limit; "
                "give max_completion_length to denominator() or constant_length to get()"
            )
        return float(chosen)

    def _prompts(self, denominator: Denominator) -> Mapping[int, float]:
        if self.rows not in denominator.prompts:
            raise InputError("group_ids: reduction 'prompt-mean' needs them; give them to denominator()")
        return denominator.prompts[self.rows]

    def _count(self, counts: Mapping[str, float]) -> float:
        if self.rows not in counts:
            needed = TOLD_BY[self.rows]
            raise InputError(f"{needed}: the denominator over {self.rows} rows needs it; give it to denominator()")
        return counts[self.rows]


def restrict(mask_NT: Bool[Tensor, "N T"], rows: str, flags: RowFlags) -> Bool[Tensor, "N T"]:
    """The mask of the tokens that belong to the given kind of rows.

    Raises:
        InputError: the tensor that tells them is missing.
    """
    if rows == "all":
        return mask_NT
    flag = getattr(flags, TOLD_BY[rows])
    if flag is None:
        raise InputError(f"{TOLD_BY[rows]}: needed to tell the {rows} rows; the batch has none")
    flag_NT: Tensor = flag if flag.ndim == 2 else flag[:, None]
    if rows in ("negative", "positive"):
        return mask_NT & (flag_NT < 0 if rows == "negative" else flag_NT > 0)
    return mask_NT & (~flag_NT if rows == "policy" else flag_NT)


def count(mask_NT: Bool[Tensor, "N T"], flags: RowFlags, length: int | None = None) -> Denominator:
    """Count tokens and completions of every kind of rows that the flags can tell apart."""
    tokens: dict[str, float] = {}
    sequences: dict[str, float] = {}
    prompts: dict[str, dict[int, float]] = {}
    for rows in ROWS:
        if rows != "all" and getattr(flags, TOLD_BY[rows]) is None:
            continue
        kept = restrict(mask_NT, rows, flags)
        tokens[rows] = float(kept.sum().item())
        sequences[rows] = float(kept.any(1).sum().item())
        if flags.group_ids is not None:
            prompts[rows] = {}
            for prompt, n in zip(flags.group_ids.tolist(), kept.sum(1).tolist(), strict=True):
                prompts[rows][prompt] = prompts[rows].get(prompt, 0.0) + n
    return Denominator(tokens, sequences, length, prompts)


def _where(value_NT: Tensor, where_NT: Tensor) -> Tensor:
    # Not a product: 0 x inf at a masked position would be NaN.
    return torch.where(where_NT, value_NT, 0.0)


def _or_one(number: float) -> float:
    # Nothing was counted, so the sum is 0: the loss is 0 and not 0 / 0.
    return number if number > 0 else 1.0
