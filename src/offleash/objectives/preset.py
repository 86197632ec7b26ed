"""A preset is a row: which parts, which settings, from which paper, what it claims. `get` makes it a function."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from offleash.core.errors import InputError, unknown_name
from offleash.objectives.batch import TokenBatch
from offleash.objectives.compose import Objective, Term
from offleash.objectives.reduce import TOLD_BY, Reduction
from offleash.objectives.registry import REGULARIZERS, Part, find, import_path


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
            expected reward), or None for a biased row.
        unbiased_factor: the constant in front: "1" or "(G-1)/(G*length)".
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
    rows: str = "all"
    settings: Mapping[str, Any] = field(default_factory=dict)
    released: Mapping[str, Any] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    why_not: Mapping[str, str] = field(default_factory=dict)
    when: str = ""
    claims: Claims = Claims()

    def defaults(self) -> dict[str, Any]:
        """Every setting `get` accepts for this row, with its default."""
        return _defaults(self, self.advantage, self.surrogate)


PRESETS: dict[str, Preset] = {}


def register(preset: Preset) -> Preset:
    """Add a row to PRESETS; it inherits the contract tests.

    Raises:
        InputError: the name is taken, or a part or setting does not exist.
    """
    if preset.name in PRESETS:
        raise InputError(f"preset {preset.name!r}: is already registered; choose another name")
    build(preset)
    PRESETS[preset.name] = preset
    return preset


def get(name: str, **overrides: Any) -> Objective:
    """The objective called `name`, with some settings replaced.

    Args:
        name: a preset; or `package.module:attribute`, where the attribute is a Preset, or a surrogate function that is
            composed with the other parts of grpo.
        overrides: settings of the row's parts, and `advantage`, `surrogate`, `reduction`, `rows`, `constant_length`,
            `kl_beta`, `kl_estimator`, `entropy_coef`, `sft_coef`, `nll_coef`. `Preset.defaults()` lists them.

    Raises:
        InputError: an unknown name or setting, with the closest known one.

    >>> get("grpo", epsilon_high=0.28).settings["epsilon_high"]
    0.28
    """
    objective = build(find_preset(name), **overrides)
    _try(objective)
    return objective


def _try(objective: Objective) -> None:
    """One advantage and one loss on two tokens: a setting out of range shows now, not after the first rollout."""
    adv_N = objective.advantages(torch.tensor([[1.0, 0.0]]))[0]
    logprobs, yes = torch.full((2, 1), -1.0), torch.ones(2, dtype=torch.bool)
    batch = TokenBatch(
        logprobs=logprobs,
        old_logprobs=logprobs,
        ref_logprobs=logprobs,
        entropy=-logprobs,
        mask=yes[:, None],
        advantages=adv_N,
        vocab_size=2,
        external=yes if objective.uses_external else ~yes,
        correct=yes,
    )
    batch, _ = objective.prepare(batch)
    denominator = objective.denominator(
        batch.mask, advantages=adv_N, external=batch.external, correct=batch.correct, max_completion_length=1
    )
    objective.loss(batch, denominator)


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
    parts = {kind: overrides.get(kind, getattr(preset, kind)) for kind in ("advantage", "surrogate")}
    settings = _defaults(preset, parts["advantage"], parts["surrogate"])
    for key, value in overrides.items():
        if key not in settings:
            raise unknown_name(f"setting of {preset.name}", key, settings)
        settings[key] = _typed(preset.name, key, value, settings[key])
    advantage, surrogate = find("advantage", parts["advantage"]), find("surrogate", parts["surrogate"])
    terms = _terms(surrogate, settings)
    used = [surrogate, *(REGULARIZERS[t.name] for t in terms[1:])]
    needs = {need for part in used for need in part.needs}
    told_by = {TOLD_BY.get(term.reduction.rows, "advantages") for term in terms}
    needs |= told_by - {"advantages"}
    select = None
    if surrogate.select is not None:
        select = functools.partial(surrogate.select, **{k: settings[k] for k in surrogate.select_defaults})
    return Objective(
        name=preset.name,
        settings=settings,
        advantage=_bind(advantage, settings),
        terms=terms,
        needs=frozenset(needs),
        group_baseline=advantage.group_baseline,
        uses_external=surrogate.external or "external" in needs,
        needs_external=settings["rows"] == "external",
        select=select,
        scope=_scope(settings),
        zero_advantage_is_zero_gradient=surrogate.scales_with_advantage and len(terms) == 1,
    )


def _defaults(preset: Preset, advantage: str, surrogate: str) -> dict[str, Any]:
    part = find("surrogate", surrogate)
    settings: dict[str, Any] = {
        "advantage": advantage,
        "surrogate": surrogate,
        "reduction": preset.reduction,
        "rows": preset.rows,
        "constant_length": None,
        "kl_beta": 0.0,
        "entropy_coef": 0.0,
        "sft_coef": 0.0,
        "nll_coef": 0.0,
        **REGULARIZERS["kl"].defaults,
        **find("advantage", advantage).defaults,
        **part.select_defaults,
        **part.defaults,
    }
    if part.select is not None:
        settings["scope"] = "step"
    unknown = [key for key in preset.settings if key not in settings]
    # A row's own settings may belong to a part that an override replaced; with the row's own parts they must all exist.
    if unknown and (advantage, surrogate) == (preset.advantage, preset.surrogate):
        raise unknown_name(f"setting of {preset.name}", unknown[0], settings)
    return settings | {key: value for key, value in preset.settings.items() if key in settings}


def _terms(surrogate: Part, settings: Mapping[str, Any]) -> tuple[Term, ...]:
    reduction = Reduction(settings["reduction"], settings["rows"], settings["constant_length"])
    # A penalty on the policy concerns every rollout, also where the surrogate counts only some signs of the advantage.
    everywhere = Reduction(
        settings["reduction"],
        "all" if settings["rows"] in ("negative", "positive") else settings["rows"],
        settings["constant_length"],
    )
    terms = [Term("surrogate", 1.0, _bind(surrogate, settings), reduction)]
    if settings["kl_beta"]:
        terms.append(Term("kl", settings["kl_beta"], _bind(REGULARIZERS["kl"], settings), everywhere))
    if settings["entropy_coef"]:
        terms.append(Term("entropy", settings["entropy_coef"], REGULARIZERS["entropy"].function, everywhere))
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


def _bind(part: Part, settings: Mapping[str, Any]) -> Any:
    return functools.partial(part.function, **{key: settings[key] for key in part.defaults})


def _typed(name: str, key: str, value: Any, default: Any) -> Any:
    """Refuse a value of another kind than the default: text for a number, a number for a name."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    optional = default is None or key.startswith("epsilon_")
    if isinstance(default, bool | str):
        fits, wanted = isinstance(value, type(default)), "true or false" if isinstance(default, bool) else "a name"
    else:
        fits, wanted = number or (optional and value is None), "a number or null" if optional else "a number"
    if not fits:
        raise InputError(f"{key}: is {value!r}; {name} takes {wanted} there (default {default!r})")
    # A recipe may write 1 for 1.0: the setting is the same number either way.
    return float(value) if number and not isinstance(default, int) else value
