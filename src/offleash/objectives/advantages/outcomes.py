"""Exploration over answers: a bonus for answers that are rare in the group, or in the prompt's history.

Y. Song et al., "Outcome-based Exploration for LLM Reasoning", arXiv 2509.06941.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.advantages.group import group_relative
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import State, advantage

UCB_BASELINES = ("constant", "leave-one-out", "none")


@advantage("outcome-batch", needs=("answers_PG",), group_baseline=True)
def outcome_batch(
    group: GroupBatch, *, bonus: float = 1.0, std: str = "sample", std_epsilon: float = 1e-6
) -> Float[Tensor, "P G"]:
    """Group-relative advantage plus bonus x b, b = -(how many others of the group give the same answer) / G.

    Groups that are right throughout get no bonus.
    """
    return _with_bonus(group, batch_bonus(group), bonus, std, std_epsilon)


def batch_bonus(group: GroupBatch) -> Float[Tensor, "P G"]:
    """Minus the share of the group's other members with the same answer; 0 for a completion without a verdict."""
    same_PG, n_P1 = _agreement(group)
    return torch.where(group.decided_PG, -(same_PG - 1).to(group.rewards_PG.dtype) / n_P1.clamp(min=1), 0.0)


def count_answers(group: GroupBatch, state: State) -> tuple[dict[str, Tensor], State]:
    """How often each completion's answer was given to its prompt so far, this group included."""
    assert group.prompts is not None
    counts: dict[str, dict[str, int]] = {prompt: dict(seen) for prompt, seen in state.items()}
    answers, decided = group.require("answers_PG").tolist(), group.decided_PG.tolist()
    for prompt, row, known in zip(group.prompts, answers, decided, strict=True):
        seen = counts.setdefault(prompt, {})
        for answer, yes in zip(row, known, strict=True):
            if yes:
                seen[str(answer)] = seen.get(str(answer), 0) + 1
    visits = [[counts[p].get(str(a), 0) for a in row] for p, row in zip(group.prompts, answers, strict=True)]
    return {"visits_PG": torch.tensor(visits, device=group.rewards_PG.device)}, counts


@advantage("outcome-ucb", needs=("answers_PG", "prompts"), group_baseline=True, prepare=count_answers)
def outcome_ucb(
    group: GroupBatch,
    *,
    bonus: float = 1.0,
    ucb_baseline: str = "constant",
    ucb_constant: float = 0.5,
    std: str = "sample",
    std_epsilon: float = 1e-6,
) -> Float[Tensor, "P G"]:
    """Group-relative advantage plus bonus x (b - baseline), b = min(1, 1 / sqrt(visits of this answer to this prompt)).

    Args:
        group: prepared by `count_answers`, which must name answers alike from step to step.
        bonus: weight of the bonus.
        ucb_baseline: "constant" (UCB-Con: negative after 1 / ucb_constant^2 visits), "leave-one-out" (UCB-Mean: the
            mean b of the group's others) or "none".
        ucb_constant: the constant.
        std: as in group-relative.
        std_epsilon: as in group-relative.
    """
    if ucb_baseline not in UCB_BASELINES:
        raise unknown_name("ucb_baseline", ucb_baseline, UCB_BASELINES)
    visits_PG = group.require("visits_PG").to(group.rewards_PG.dtype)
    b_PG = torch.where(group.decided_PG, visits_PG.clamp(min=1).rsqrt(), 0.0)
    if ucb_baseline == "constant":
        b_PG = b_PG - ucb_constant
    elif ucb_baseline == "leave-one-out":
        n_P1 = group.decided_PG.sum(1, keepdim=True)
        b_PG = b_PG - (b_PG.sum(1, keepdim=True) - b_PG) / (n_P1 - 1).clamp(min=1)
    return _with_bonus(group, torch.where(group.decided_PG, b_PG, 0.0), bonus, std, std_epsilon)


def _with_bonus(group: GroupBatch, b_PG: Tensor, bonus: float, std: str, std_epsilon: float) -> Tensor:
    if not bonus >= 0:
        raise InputError(f"bonus: is {bonus}; give a number of at least 0")
    adv_PG = group_relative(group, std=std, std_epsilon=std_epsilon)
    solved_P1 = ((group.rewards_PG == 1) | ~group.decided_PG).all(1, keepdim=True)
    return adv_PG + bonus * torch.where(solved_P1, 0.0, b_PG)


def _agreement(group: GroupBatch) -> tuple[Tensor, Tensor]:
    """For each member how many decided ones give its answer (itself included), and how many are decided."""
    answers_PG, decided_PG = group.require("answers_PG"), group.decided_PG
    same_PGG = (answers_PG[:, None, :] == answers_PG[:, :, None]) & decided_PG[:, None, :]
    return same_PGG.sum(2), decided_PG.sum(1, keepdim=True)
