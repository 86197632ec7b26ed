"""What can be done to a run between two steps: by schedule, or by the guard with its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from offleash.core import OffleashError
from offleash.store import RunFolder
from offleash.training import lora
from offleash.training.sharding import put, weights_of

if TYPE_CHECKING:
    from offleash.training.loop import Learner

Events = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Action:
    """One of `settings.ACTIONS`, the sentence that says why, and which fields of the recipe change."""

    do: str
    message: str
    change: Mapping[str, Any] = field(default_factory=dict)
    rule: int | None = None
    """Which rule of the guard asked for it."""

    def to_json(self) -> dict[str, Any]:
        """As events.jsonl keeps it."""
        out: dict[str, Any] = {"do": self.do, "message": self.message}
        return (
            out
            | ({"change": dict(self.change)} if self.change else {})
            | ({} if self.rule is None else {"rule": self.rule})
        )


def apply(action: Action, learner: Learner, run: RunFolder) -> None:
    """Do what an action does to weights, moments and references; warnings, stops and changes are read from the events.

    Raises:
        OffleashError: there is no reference, or no best checkpoint, to return to.
    """
    zero = learner.processes.zero
    if action.do == "reset_optimizer":
        if zero is not None:
            zero.reset()
        else:
            learner.optimizer.state.clear()
    elif action.do == "reset_reference":
        assert learner.references is not None, "a recipe that resets the reference has one"
        learner.references.reset(learner.model)
    elif action.do == "return_to_reference":
        if learner.references is None:
            raise OffleashError(
                "guard: return_to_reference: the objective has no reference; give it a KL penalty (kl_beta)"
            )
        put(learner.model, weights_of(learner.references.moving))
        if zero is not None:
            zero.weights_were_written()
    elif action.do == "return_to_best":
        step = learner.processes.share(lambda: best_step(run.events()))
        folder = None if step is None else run.checkpoint_dir(step)
        if folder is None or not (folder / "model.safetensors").is_file():
            raise OffleashError(
                "guard: return_to_best: no checkpoint of the best probe is kept; set probe.keep_best: true"
            )
        lora.read(learner.model, folder)
        if zero is not None:
            zero.weights_were_written()


def best_step(events: Events) -> int | None:
    """The probed step with the best pass@k at the largest k probed; the earliest of equals, None without probes."""
    found: list[tuple[float, int]] = []
    for event in events:
        if event.get("kind") == "probe" and event.get("pass_at_k"):
            k = max(event["pass_at_k"], key=int)
            value = event["pass_at_k"][k]["value"]
            if value is not None:
                found.append((float(value), -int(event["step"])))
    return -max(found)[1] if found else None


def stopped_at(events: Events, step: int) -> bool:
    """Whether the guard has stopped the run by this step."""
    return any(e.get("kind") == "guard" and e.get("do") == "stop" and e["step"] <= step for e in events)
