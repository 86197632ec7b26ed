"""Verdicts as they have to be, whoever wrote the verifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offleash.core import InputError, Verdict
from offleash.tasks import loading

if TYPE_CHECKING:
    from offleash.tasks.base import Task


def checked(task: Task, method: str, verdict: Any) -> Verdict:
    """A verdict whose fields are of their kinds; what reads it later must not fail on them.

    Raises:
        InputError: it is none.
    """
    if not isinstance(verdict, Verdict):
        raise wrong(task, method, f"returned a {type(verdict).__name__}; return an offleash.core.Verdict")
    # Not 1, nor numpy's True: it is compared by identity.
    if not (verdict.correct is True or verdict.correct is False or verdict.correct is None):
        raise wrong(
            task, method, f"gave a verdict with correct={verdict.correct!r}; give True, False, or None for undecided"
        )
    if not isinstance(verdict.reward, int | float):
        raise wrong(task, method, f"gave a verdict with reward={verdict.reward!r}; give a number, as float(...)")
    for field in ("answer", "format", "reason", "verifier_version"):
        if not isinstance(value := getattr(verdict, field), str):
            raise wrong(task, method, f"gave a verdict with {field}={value!r}; give a text")
    return verdict


def wrong(task: Task, method: str, what: str) -> InputError:
    """The error for what a method of somebody's own gave, with its line."""
    return InputError(f"task {task.name!r}: {method} {what}{loading.place(task, method)}")
