"""Advantages of pass@k: what a sample adds to the chance that one of k is right, in closed form.

S = 1 for a right sample; for a wrong one the mean, over the subsets of k that contain it, of whether one is right:
S = 1 - C(wrong - 1, k - 1) / C(G - 1, k - 1). The group's pass@k is R = 1 - C(wrong, k) / C(G, k).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.advantages.plain import require_binary
from offleash.objectives.batch import GroupBatch
from offleash.objectives.registry import advantage

LARGEST = 4096


@advantage("pass-at-k", group_baseline=True, least_group=lambda s: _checked(s["pass_k"]))
def pass_at_k(
    group: GroupBatch, *, pass_k: int = 4, std: str = "population", std_epsilon: float = 1e-6
) -> Float[Tensor, "P G"]:
    """(S - R) / (sqrt(R (1 - R)) + std_epsilon). Sums to 0 over a group; 0 throughout where fewer than k are wrong.

    With std "none" it is S - R, whose mean gradient is (G - k) / (G k) x the gradient of pass@k. With pass_k = 1 it is
    the group-relative advantage with population deviation.

    A group with fewer than pass_k decided samples gets 0.
    """
    _checked(pass_k)
    if std not in ("population", "none"):
        raise unknown_name("std", std, ("population", "none"))
    value_PG, rate_P1, n_P1 = _values(group, pass_k)
    adv_PG = value_PG - rate_P1
    if std == "population":
        # Right and wrong times the wrong: exact where R is 0 or 1, where the advantages are 0 as well.
        adv_PG = adv_PG / ((rate_P1 * (1 - rate_P1)).clamp(min=0).sqrt() + std_epsilon)
    return torch.where((n_P1 >= pass_k) & (rate_P1 < 1), adv_PG, 0.0)


@advantage("pass-at-k-leave-one-out", group_baseline=True, least_group=lambda s: _checked(s["pass_k"]) + 1)
def pass_at_k_leave_one_out(group: GroupBatch, *, pass_k: int = 4) -> Float[Tensor, "P G"]:
    """S minus the pass@k of the other samples: the mean gradient is 1/k x the gradient of pass@k.

    C. Walder and D. Karkhanis, "Pass@K Policy Optimization", arXiv 2505.15201. With pass_k = 1 it is leave-one-out.
    """
    _checked(pass_k)
    value_PG, _, n_P1 = _values(group, pass_k)
    right_PG = group.rewards_PG == 1
    wrong_PG = (group.decided_PG & ~right_PG).sum(1, keepdim=True) - (~right_PG).long()
    others_PG = 1.0 - _ratio(wrong_PG.to(value_PG.dtype), (n_P1 - 1).to(value_PG.dtype), pass_k)
    return torch.where(n_P1 > pass_k, value_PG - others_PG, 0.0)


def _checked(pass_k: int) -> int:
    if not 1 <= pass_k <= LARGEST:
        raise InputError(f"pass_k: is {pass_k}; give a whole number from 1 to {LARGEST}, at most num_generations")
    return pass_k


def _values(group: GroupBatch, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """S of every sample, R of its group, and the number of its decided samples."""
    require_binary(group)
    right_PG = group.decided_PG & (group.rewards_PG == 1)
    n_P1 = group.decided_PG.sum(1, keepdim=True)
    dtype = group.rewards_PG.dtype
    wrong_P1 = (n_P1 - right_PG.sum(1, keepdim=True)).to(dtype)
    rate_P1 = 1.0 - _ratio(wrong_P1, n_P1.to(dtype), k)
    value_P1 = 1.0 - _ratio(wrong_P1 - 1, n_P1.to(dtype) - 1, k - 1)
    return torch.where(right_PG, 1.0, value_P1.expand_as(group.rewards_PG)), rate_P1, n_P1


def _ratio(wrong: Tensor, n: Tensor, k: int) -> Tensor:
    """C(wrong, k) / C(n, k) as a product of k factors; 0 where fewer than k are wrong."""
    result = torch.ones_like(wrong)
    for j in range(k):
        result = result * ((wrong - j) / (n - j).clamp(min=1)).clamp(min=0)
    return result
