"""Objectives of the group's success, and of which answers it explores."""

from __future__ import annotations

from dataclasses import replace

from offleash.objectives.preset import Claims, Preset, register
from offleash.objectives.presets.group import BIASED_STD, GROUP_CLAIMS

_SEQUENCE = "the mean over a completion's tokens divides by its length"
_ON_POLICY = "on-policy: no ratio and no clip; for several updates per rollout set surrogate='ppo-clip'"
_PAPER_ANSWERS = "Y. Song et al., Outcome-based Exploration for LLM Reasoning, arXiv 2509.06941"
_ANSWERS = (
    "known from notes; the coefficient is 1 here",
    "the paper keeps the bonus from the tokens of the answer itself; here all tokens get it",
    "no bonus in groups that are right throughout, as in the paper",
)

register(
    Preset(
        name="pass-at-k",
        paper="Z. Chen et al., Pass@k Training, arXiv 2508.10751",
        equation="analytical derivation; passk_adv.py",
        formula="1/N sum_i 1/|o_i| sum_t min(rho A, clip(rho) A); A = (S - pass@k) / sqrt(pass@k (1 - pass@k))",
        advantage="pass-at-k",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        deviations=(
            "the released code leaves rewards of -1 untouched and uses them as advantages; here only 0 and 1 are taken",
            "verl's GRPO_PASSK is another method (arXiv 2503.19595)",
        ),
        why_not={
            "unbiased_for": f"the deviation divides the advantage (std='none' with reduction='sequence-sum' is unbiased for pass@k); {_SEQUENCE}"
        },
        when="pass@k at a chosen k is what counts: nothing is learned where fewer than k samples are wrong",
        claims=replace(
            GROUP_CLAIMS, shift_invariant=False, scale_invariant=False, smallest_group=3, shown_at={"pass_k": 2}
        ),
    )
)

register(
    Preset(
        name="pass-at-k-policy-gradient",
        paper="Z. Chen et al., Pass@k Training, arXiv 2508.10751, without its deviation",
        equation="S - pass@k",
        formula="1/N sum_i A_i sum_t log pi; A = S - pass@k of the group",
        advantage="pass-at-k",
        surrogate="score-function",
        reduction="sequence-sum",
        settings={"std": "none"},
        deviations=(_ON_POLICY, "the group's pass@k contains the sample itself, hence the factor (G - k) / (G k)"),
        when="the plain gradient of pass@k, one update per rollout",
        claims=Claims(
            zero_on_equal_rewards=True,
            uses_ratio=False,
            policy_gradient_at_ratio_one=True,
            unbiased_for="pass@k",
            unbiased_factor="(G-k)/(G*k)",
            smallest_group=3,
            shown_at={"pass_k": 2},
        ),
    )
)

register(
    Preset(
        name="pkpo",
        paper="C. Walder and D. Karkhanis, Pass@K Policy Optimization, arXiv 2505.15201",
        equation="leave-one-out baseline",
        formula="1/N sum_i A_i sum_t log pi; A = S - pass@k of the other samples",
        advantage="pass-at-k-leave-one-out",
        surrogate="score-function",
        reduction="sequence-sum",
        deviations=(
            _ON_POLICY,
            "for 0/1 rewards; the paper's transformation also takes graded ones",
            "the baseline leaves one out with subsets of k (a group of more than k); the paper's loo-minus-one takes"
            " subsets of k - 1",
        ),
        when="the gradient of pass@k with less variance, groups larger than k",
        claims=Claims(
            zero_on_equal_rewards=True,
            uses_ratio=False,
            policy_gradient_at_ratio_one=True,
            unbiased_for="pass@k",
            unbiased_factor="1/k",
            smallest_group=3,
            shown_at={"pass_k": 2},
        ),
    )
)

register(
    Preset(
        name="max-rl",
        paper="F. Tajwar et al., Maximum Likelihood Reinforcement Learning, arXiv 2602.02710",
        equation="p-normalised advantage",
        formula="1/N sum_i A_i sum_t log pi; A = (R - mean) / mean, 0 where nothing is right",
        advantage="mean-normalised",
        surrogate="score-function",
        reduction="sequence-sum",
        deviations=(
            _ON_POLICY,
            "unbiased for log p expanded in 1 - p to order G - 1: derived here; the paper's estimator without the"
            " subtracted mean is to order G",
        ),
        when="hard prompts should weigh 1 / p: likelihood instead of probability of a right answer",
        claims=Claims(
            scale_invariant=True,
            zero_on_equal_rewards=True,
            uses_ratio=False,
            policy_gradient_at_ratio_one=True,
            unbiased_for="log-likelihood",
        ),
    )
)

register(
    Preset(
        name="unlikeliness",
        paper="A. He et al., Rewarding the Unlikely, arXiv 2506.02355",
        equation="rewarding-unlikely-release, _compute_advantages",
        formula="GRPO with R (1 - unlikeliness_beta rank / G); rank 0 is the unlikeliest of the group",
        advantage="unlikeliness",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        released={"kl_beta": 0.1},
        deviations=(
            "ranks are over the mean log-prob per token, right and wrong together, as released; equal ones share a rank",
            "groups of equal rewards are left at 0, as released (skip_equal=False lets likelihood decide there)",
            "the released runs have a KL coefficient of 0.1 and two passes over each rollout",
        ),
        why_not={"unbiased_for": f"{BIASED_STD}; rewards are changed by the sample's likelihood"},
        when="rank bias: likely right answers crowd out unlikely ones and pass@k falls",
        claims=replace(GROUP_CLAIMS, shift_invariant=False),
    )
)

register(
    Preset(
        name="outcome-batch",
        paper=_PAPER_ANSWERS,
        equation="batch exploration",
        formula="GRPO with A + bonus b; b = -(others of the group with the same answer) / G",
        advantage="outcome-batch",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        deviations=_ANSWERS,
        why_not={
            "unbiased_for": f"{BIASED_STD}; the bonus has another aim",
            "zero_on_equal_rewards": "in a group that is wrong throughout the bonus alone remains: it explores there",
        },
        when="more distinct answers at test time",
        claims=Claims(policy_gradient_at_ratio_one=True),
    )
)

register(
    Preset(
        name="outcome-ucb",
        paper=_PAPER_ANSWERS,
        equation="historical exploration, UCB-Con (and UCB-Mean)",
        formula="GRPO with A + bonus (min(1, 1/sqrt(N)) - ucb_constant); N the visits of the answer to the prompt so far",
        advantage="outcome-ucb",
        surrogate="ppo-clip",
        reduction="sequence-mean",
        deviations=(*_ANSWERS, "N counts the group itself; ucb_baseline='leave-one-out' is UCB-Mean"),
        why_not={
            "unbiased_for": f"{BIASED_STD}; the bonus has another aim",
            "zero_on_equal_rewards": "the bonus depends on answers, not on rewards",
        },
        when="the same prompts come back over many epochs; it covers answers over the history, not at the end",
        claims=Claims(policy_gradient_at_ratio_one=True, remembers=True),
    )
)

register(
    Preset(
        name="darling",
        paper="T. Li et al., DARLING, arXiv 2509.02534",
        equation="multiplicative diversity; facebookresearch/darling",
        formula="GRPO without std on R max((G - |cluster|) / (G - 1), least_diversity)",
        advantage="diversity-weighted",
        surrogate="ppo-clip",
        reduction="token-mean",
        deviations=(
            "clusters are given (clusters_PG): a classifier's in the paper, equal answers where nobody else decides",
            "wrong completions form clusters and count, as in the released default",
            "the reduction is that of the released framework's default",
        ),
        why_not={
            "unbiased_for": "rewards are changed by the group's clusters; a mean over tokens weighs a completion by its length",
            "zero_on_equal_rewards": "right answers of different clusters are worth different rewards",
        },
        when="many right answers exist and only one kind survives",
        claims=Claims(policy_gradient_at_ratio_one=True),
    )
)

register(
    Preset(
        name="qae",
        paper="J. Wu et al., Quantile Advantage Estimation for Entropy-Safe Reasoning, arXiv 2509.22611",
        equation="K-quantile baseline, on DAPO",
        formula="1/|tokens| sum min(rho A, clip(rho, 1-0.2, 1+0.28) A); A = (R - quantile) / (std + 1e-6)",
        advantage="quantile-baseline",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={"epsilon_high": 0.28},
        deviations=(
            "known from notes",
            "the quantile is the inverse of the group's distribution function, which is the paper's rule for 0/1"
            " rewards; numpy's linear one (interpolation='linear') gives fractional baselines near the switch",
        ),
        why_not={
            "unbiased_for": "the baseline is no mean: only right samples move on hard prompts, only wrong ones on easy"
        },
        when="entropy collapses or explodes: on hard prompts only successes move, on easy ones only failures",
        claims=GROUP_CLAIMS,
    )
)

register(
    Preset(
        name="riskpo",
        paper="T. Ren et al., RiskPO: Risk-based Policy Optimization",
        equation="MVaR; RTkenny/RiskPO, core_algos.py, MATH script",
        formula="1/|tokens| sum min(rho A, clip(rho) A); A = (risk_weight CVaR + RVaR)(S) / (risk_weight + 1) / std",
        advantage="risk",
        surrogate="ppo-clip",
        reduction="token-mean",
        released={"risk_high": 0.9},
        deviations=(
            "bundle_size must divide the prompts of a step; S is the sum of a bundle's rewards, one completion a prompt",
            "every completion of a bundle gets the bundle's advantage; the released code has three other ways to share it",
            "with the natural baseline (MATH scripts, default) no advantage is above 0: nothing is reinforced directly;"
            " natural_baseline=False is the DAPO-math script",
            "the batch's quantiles pool all bundles and the tracked ones move before they are used; the released code"
            " takes them per bundle and moves them afterwards",
            "centre subtracts a bundle's mean; the released baseline integrates the risk over the quantile levels",
            "levels are 0.2 and 0.8 (0.2 and 0.9 in the MATH script); quantiles are half tracked, half the batch's",
        ),
        why_not={
            "unbiased_for": "a risk measure of bundles is maximised, not the mean reward",
            "zero_on_equal_rewards": "a bundle is compared with the quantiles of all bundles",
        },
        when="the hardest questions should drive the update",
        claims=Claims(
            policy_gradient_at_ratio_one=True, remembers=True, never_reinforces=True, shown_at={"bundle_size": 1}
        ),
    )
)
