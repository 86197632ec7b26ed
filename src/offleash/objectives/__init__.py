"""Every training method of the field as a pure, composable function of tensors.

    objective = get("grpo", epsilon_high=0.28)
    adv_PG = objective.advantages(rewards_PG)                       # once a step
    denominator = objective.denominator(mask, advantages=adv_N)  # once a step, over the whole batch
    for micro in batches: objective.loss(micro, denominator)[0].backward()

A method is a row of PRESETS: an advantage, a surrogate, regularizers and a reduction.
"""

from offleash.objectives import advantages, credits, regularizers, surrogates  # noqa: F401  (registers the parts)
from offleash.objectives.batch import GroupBatch, TokenBatch
from offleash.objectives.compose import Objective, Term
from offleash.objectives.document import describe
from offleash.objectives.preset import Claims, Preset, get, register
from offleash.objectives.presets import PRESETS
from offleash.objectives.reduce import Denominator, Reduction
from offleash.objectives.registry import PerToken, State, advantage, credit, regularizer, surrogate

__all__ = [
    "PRESETS",
    "Claims",
    "Denominator",
    "GroupBatch",
    "Objective",
    "PerToken",
    "State",
    "Preset",
    "Reduction",
    "Term",
    "TokenBatch",
    "advantage",
    "credit",
    "describe",
    "get",
    "register",
    "regularizer",
    "surrogate",
]
