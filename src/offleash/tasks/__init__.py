"""Problems and the verifiers that judge answers. No torch."""

from offleash.tasks import countdown as _countdown  # registers itself
from offleash.tasks.annotations import HasPlanning, HasReference, HasSolutions, HasSteps, Step
from offleash.tasks.base import Task, get, names, problems, register

__all__ = [
    "HasPlanning",
    "HasReference",
    "HasSolutions",
    "HasSteps",
    "Step",
    "Task",
    "get",
    "names",
    "problems",
    "register",
]
del _countdown
