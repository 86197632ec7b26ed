"""The capability boundary, measured: pass@k, differences, support, entropy, with uncertainty. numpy and scipy only.

Start with `compare(a, b)` for two models, or `curve(counts)` for one.
"""

from offleash.boundary.audit import (
    Agreement,
    agreement,
    clopper_pearson,
    corrected_curve,
    false_pass,
    false_positive_rate,
    false_share,
)
from offleash.boundary.chance import chance_curve
from offleash.boundary.collapse import (
    FORMATS,
    Drift,
    answer_repetition,
    classify_format,
    constant_answer,
    diagnose,
    duplicate_share,
    first_answer,
    format_drift,
    format_shares,
    length_ratio,
    loop_share,
    missing_computation,
    operations_written,
    repeated_grams,
)
from offleash.boundary.compare import Comparison, compare
from offleash.boundary.compute_law import ComputeLaw, compare_compute_laws, compute_law, sigmoid
from offleash.boundary.counts import Counts, Joined, join, load_counts
from offleash.boundary.difference import Crossing, Difference, crossing, difference
from offleash.boundary.entropy import answer_entropy, distinct_answers, entropy_of_counts, token_entropy
from offleash.boundary.extrapolate import Extrapolation, extrapolate
from offleash.boundary.guesses import Guessable, GuessReport, chance_corrected, guess_report
from offleash.boundary.laws import EntropyLaw, Holdout, Parameter, compare_entropy_laws, entropy_law
from offleash.boundary.ledger import Entry, Ledger, ledger, samples_for
from offleash.boundary.likelihood import SolutionProbability, solution_probability
from offleash.boundary.meaning import semantic_entropy, sequence_entropy, tokens_up_answers_down
from offleash.boundary.null import null_ndr
from offleash.boundary.passk import curve, pass_at_k, powers
from offleash.boundary.plan import Plan, plan
from offleash.boundary.regimes import Regime, regime
from offleash.boundary.repetition import Loop, find_loop, repeated_share, words
from offleash.boundary.seeds import SeedDifference, seed_difference
from offleash.boundary.sequential import Draws, SequentialVerdict, next_draws, verdict_when_stopped
from offleash.boundary.stopping import confidence_sequence, unseen_bound
from offleash.boundary.strata import Stratum, by_difficulty, by_label
from offleash.boundary.support import ProblemClass, Support, support
from offleash.boundary.temperature import Heat, Temperatures, temperatures

__all__ = [
    "Entry",
    "Ledger",
    "ledger",
    "samples_for",
    "SolutionProbability",
    "solution_probability",
    "semantic_entropy",
    "sequence_entropy",
    "tokens_up_answers_down",
    "Heat",
    "Temperatures",
    "temperatures",
    "Agreement",
    "Comparison",
    "ComputeLaw",
    "Counts",
    "Crossing",
    "Difference",
    "Draws",
    "Drift",
    "EntropyLaw",
    "Extrapolation",
    "FORMATS",
    "GuessReport",
    "Guessable",
    "Holdout",
    "Joined",
    "Loop",
    "Parameter",
    "Plan",
    "ProblemClass",
    "Regime",
    "SeedDifference",
    "SequentialVerdict",
    "Stratum",
    "Support",
    "agreement",
    "answer_entropy",
    "answer_repetition",
    "by_difficulty",
    "by_label",
    "chance_corrected",
    "chance_curve",
    "classify_format",
    "clopper_pearson",
    "compare",
    "compare_compute_laws",
    "compare_entropy_laws",
    "compute_law",
    "confidence_sequence",
    "constant_answer",
    "corrected_curve",
    "crossing",
    "curve",
    "diagnose",
    "difference",
    "distinct_answers",
    "duplicate_share",
    "entropy_law",
    "entropy_of_counts",
    "extrapolate",
    "false_pass",
    "false_positive_rate",
    "false_share",
    "find_loop",
    "first_answer",
    "format_drift",
    "format_shares",
    "guess_report",
    "join",
    "length_ratio",
    "load_counts",
    "loop_share",
    "missing_computation",
    "next_draws",
    "null_ndr",
    "operations_written",
    "pass_at_k",
    "plan",
    "powers",
    "regime",
    "repeated_grams",
    "repeated_share",
    "seed_difference",
    "sigmoid",
    "support",
    "token_entropy",
    "unseen_bound",
    "verdict_when_stopped",
    "words",
]
