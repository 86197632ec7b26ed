"""Embedded families of problems that are drawn, each at several levels, with solutions in several formats."""

from offleash.tasks.families import arithmetic as _arithmetic  # these register themselves
from offleash.tasks.families import belief as _belief
from offleash.tasks.families import equations as _equations
from offleash.tasks.families import graph as _graph
from offleash.tasks.families import logic as _logic
from offleash.tasks.families import rewrite as _rewrite
from offleash.tasks.families import strings as _strings
from offleash.tasks.families.family import ALPHABET, Drawn, Format, Procedural, StepOf

__all__ = ["ALPHABET", "Drawn", "Format", "Procedural", "StepOf"]
del _arithmetic, _belief, _equations, _graph, _logic, _rewrite, _strings
