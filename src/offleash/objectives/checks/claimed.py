"""What a row claims of its advantages and gradients, and that it claims no more and no less than it holds."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from offleash.core.errors import InputError
from offleash.objectives.batch import TokenBatch
from offleash.objectives.checks.base import check, close, hold
from offleash.objectives.checks.example import Example, denominator, example, gradient
from offleash.objectives.compose import Objective
from offleash.objectives.preset import Preset, build
from offleash.objectives.reduce import Denominator


@check("shift", "adding a constant to a group's rewards leaves the advantages", lambda c: c.shift_invariant)
def shift(preset: Preset) -> None:
    """Shifts that keep binary rewards exact, of one group alone, whether its rewards differ or not."""
    for e in _mixed_and_wrong(preset):
        for constant in (-3.0, 0.1, 100.0):
            shifted = e.advantages(_first(e, plus=constant))
            close(f"advantages after {constant}", shifted, e.advantages())


@check("scale", "scaling a group's rewards leaves the advantages, up to std_epsilon", lambda c: c.scale_invariant)
def scale(preset: Preset) -> None:
    """With std_epsilon 1e-6 and binary rewards the factor 10 shows in the sixth digit."""
    e = example(preset)
    close("advantages x 10", e.advantages(_first(e, times=10.0)), e.advantages(), 1e-5)


def _mixed_and_wrong(preset: Preset) -> list[Example]:
    """The example, and one whose first group is wrong throughout."""
    e = example(preset)
    wrong = replace(e.group, rewards_PG=_first(e, times=0.0))
    return [e, replace(e, group=wrong)]


def _first(e: Example, times: float = 1.0, plus: float = 0.0) -> Tensor:
    """The rewards with those of the first group scaled and shifted."""
    return torch.cat([times * e.rewards_PG[:1] + plus, e.rewards_PG[1:]])


@check(
    "equal-rewards",
    "a group of equal rewards gets exactly 0, and no gradient where zero advantages give none",
    lambda c: c.zero_on_equal_rewards,
)
def equal_rewards(preset: Preset) -> None:
    """0.1 is not a binary fraction: the mean of equal numbers differs from them in the last bit."""
    for reward in (0.0, 1.0, 0.1, -7.3):
        e = example(preset)
        try:
            adv = e.advantages(_first(e, times=0.0, plus=reward))
        except InputError:
            hold(reward not in (0.0, 1.0), f"a reward of {reward} is refused")
            continue
        hold(bool((adv[0] == 0).all()), f"rewards of {reward} give {adv[0].tolist()}")
        if preset.claims.zero_advantage_is_zero_gradient:
            _no_gradient(e.advantages(torch.full_like(e.rewards_PG, reward)), preset)


@check("zero-advantage", "tokens of advantage 0 get gradient exactly 0", lambda c: c.zero_advantage_is_zero_gradient)
def zero_advantage(preset: Preset) -> None:
    """And the objective says so of itself, until a term without an advantage is added."""
    e = example(preset)
    _no_gradient(torch.zeros_like(e.rewards_PG), preset)
    hold(
        e.objective.zero_advantage_is_zero_gradient,
        "the objective does not know it: declare scales_with_advantage=True in the surrogate's decorator",
    )
    for extra in ({"kl_beta": 0.1}, {"entropy_coef": 0.1}, {"sft_coef": 1.0}, {"nll_coef": 1.0}):
        hold(
            not build(preset, **{**preset.claims.shown_at, **extra}).zero_advantage_is_zero_gradient,
            f"with {extra} rows must not be skipped",
        )


def _no_gradient(adv_PG: Tensor, preset: Preset) -> None:
    e = example(preset)
    e = e.with_advantages(adv_PG)
    _, grad, _, _ = gradient(e.objective, e.batch, e.denominator)
    hold(bool((grad == 0).all()), f"a gradient of {grad.abs().max().item():.3g} from advantages of 0")


@check("exact-claims", "needs and exceptions are as the row says, and it gives a reason for what it does not claim")
def exact_claims(preset: Preset) -> None:
    """A claim that is not made must be false, or it should be made."""
    c, e = preset.claims, example(preset)
    hold(e.objective.needs_ref == c.needs_ref, f"needs_ref is {e.objective.needs_ref}")
    hold(e.objective.needs_external == c.needs_external, f"needs_external is {e.objective.needs_external}")
    hold(
        e.objective.zero_advantage_is_zero_gradient == c.zero_advantage_is_zero_gradient,
        "zero_advantage_is_zero_gradient is not what the parts say: a surrogate whose loss is 0 at advantage 0 declares"
        " scales_with_advantage=True in its decorator",
    )
    for claim in ("zero_on_equal_rewards", "zero_advantage_is_zero_gradient", "unbiased_for"):
        hold(bool(getattr(c, claim)) or claim in preset.why_not, f"{claim}: claim it or say why not")
    for claim in preset.why_not:
        hold(not getattr(c, claim), f"{claim}: is claimed, and a reason is given why not")
    hold(e.objective.remembers == c.remembers, f"remembers is {e.objective.remembers}")
    equal = [e.advantages(_first(e, times=0.0, plus=to))[0] for to in (0.0, 1.0)]
    equal += [e.advantages(torch.full_like(e.rewards_PG, to)) for to in (0.0, 1.0)]
    if not c.zero_on_equal_rewards and not c.needs_external:
        hold(any(bool((a != 0).any()) for a in equal), "equal rewards give 0: claim zero_on_equal_rewards")
    invariant = all(_same_after_shift(e) for e in _mixed_and_wrong(preset))
    hold(invariant == c.shift_invariant, f"shift_invariant is {invariant}")


def _same_after_shift(e: Example) -> bool:
    try:
        return torch.allclose(e.advantages(_first(e, plus=1.0)), e.advantages())
    except InputError:
        return False


@check("ratio", "the loss depends on the old log-probs exactly if the row says so")
def ratio(preset: Preset) -> None:
    """Old log-probs moved by a little, everywhere."""
    e = example(preset)
    loss, _, _, _ = gradient(e.objective, e.batch, e.denominator)
    assert e.batch.old_logprobs is not None
    moved = replace(e.batch, old_logprobs=e.batch.old_logprobs - 0.01)
    depends = bool(gradient(e.objective, moved, e.denominator)[0] != loss)
    hold(depends == preset.claims.uses_ratio, f"uses_ratio is {depends}")
    hold(e.objective.needs_old == preset.claims.uses_ratio, f"needs_old is {e.objective.needs_old}")
    if not preset.claims.uses_ratio:
        close(
            "loss without old log-probs",
            gradient(e.objective, replace(e.batch, old_logprobs=None), e.denominator)[0],
            loss,
        )


@check(
    "policy-gradient",
    "at pi = pi_old the rollouts' gradient is that of -A log pi under the same reduction",
    lambda c: c.policy_gradient_at_ratio_one,
)
def policy_gradient(preset: Preset) -> None:
    """Compared with the same row, its surrogate replaced by score-function."""
    e = example(preset, spread=0.0)
    batch = replace(e.batch, old_logprobs=e.batch.logprobs, external=torch.zeros_like(e.batch.mask[:, 0]))
    kept = {k: e.objective.settings[k] for k in ("reduction", "rows", "constant_length")}
    plain = build(preset, **{**preset.claims.shown_at, **kept, "surrogate": "score-function"})
    actual = gradient(e.objective, batch, denominator(e.objective, batch))[1]
    close("gradient", actual, gradient(plain, batch, denominator(plain, batch))[1])


@check("never-reinforces", "no sample's log-prob is ever pushed up", lambda c: c.never_reinforces)
def never_reinforces(preset: Preset) -> None:
    """No advantage above 0, and no gradient that raises a sampled token's log-prob."""
    e = example(preset)
    hold(bool((e.advantages() <= 0).all()), "an advantage is positive")
    hold(bool((gradient(e.objective, e.batch, e.denominator)[1] >= 0).all()), "a log-prob is pushed up")


@check("gradient", "autograd is the derivative of the loss, by finite differences", lambda c: c.differentiable_value)
def finite_differences(preset: Preset) -> None:
    """Central differences at every unmasked token, two seeds; a token within 1e-4 of a clip's kink is left out."""
    for seed in (1, 2):
        e = example(preset, seed=seed, prompts=2, kl_beta=0.1)
        grad = gradient(e.objective, e.batch, e.denominator)[1]
        close("gradient", _difference(e.objective, e.batch, e.denominator), grad, 1e-7)


def _difference(objective: Objective, batch: TokenBatch, divisor: Denominator) -> Tensor:
    step, result = 1e-5, torch.zeros_like(batch.logprobs)
    for n, t in batch.mask.nonzero().tolist():
        up, down = batch.logprobs.clone(), batch.logprobs.clone()
        up[n, t] += step
        down[n, t] -= step
        values = [objective.loss(replace(batch, logprobs=x), divisor)[0] for x in (up, down)]
        result[n, t] = (values[0] - values[1]) / (2 * step)
    return result
