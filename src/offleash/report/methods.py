"""How each number of the page is computed: one paragraph a number."""

from __future__ import annotations

METHODS: tuple[tuple[str, str], ...] = (
    (
        "Correct",
        "A completion is correct where the task's verifier says so, and by nothing else. Completions the verifier could not "
        "decide (a timeout, a crash) are left out of both counts, c and n, and their number is stated.",
    ),
    (
        "pass@k",
        "For a problem with c correct of n completions, 1 - C(n-c, k) / C(n, k): the unbiased estimate of the chance that k "
        "completions hold a correct one (Chen et al. 2021). The number shown is the mean over problems, always over the same "
        "problems for every k. With fewer than k completions of some problem it is undefined, and a dash says so.",
    ),
    (
        "Interval of pass@k",
        "95%, for the population of problems these were drawn from: problems are reweighted at random (Dirichlet bootstrap), "
        "each with its own c, so the interval covers which problems were drawn and which completions. Half a "
        "pseudo-problem at each bound keeps it from collapsing where all problems agree. It does not cover training again "
        "with another seed.",
    ),
    (
        "Chance",
        "The task knows the chance p that one blind guess is right. Chance at k is the mean over problems of 1 - (1 - p)^k. "
        "A pass@k near it is no evidence of ability.",
    ),
    (
        "Difference to the base",
        "pass@k of the arm minus pass@k of the base on the problems both have, paired by problem. The band is simultaneous: "
        "all its points hold together with 95% confidence (sup-t on the bootstrap's ranks), so it may be read at every k.",
    ),
    (
        "Verdict",
        "Read from that band at half the smallest number of completions, where pass@k is still an average. Wholly above "
        "zero: expanded. Wholly below: shrunk. Both ways: besides, single problems moved the other way beyond chance "
        "(false discovery rate 5%). No change: wholly within ±0.02. Otherwise undecided. It speaks of these models; a claim "
        "about a training method needs several seeds.",
    ),
    (
        "Kept, lost, gained",
        "A problem counts as solvable for a model that solved it at least once, both models at the same number of "
        "completions. Kept: both. Lost: the base alone. Gained: the arm alone. Two runs of one model differ in this "
        "too; the note below the table says how much. The sign test asks whether gains and losses are equally likely. In the "
        "grid a full mark has a false discovery rate of at most 5% (one-sided Fisher tests, Benjamini-Hochberg).",
    ),
    (
        "Token entropy",
        "Entropy of the distribution each token was drawn from, in nats at the sampling temperature: mean over a completion's "
        "tokens, then over a problem's completions, then over problems. 95% interval over the population of problems "
        "(bootstrap-t).",
    ),
    (
        "Path",
        "All points use the same problems, those that every model was measured on, and the largest k of the table that every "
        "model has completions for. Intervals are those of pass@k.",
    ),
    (
        "Training curves",
        "As logged at each step, from that step's own completions and training problems. Thin: every step. Thick: the mean of "
        "the nine steps around it.",
    ),
)
