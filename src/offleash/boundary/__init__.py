"""The capability boundary, measured: pass@k, differences, support, entropy, with uncertainty. numpy and scipy only.

Start with `compare(a, b)` for two models, or `curve(counts)` for one.
"""

from offleash.boundary.chance import chance_curve
from offleash.boundary.compare import Comparison, compare
from offleash.boundary.counts import Counts, Joined, join, load_counts
from offleash.boundary.difference import Crossing, Difference, crossing, difference
from offleash.boundary.entropy import answer_entropy, distinct_answers, entropy_of_counts, token_entropy
from offleash.boundary.null import null_ndr
from offleash.boundary.passk import curve, pass_at_k, powers
from offleash.boundary.support import ProblemClass, Support, support

__all__ = [
    "Comparison",
    "Counts",
    "Crossing",
    "Difference",
    "Joined",
    "ProblemClass",
    "Support",
    "answer_entropy",
    "chance_curve",
    "compare",
    "crossing",
    "curve",
    "difference",
    "distinct_answers",
    "entropy_of_counts",
    "join",
    "load_counts",
    "null_ndr",
    "pass_at_k",
    "powers",
    "support",
    "token_entropy",
]
