"""Reward arms: what is rewarded instead of being right, as controls (arXiv 2506.10947: spurious rewards).

The true verdict stays beside the rewarded one, so `accuracy` is true in every arm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from offleash.core import Verdict, rng
from offleash.training.settings import RewardSettings


def rewarded(verdicts: Sequence[Verdict], settings: RewardSettings, key: tuple[str | int, ...]) -> list[Verdict]:
    """The verdicts of a group as the arm rewards them; undecided ones stay undecided.

    Args:
        verdicts: of the G sampled completions of one problem.
        settings: the arm.
        key: names the stream of random rewards.
    """
    if settings.arm == "correct":
        return list(verdicts)
    counted = Counter(v.answer for v in verdicts if v.answer)
    # The most frequent answer; the first one seen where several are.
    majority = counted.most_common(1)[0][0] if counted else None

    def reward(i: int, verdict: Verdict) -> bool:
        if settings.arm == "format":
            return bool(verdict.answer)
        if settings.arm == "random":
            return rng.fraction("reward", *key, i) < settings.gamma
        if settings.arm == "majority":
            return majority is not None and verdict.answer == majority
        return bool(verdict.answer) and verdict.correct is False

    return [
        v if v.correct is None else replace(v, correct=(good := reward(i, v)), reward=float(good))
        for i, v in enumerate(verdicts)
    ]
