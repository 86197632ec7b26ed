"""Problems and the verifiers that judge answers. No torch."""

from offleash.tasks import code as _code  # these register themselves
from offleash.tasks import countdown as _countdown
from offleash.tasks import families as _families
from offleash.tasks import gym as _gym
from offleash.tasks import math as _math
from offleash.tasks import worlds as _worlds
from offleash.tasks.annotations import HasOperations, HasPlanning, HasReference, HasSolutions, HasSteps, Step
from offleash.tasks.base import (
    Batched,
    Family,
    Finite,
    Task,
    families,
    get,
    main_level,
    names,
    problems,
    register,
    register_family,
    verify_all,
)

__all__ = [
    "Batched",
    "Family",
    "Finite",
    "HasOperations",
    "HasPlanning",
    "HasReference",
    "HasSolutions",
    "HasSteps",
    "Step",
    "Task",
    "families",
    "get",
    "names",
    "problems",
    "register",
    "register_family",
    "main_level",
    "verify_all",
]
del _code, _countdown, _families, _gym, _math, _worlds
