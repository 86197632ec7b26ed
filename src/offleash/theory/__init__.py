"""Exact dynamics of probability mass, run on the trainer's own objectives.

A study tries some statements and draws one figure:

    study = theory.load("two-stage")
    result = study.study(study.Settings(steps=1000), progress)
    result.statements[0].held

Nothing here imports torch until a study is loaded.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from offleash.core import unknown_name

STUDIES: dict[str, str] = {
    "two-stage": "Does a rare best answer dip and then win, and what do 0/1 rewards leave of that?",
    "methods": "Which methods find a rare best answer from one start: GRPO, GSPO, -N, NSR, RL-PLUS, KL with resets, Cov, pass@k.",
    "phase": "From which starts, and under which rewards, does each method find it?",
    "leash": "Can training reach what is never sampled: by luck, by shared features, by demonstrations?",
    "entropy": "When does entropy fall, by how much, and when does it rise?",
    "kl": "Where does training with a KL penalty come to rest: k1, k2, k3, resets, GRPO's deviation?",
    "normalisation": "What does one lucky success on a near-impossible problem do, and what holds it back?",
    "formats": "Which format wins when several are rewarded, and by which law?",
}
"""Name to the question it answers, in the order a reader meets them."""


def load(name: str) -> ModuleType:
    """The module of a study: `Settings` (a dataclass), `study(settings, progress)` and `UNITS` of progress.

    Raises:
        InputError: an unknown name, with the closest known one.
    """
    if name not in STUDIES:
        raise unknown_name("theory", name, STUDIES)
    return importlib.import_module(f"offleash.theory.{name.replace('-', '_')}")


__all__ = ["STUDIES", "load"]
