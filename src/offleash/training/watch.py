"""What makes a run's steps doubtful while it runs, as warnings: once a stretch, when it has lasted long enough.

What is counted is read from metrics.jsonl, so a resumed run warns where an uninterrupted one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offleash.training.rollout import Rollout

UNDECIDED_STEPS = 3
"""Steps in a row in which the verifier decided less than half, after which that is said."""

Event = dict[str, Any]


@dataclass
class Watch:
    """How long the present stretches are: of steps whose rewards are all equal, and of steps mostly without a verdict."""

    warn_after: int
    equal: int = 0
    undecided: int = 0

    @classmethod
    def of(cls, warn_after: int, metrics: Sequence[Mapping[str, Any]]) -> Watch:
        """As the lines of metrics.jsonl left it."""
        watch = cls(warn_after)
        for row in metrics:
            watch._count(row)
        return watch

    def see(self, row: Mapping[str, Any], rollout: Rollout) -> list[Event]:
        """Count a step's metrics; the warnings that are due."""
        self._count(row)
        said = []
        if self.equal == self.warn_after > 0:
            said.append(
                f"all rewards of a step have been equal ({row['reward']:g}) for {self.equal} steps, so nothing is learned from "
                "them; choose problems the model solves sometimes (task.levels, task.rates), or look at the verifier"
            )
        if self.undecided == UNDECIDED_STEPS:
            said.append(
                f"the verifier has decided less than half of the completions for {UNDECIDED_STEPS} steps; the others train "
                f"nothing. Most often it says: {_reason(rollout)}"
            )
        return [{"step": row["step"], "kind": "warning", "message": message} for message in said]

    def _count(self, row: Mapping[str, Any]) -> None:
        # Lines of a run of an older version lack reward_std; NaN is null there. Neither is equal to 0.
        self.equal = self.equal + 1 if row.get("reward_std") == 0.0 else 0
        self.undecided = self.undecided + 1 if (row.get("undecided_share") or 0.0) > 0.5 else 0


def _reason(rollout: Rollout) -> str:
    """The most frequent reason of the undecided; the first one seen where several are."""
    reasons = [m.verdict.reason for group in rollout.groups for m in group if m.verdict.correct is None]
    return Counter(reasons).most_common(1)[0][0] if reasons else "nothing"
