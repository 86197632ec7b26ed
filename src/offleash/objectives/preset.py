"""A preset is a row: which parts, which settings, from which paper, what it claims. `get` makes it a function."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.batch import GroupBatch, TokenBatch
from offleash.objectives.compose import Objective, Term
from offleash.objectives.mismatch import MISMATCH_DEFAULTS, corrected
from offleash.objectives.reduce import TOLD_BY, Denominator, Reduction
from offleash.objectives.registry import REGULARIZERS, Part, find, import_path
from offleash.objectives.regularizers.kl import ESTIMATORS


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What a row promises at its default settings, and is held to by the contract tests.

    Attributes:
        shift_invariant: adding a constant to a group's rewards leaves the advantages.
        scale_invariant: multiplying a group's rewards by a positive number leaves them (up to std_epsilon).
        zero_on_equal_rewards: a group whose rewards are all equal gets exactly 0.
        zero_advantage_is_zero_gradient: so does the gradient.
        uses_ratio: the loss depends on the log-probs at sampling time.
        policy_gradient_at_ratio_one: with pi = pi_old, the gradient is that of -A log pi under the same reduction.
        needs_ref: a reference model is needed.
        needs_external: without demonstrations the row does nothing.
        never_reinforces: no completion gets a positive advantage.
        unbiased_for: what the mean gradient over sampled groups is the exact gradient of, at pi = pi_old: "J" (the
            expected reward), "pass@k", "log-likelihood" (of a correct answer, to order G - 1), or None for a biased row.
        unbiased_factor: the constant in front, a key of `checks.expectation.FACTORS`.
        remembers: a state is kept from step to step.
        smallest_group: groups under which the expectation is taken; a row may need more than two samples.
        shown_at: settings at which the claims are shown, where the defaults need more samples or prompts than fit.
        micro_batch_invariant: splitting the step into micro-batches changes nothing.
        differentiable_value: the gradient is the derivative of the value: nothing is detached in between.
        vmap: `loss(..., check=False)` runs under torch.func.vmap.
    """

    shift_invariant: bool = False
    scale_invariant: bool = False
    zero_on_equal_rewards: bool = False
    zero_advantage_is_zero_gradient: bool = True
    uses_ratio: bool = True
    policy_gradient_at_ratio_one: bool = False
    needs_ref: bool = False
    needs_external: bool = False
    never_reinforces: bool = False
    unbiased_for: str | None = None
    unbiased_factor: str = "1"
    remembers: bool = False
    smallest_group: int = 2
    shown_at: Mapping[str, Any] = field(default_factory=dict)
    micro_batch_invariant: bool = True
    differentiable_value: bool = True
    vmap: bool = True


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One named algorithm.

    Attributes:
        name: kebab-case.
        paper: authors, title, arXiv number.
        equation: where in the paper.
        formula: the objective J that is maximised, in text; the loss is -J.
        advantage: name of an advantage, or a dotted path.
        surrogate: name of a surrogate, or a dotted path.
        credit: name of a rule that spreads advantages over tokens, or a dotted path; "none" for the same at all.
        reduction: one of reduce.MODES.
        rows: which rows the surrogate sees.
        settings: defaults that differ from the parts' own.
        released: overrides that give the objective of the paper's released code, where it differs.
        deviations: what differs between paper, released code and this row's defaults, and what is not known.
        why_not: a reason for each claim a reader would expect and the row does not make.
        when: when to use it.
        claims: what is tested.
    """

    name: str
    paper: str
    equation: str
    formula: str
    advantage: str
    surrogate: str
    reduction: str
    credit: str = "none"
    rows: str = "all"
    settings: Mapping[str, Any] = field(default_factory=dict)
    released: Mapping[str, Any] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    why_not: Mapping[str, str] = field(default_factory=dict)
    when: str = ""
    claims: Claims = Claims()

    def defaults(self) -> dict[str, Any]:
        """Every setting `get` accepts for this row, with its default."""
        return _defaults(self, {kind: getattr(self, kind) for kind in KINDS})


OPTIONAL = ("shaping", "entropy_target", "constant_length")
"""Numbers that may be null although their default is not."""
NOT_NEGATIVE = (
    *("kl_beta", "entropy_coef", "sft_coef", "nll_coef", "std_epsilon", "variance_floor", "positive_weight"),
    *("negative_weight", "least_selected", "quantile_rate", "entropy_coef_max", "entropy_delta", "kl_cov_beta"),
    *("trajectory_weight", "step_weight", "risk_weight", "reward_weight"),
)
"""Settings that mean nothing below 0."""
KINDS = ("advantage", "credit", "surrogate")
PRESETS: dict[str, Preset] = {}


def register(preset: Preset) -> Preset:
    """Add a row to PRESETS; it inherits the contract tests.

    Raises:
        InputError: the name is taken, or a part or setting does not exist.
    """
    if preset.name in PRESETS:
        raise InputError(f"preset {preset.name!r}: is already registered; choose another name")
    if not re.fullmatch(r"[a-z0-9]+([-+]+[a-z0-9]+|[+]+)*", preset.name):
        raise InputError(f"preset {preset.name!r}: names are kebab-case, such as 'my-grpo'")
    build(preset, **preset.settings)
    PRESETS[preset.name] = preset
    return preset


def get(name: str, /, **overrides: Any) -> Objective:
    """The objective called `name`, with some settings replaced.

    Args:
        name: a preset; or `package.module:attribute`, where the attribute is a Preset, or a surrogate function that is
            composed with the other parts of grpo.
        overrides: settings of the row's parts, and `advantage`, `credit`, `surrogate`, `reduction`, `rows`,
            `constant_length`, `kl_beta`, `kl_estimator`, `entropy_coef`, `entropy_target`, `sft_coef`, `nll_coef`,
            `mismatch`. `Preset.defaults()` lists them.

    Raises:
        InputError: an unknown name or setting, with the closest known one.

    >>> get("grpo", epsilon_high=0.28).settings["epsilon_high"]
    0.28
    """
    if not isinstance(name, str):
        raise InputError(f"objective: is a {type(name).__name__}; give a name, such as 'grpo'")
    objective = build(find_preset(name), **overrides)
    try:
        _try(objective)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"objective {name!r}: fails on a small example ({type(error).__name__}: {error}); is every part of its kind, "
            "and do its functions take what `offleash.objectives` describes?"
        ) from error
    return objective


def _try(objective: Objective) -> None:
    """One advantage and one loss on a few tokens: a setting out of range shows now, not after the first rollout."""
    group = example_groups(objective)
    group, state = objective.prepare(group)
    objective.advantages(group)
    logprobs, yes = torch.full((2, 1), -1.0), torch.ones(2, dtype=torch.bool)
    batch = TokenBatch(
        logprobs=logprobs,
        old_logprobs=logprobs,
        engine_logprobs=logprobs,
        ref_logprobs=logprobs,
        entropy=-logprobs,
        mask=yes[:, None],
        advantages=torch.tensor([1.0, -1.0]),
        vocab_size=2,
        external=yes if objective.uses_external else ~yes,
        correct=yes,
        planning=yes[:, None],
        group_ids=yes.long(),
    )
    batch, _ = objective.prepare(batch, state)
    objective.loss(batch, denominator_of(objective, batch, 1))


def example_groups(objective: Objective, prompts: int | None = None, group: int | None = None) -> GroupBatch:
    """Groups of right and wrong completions with every annotation there is, of the least size the objective takes."""
    shape = (
        prompts or max(1, int(str(objective.settings.get("bundle_size", 1)))),
        group or max(2, objective.least_group),
    )
    rewards_PG = (torch.arange(shape[1]) % 2).to(torch.float64).expand(shape).contiguous()
    one_PG = torch.ones(shape, dtype=torch.long)
    values_PG1 = torch.zeros(*shape, 1, dtype=torch.float64)
    return GroupBatch(
        rewards_PG=rewards_PG,
        prompts=tuple(map(str, range(shape[0]))),
        answers_PG=one_PG,
        clusters_PG=one_PG,
        lengths_PG=one_PG,
        mean_logprobs_PG=rewards_PG - 2.0,
        step_rewards_PGS=values_PG1,
        step_tags_PGS=one_PG[..., None],
        step_states_PGS=one_PG[..., None],
        step_mask_PGS=one_PG[..., None] > 0,
        reference_logprobs_PGR=values_PG1 - 1.0,
        masked_logprobs_PR=values_PG1[:, 0] - 1.0,
        reference_mask_PR=values_PG1[:, 0] == 0,
    )


def denominator_of(objective: Objective, batch: TokenBatch, max_completion_length: int | None) -> Denominator:
    """The denominator of a whole step batch, from all that the batch carries."""
    return objective.denominator(
        batch.mask,
        advantages=batch.advantages,
        external=batch.external,
        correct=batch.correct,
        group_ids=batch.group_ids,
        selected=batch.selected,
        max_completion_length=max_completion_length,
    )


def find_preset(name: str) -> Preset:
    """The row called `name`, or found at a dotted path."""
    if name in PRESETS:
        return PRESETS[name]
    if ":" not in name:
        raise unknown_name("objective", name, PRESETS)
    target = import_path(name)
    if isinstance(target, Preset):
        return target
    find("surrogate", name)
    return Preset(
        name=name,
        paper="",
        equation="",
        formula="",
        advantage="group-relative",
        surrogate=name,
        reduction="sequence-mean",
        claims=Claims(shift_invariant=True, zero_on_equal_rewards=True),
    )


def build(preset: Preset, **overrides: Any) -> Objective:
    """Compose a preset's parts."""
    names = {kind: overrides.get(kind, getattr(preset, kind)) for kind in KINDS}
    settings = _defaults(preset, names)
    for key, value in overrides.items():
        if key not in settings:
            raise unknown_name(f"setting of {preset.name}", key, settings)
        settings[key] = _typed(preset.name, key, value, settings[key])
    if settings["kl_estimator"] not in ESTIMATORS:
        raise unknown_name("kl_estimator", settings["kl_estimator"], ESTIMATORS)
    advantage, credit, surrogate = (find(kind, names[kind]) for kind in KINDS)
    terms = _terms(surrogate, settings)
    regularizers = [REGULARIZERS[t.name] for t in terms[1:]]
    least = advantage.least_group(settings) if advantage.least_group else 1
    needs = _needs([credit, surrogate, *regularizers], terms, settings)
    return Objective(
        name=preset.name,
        settings=settings,
        advantage=_bind(advantage.function, advantage.defaults, settings),
        credit=None if names["credit"] == "none" else _bind(credit.function, credit.defaults, settings),
        terms=terms,
        needs=needs,
        group_needs=frozenset(advantage.needs),
        least_group=max(least, 2 if advantage.group_baseline else 1),
        uses_external=surrogate.external or "external" in needs,
        needs_external=settings["rows"] == "external",
        select=_bind(surrogate.select, surrogate.select_defaults, settings),
        scope=_scope(settings),
        prepare_groups=_bind(advantage.prepare, advantage.prepare_defaults, settings),
        prepare_tokens={r.name: _bind(r.prepare, r.prepare_defaults, settings) for r in regularizers if r.prepare},
        zero_advantage_is_zero_gradient=surrogate.scales_with_advantage and len(terms) == 1,
    )


def _needs(parts: list[Part], terms: tuple[Term, ...], settings: Mapping[str, Any]) -> frozenset[str]:
    """TokenBatch fields that the parts, the kinds of rows, the reduction and the correction read."""
    needs = {need for part in parts for need in part.needs}
    needs |= {TOLD_BY.get(term.reduction.rows, "advantages") for term in terms} - {"advantages"}
    if settings["reduction"] == "prompt-mean":
        needs.add("group_ids")
    if settings["mismatch"] != "none":
        needs |= {"old_logprobs", "engine_logprobs"}
    return frozenset(needs)


def _defaults(preset: Preset, names: Mapping[str, str]) -> dict[str, Any]:
    surrogate = find("surrogate", names["surrogate"])
    settings: dict[str, Any] = {
        **names,
        "reduction": preset.reduction,
        "rows": preset.rows,
        "constant_length": None,
        "kl_beta": 0.0,
        "entropy_coef": 0.0,
        "sft_coef": 0.0,
        "nll_coef": 0.0,
        "mismatch": "none",
        **MISMATCH_DEFAULTS,
        **REGULARIZERS["kl"].settings,
        **REGULARIZERS["adaptive-entropy"].settings,
    }
    for kind in KINDS:
        settings |= find(kind, names[kind]).settings
    if surrogate.select is not None:
        settings["scope"] = "step"
    unknown = [key for key in preset.settings if key not in settings]
    # A row's own settings may belong to a part that an override replaced; with the row's own parts they must all exist.
    if unknown and all(names[kind] == getattr(preset, kind) for kind in KINDS):
        raise unknown_name(f"setting of {preset.name}", unknown[0], settings)
    return settings | {key: value for key, value in preset.settings.items() if key in settings}


def _terms(surrogate: Part, settings: Mapping[str, Any]) -> tuple[Term, ...]:
    reduction = Reduction(settings["reduction"], settings["rows"], settings["constant_length"])
    # A penalty on the policy concerns every rollout, also where the surrogate counts only some signs of the advantage.
    everywhere = Reduction(
        settings["reduction"],
        "all" if settings["rows"] in ("negative", "positive", "selected") else settings["rows"],
        settings["constant_length"],
    )
    function = _bind(surrogate.function, surrogate.defaults, settings)
    if settings["mismatch"] != "none":
        function = corrected(function, settings["mismatch"], settings["mismatch_low"], settings["mismatch_high"])
    terms = [Term("surrogate", 1.0, function, reduction)]
    if settings["kl_beta"]:
        kl = REGULARIZERS["kl"]
        terms.append(Term("kl", settings["kl_beta"], _bind(kl.function, kl.defaults, settings), everywhere))
    if settings["entropy_coef"]:
        terms.append(Term("entropy", settings["entropy_coef"], REGULARIZERS["entropy"].function, everywhere))
    if settings["entropy_target"] is not None:
        terms.append(Term("adaptive-entropy", 1.0, REGULARIZERS["adaptive-entropy"].function, everywhere))
    if settings["sft_coef"]:
        reduction = Reduction("token-mean", "external")
        terms.append(Term("sft", settings["sft_coef"], REGULARIZERS["sft"].function, reduction))
    if settings["nll_coef"]:
        reduction = Reduction("token-mean", "correct")
        terms.append(Term("nll", settings["nll_coef"], REGULARIZERS["nll"].function, reduction))
    return tuple(terms)


def _scope(settings: Mapping[str, Any]) -> str | None:
    scope = settings.get("scope")
    if scope not in (None, "step", "micro-batch"):
        raise unknown_name("scope", scope, ("step", "micro-batch"))
    return scope


def _bind(function: Callable[..., Any] | None, defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    return None if function is None else functools.partial(function, **{key: settings[key] for key in defaults})


def _typed(name: str, key: str, value: Any, default: Any) -> Any:
    """Refuse a value of another kind than the default: text for a number, a number for a name."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not math.isfinite(value):
        raise InputError(f"{key}: is {value}; give a finite number{' or null' if _optional(key, default) else ''}")
    if number and value < 0 and key in NOT_NEGATIVE:
        raise InputError(f"{key}: is {value}; give a number of at least 0")
    if number and isinstance(default, int) and not isinstance(default, bool):
        if value != int(value):
            raise InputError(f"{key}: is {value}; {name} takes a whole number there (default {default})")
        return int(value)
    optional = _optional(key, default)
    if isinstance(default, bool | str):
        fits, wanted = isinstance(value, type(default)), "true or false" if isinstance(default, bool) else "a name"
    else:
        fits, wanted = number or (optional and value is None), "a number or null" if optional else "a number"
    if not fits:
        raise InputError(f"{key}: is {value!r}; {name} takes {wanted} there (default {default!r})")
    # A recipe may write 1 for 1.0: the setting is the same number either way.
    return float(value) if number and not isinstance(default, int) else value


def _optional(key: str, default: Any) -> bool:
    return default is None or key in OPTIONAL or key.startswith(("epsilon_", "mismatch_"))
