"""What happens at the edges: empty batches, groups of one, numbers that are not finite, policies far apart."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.batch import GroupBatch
from offleash.objectives.checks.base import check, close, hold
from offleash.objectives.checks.example import Example, advantages, denominator, example, gradient
from offleash.objectives.preset import Preset
from offleash.objectives.registry import State


def refusal(what: str, action: Callable[..., object], *arguments: object) -> str:
    """The text of the InputError an action raises; AssertionError if it raises none."""
    try:
        action(*arguments)
    except InputError as error:
        return str(error)
    except KeyError as error:
        raise AssertionError(f"{what}: KeyError {error}; read what `prepare` found by group.require(name)") from error
    raise AssertionError(f"{what}: is accepted")


@check("all-masked", "a batch without a single token has loss 0 and gradient 0")
def all_masked(preset: Preset) -> None:
    """Every mask False, with NaN behind it; also as one micro-batch of a step that has tokens; and no rows at all."""
    extras: tuple[dict[str, Any], ...] = ({}, {"kl_beta": 0.1, "entropy_coef": 0.1, "sft_coef": 1.0, "nll_coef": 1.0})
    for extra in extras:
        e = example(preset, **extra)
        nan = torch.full_like(e.batch.logprobs, math.nan)
        empty = replace(e.batch, mask=torch.zeros_like(e.batch.mask), logprobs=nan, old_logprobs=nan, entropy=nan)
        for batch in (empty, e.batch.rows(slice(0, 0))):
            for divisor in (denominator(e.objective, batch), e.denominator):
                loss, grad, grad_entropy, metrics = gradient(e.objective, batch, divisor)
                hold(loss.item() == 0.0, f"the loss is {loss.item()}")
                hold(bool((grad == 0).all()) and bool((grad_entropy == 0).all()), "the gradient is not 0")
                hold(all(m.item() == 0.0 for m in metrics.values()), f"a metric is not 0: {metrics}")


@check("not-finite", "NaN and infinity at an unmasked place raise InputError naming field, row and token")
def not_finite(preset: Preset) -> None:
    """Every float field the batch carries, and the rewards."""
    e = example(preset)
    n, t = 2, 0
    hold(bool(e.batch.mask[n, t]), "the example masks the place under test")
    for field in ("logprobs", "old_logprobs", "engine_logprobs", "ref_logprobs", "entropy", "advantages"):
        for number in (math.nan, math.inf, -math.inf):
            value = getattr(e.batch, field).clone()
            value[(n, t) if value.ndim == 2 else n] = number
            bad = replace(e.batch, **{field: value})
            text = refusal(f"{field} = {number}", e.objective.loss, bad, e.denominator)
            hold(text.startswith(f"{field}: row {n}, token {t} "), f"the message does not name the place: {text}")
    for field in ("rewards_PG", "mean_logprobs_PG"):
        for number in (math.nan, math.inf):
            value = getattr(e.group, field).clone()
            value[1, 2] = number
            text = refusal(field, advantages, e.objective, replace(e.group, **{field: value}))
            hold(text.startswith(f"{field}: row 1, sample 2 "), f"the message does not name the place: {text}")


@check("undecided", "a completion without a verdict is in no baseline, gets advantage 0, and its reward is not read")
def undecided(preset: Preset) -> None:
    """A group of six with two undecided members equals the group of the other four."""
    e = example(preset)
    group = e.rewards_PG.shape[1]
    adv = advantages(e.objective, _widened(e.group))
    hold(bool((adv[:, group:] == 0).all()), "an undecided completion has an advantage")
    close("the others' advantages", adv[:, :group], e.advantages())


def _widened(group: GroupBatch) -> GroupBatch:
    """Two more members a group, undecided, with something unusable in every annotation."""
    more = group.members(torch.tensor([0, 1]))
    spoilt: dict[str, Any] = {"valid_PG": torch.zeros_like(more.rewards_PG, dtype=torch.bool)}
    for f in fields(group):
        value = getattr(more, f.name)
        if isinstance(value, Tensor) and value.is_floating_point() and f.name.rpartition("_")[2].startswith("PG"):
            spoilt[f.name] = torch.full_like(value, math.nan)
    more = replace(more, **spoilt)
    decided = replace(group, valid_PG=torch.ones_like(group.rewards_PG, dtype=torch.bool))
    joined: dict[str, Any] = {"stats": {}}
    for f in fields(group):
        value = getattr(decided, f.name)
        if isinstance(value, Tensor) and f.name.rpartition("_")[2].startswith("PG"):
            joined[f.name] = torch.cat([value, getattr(more, f.name)], 1)
    return replace(decided, **joined)


@check("group-of-one", "a group of one is an error where samples of a prompt are compared, and fine elsewhere")
def group_of_one(preset: Preset) -> None:
    """The message names num_generations."""
    e = example(preset)
    alone = e.group.members(torch.tensor([0]))
    if e.objective.group_baseline:
        text = refusal("a group of one", advantages, e.objective, alone)
        hold("num_generations" in text, f"the message does not name num_generations: {text}")
    else:
        hold(advantages(e.objective, alone).shape[:2] == (len(e.rewards_PG), 1), "wrong shape")


@check("missing", "an annotation that is needed and not there is named")
def missing(preset: Preset) -> None:
    """Each field of the groups and of the tokens, one at a time."""
    e = example(preset)
    for field in e.objective.group_needs:
        fewer: dict[str, Any] = {field: None, "stats": {}}
        text = refusal(f"no {field}", advantages, e.objective, replace(e.group, **fewer))
        hold(text.startswith(f"{field}: "), f"the message does not name {field}: {text}")
    for field in e.objective.needs:
        without: dict[str, Any] = {field: None}
        text = refusal(f"no {field}", e.objective.loss, replace(e.batch, **without), e.denominator)
        hold(text.startswith(f"{field}: "), f"the message does not name {field}: {text}")
    if e.objective.prepare_groups is not None:
        refusal("groups that were not prepared", e.objective.advantages, replace(e.group, stats={}))


@check("state", "what is remembered survives JSON, and changes nothing that was given", lambda c: c.remembers)
def state(preset: Preset) -> None:
    """Three steps with the state passed through JSON at each, against three without."""
    e = example(preset)
    direct: State | None = None
    stored: State | None = None
    for _ in range(3):
        before = json.dumps(direct)
        groups, between = e.objective.prepare(e.group, direct)
        batch, following = e.objective.prepare(e.batch, between)
        hold(json.dumps(direct) == before, "the state that was given is changed")
        direct = following
        stored_groups, stored = e.objective.prepare(e.group, stored)
        stored_batch, stored = e.objective.prepare(e.batch, json.loads(json.dumps(stored)))
        stored = json.loads(json.dumps(stored))
        same = all(torch.equal(value, stored_groups.stats[name]) for name, value in groups.stats.items())
        hold(same and batch.controls == stored_batch.controls, "what is decided does not survive JSON")
        hold(direct == stored, "the state does not survive JSON")


@check("demonstrations", "demonstrations are refused by a row that has no rule for them")
def demonstrations(preset: Preset) -> None:
    """And a row that needs them says so when the flags are missing."""
    e = example(preset)
    if not e.objective.uses_external:
        marked = replace(e.batch, external=torch.ones_like(e.batch.mask[:, 0]))
        refusal("a demonstration", e.objective.loss, marked, e.denominator)
        external = replace(e.group, external_PG=~e.external_PG)
        refusal("a demonstration", advantages, e.objective, external)
    if "external" in e.objective.needs:
        refusal("no flags", e.objective.loss, replace(e.batch, external=None), e.denominator)
        refusal("no flags", e.objective.denominator, e.batch.mask)


@check("far-apart", "ratios from 1e-6 to 1e6 give a finite loss and a finite gradient")
def far_apart(preset: Preset) -> None:
    """Either sign of the advantage, either side of 1."""
    for log_ratio in (-math.log(1e6), math.log(1e6)):
        for sign in (-1.0, 0.0, 1.0):
            _finite(apart(preset, log_ratio, sign))


def apart(preset: Preset, log_ratio: float, advantage: float) -> Example:
    """The example with one log-ratio and one advantage at all tokens."""
    e = example(preset)
    low = torch.full_like(e.batch.logprobs, -abs(log_ratio) - 0.01)
    high = torch.full_like(e.batch.logprobs, -0.01)
    new, old = (high, low) if log_ratio > 0 else (low, high)
    batch = replace(e.batch, logprobs=new, old_logprobs=old)
    return replace(e, batch=batch).with_advantages(torch.full_like(e.batch.advantages, advantage))


def _finite(e: Example) -> None:
    loss, grad, _, _ = gradient(e.objective, e.batch, e.denominator)
    hold(bool(loss.isfinite()), f"the loss is {loss.item()}")
    hold(bool(grad.isfinite().all()), "the gradient is not finite")


@check("overflow", "finite log-probs whose ratio overflows raise InputError, or give a finite gradient")
def overflow(preset: Preset) -> None:
    """A ratio of exp(800) is infinite in float64: where a bound holds it must not reach the gradient as 0 x inf."""
    for sign in (-1.0, 1.0):
        e = apart(preset, 800.0, sign)
        try:
            _finite(e)
        except InputError as error:
            hold(str(error).startswith("logprobs: row "), f"the message does not name the place: {error}")


@check("wrong-shapes", "tensors of wrong shape or type raise InputError naming the field")
def wrong_shapes(preset: Preset) -> None:
    """One field at a time."""
    e = example(preset)
    bad: dict[str, Tensor] = {
        "mask": e.batch.mask.to(torch.float64),
        "old_logprobs": e.batch.logprobs[:, :-1],
        "advantages": e.batch.advantages[:-1],
        "external": torch.zeros(len(e.batch.mask), dtype=torch.int64),
        "logprobs": e.batch.mask,
    }
    for field, value in bad.items():
        batch = copy.copy(e.batch)
        object.__setattr__(batch, field, value)  # past any check of the annotations themselves
        text = refusal(field, e.objective.loss, batch, e.denominator)
        hold(text.startswith(f"{field}: "), f"the message does not name {field}: {text}")
