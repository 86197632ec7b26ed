"""Rows as documents: what `offleash objectives --json` prints, and docs/objectives.md.

python -m offleash.objectives.document > docs/objectives.md
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from offleash.objectives.checks import CHECKS, applicable
from offleash.objectives.checks.expectation import bias
from offleash.objectives.oracles import peers_of
from offleash.objectives.preset import KINDS, PRESETS, Preset, build

_HEAD = """# Objectives

Generated from the registry by `make docs`; do not edit. `offleash objectives NAME` prints one row, `offleash objectives --json`
all of them.

A row composes an advantage, a rule of credit, a surrogate, regularizers and a reduction. Its formula is the objective J that
is maximised; the loss is -J. Every setting can be changed in a recipe (`objective: {name: grpo, overrides: {epsilon_high:
0.28}}`) or in Python (`get("grpo", epsilon_high=0.28)`). Settings of every row: `kl_beta` with `kl_estimator`, `entropy_coef`,
`entropy_target` (adaptive bonus), `sft_coef`, `nll_coef`, `mismatch` with `mismatch_low` and `mismatch_high` (correction for the
sampling engine), `reduction`, `rows`, `constant_length`.

Symbols: rho = pi / pi_old of a token, A the advantage, R the reward, o_i completion i of N, G the size of a group, P the number
of prompts, S the sum of rewards of a bundle of prompts, sg() no gradient.

The three KL penalties to a reference, with d = log pi - log pi_ref at a sampled token, as terms of the loss on-policy: `k1` = d has
gradient 1 x grad log pi, which averages to 0 and penalises nothing; `k2` = d^2 / 2 has d x grad log pi, which averages to the gradient
of KL(pi || pi_ref), the penalty one means; `k3` = exp(-d) - 1 + d has (1 - exp(-d)) x grad log pi, which averages to the gradient of
KL(pi_ref || pi), the other direction. Tested on an enumerated policy.

"""


def describe(preset: Preset) -> dict[str, Any]:
    """Everything known of a row in JSON's types.

    `proven` lists the contract checks it passes, name to sentence; `settings` every setting with its default; `needs`
    the TokenBatch fields it reads beyond logprobs, mask and advantages; `group_needs` those of a GroupBatch beyond the
    rewards; `compared_with` the implementations of others that give the same numbers.
    """
    row = asdict(preset)
    for key in (*KINDS, "reduction", "rows"):
        del row[key]
    objective = build(preset)
    row["settings"] = preset.defaults()
    row["deviations"] = list(preset.deviations)
    row["needs"] = sorted(objective.needs)
    row["group_needs"] = sorted(objective.group_needs)
    row["scope"] = objective.scope
    row["compared_with"] = peers_of(preset.name)
    row["proven"] = {name: CHECKS[name].says for name in applicable(preset)}
    return row


def text(preset: Preset) -> str:
    """One row for people, on a terminal."""
    row = describe(preset)
    lines = [preset.name, f"  {preset.formula}", f"  {preset.paper}; {preset.equation}"]
    lines += [f"  differs: {deviation}" for deviation in preset.deviations]
    lines += [f"  released code: {_settings(preset.released)}"] if preset.released else []
    own = own_settings(preset)
    lines += [f"  settings: {_settings(own)}"] if own else []
    lines += (
        [f"  reads: {', '.join((*row['needs'], *row['group_needs']))}"] if row["needs"] or row["group_needs"] else []
    )
    lines += [f"  proven: {sentence}" for sentence in claims(preset)]
    lines += [f"  proven at: {_settings(preset.claims.shown_at)}"] if preset.claims.shown_at else []
    for claim, reason in preset.why_not.items():
        lines.append(
            f"  biased: {reason}" if claim == "unbiased_for" else f"  not claimed: {claim.replace('_', ' ')}: {reason}"
        )
    return "\n".join([*lines, f"  use: {preset.when}"]) + "\n"


def table(presets: Sequence[Preset]) -> str:
    """A line a row: its name, its parts, how many properties are proven of it, and when to use it."""
    name, parts = (max(len(f(p)) for p in presets) for f in (lambda p: p.name, _parts))
    lines = [f"{p.name:{name}}  {_parts(p):{parts}}  {len(applicable(p)):3} proofs  {p.when}" for p in presets]
    return "\n".join([*lines, "", f"{len(lines)} rows. `offleash objectives NAME` prints one in full."])


def _parts(preset: Preset) -> str:
    credit = "" if preset.credit == "none" else f"/{preset.credit}"
    return f"{preset.advantage}{credit} > {preset.surrogate} > {preset.reduction}"


def own_settings(preset: Preset) -> dict[str, Any]:
    """The settings that the row's own parts have, and what else it sets."""
    plain = build(PRESETS["reinforce"]).settings
    settings = preset.defaults()
    used = {
        "kl_estimator": bool(settings["kl_beta"]),
        "entropy_delta": settings["entropy_target"] is not None,
        "entropy_coef_max": settings["entropy_target"] is not None,
        "mismatch_low": settings["mismatch"] != "none",
        "mismatch_high": settings["mismatch"] != "none",
    }
    own = {k: v for k, v in settings.items() if k not in KINDS and (k not in plain or plain[k] != v)}
    return {k: settings[k] for k in settings if k in own or used.get(k)}


def claims(preset: Preset) -> list[str]:
    """What the row claims beyond what holds of every row, in sentences."""
    general = {name for name, check in CHECKS.items() if all(check.applies(p.claims) for p in PRESETS.values())}
    found = [CHECKS[name].says for name in applicable(preset) if name not in general and name != "biased"]
    c = preset.claims
    if c.unbiased_for:
        factor = "" if c.unbiased_factor == "1" else f" times {c.unbiased_factor}"
        found.append(f"unbiased for {c.unbiased_for}{factor}, by enumeration of all groups")
    found += [f"agrees with {peer}, value and gradient to 1e-9" for peer in peers_of(preset.name)]
    return found


def markdown() -> str:
    """docs/objectives.md. Takes some seconds: the bias of each biased row is computed."""
    general = [c.says for c in CHECKS.values() if all(c.applies(p.claims) for p in PRESETS.values())]
    general.append(
        "value and gradient are those of its formula written a second time, in plain Python, to 1e-9 in float64"
    )
    parts = [_HEAD, f"{len(PRESETS)} rows.\n\n## Proven of every row\n\n", _list(general), "\n## Rows\n\n", _table()]
    parts += [_section(preset) for preset in PRESETS.values()]
    return "".join(parts)


def _table() -> str:
    lines = ["| row | advantage | surrogate | reduction | when |", "| --- | --- | --- | --- | --- |"]
    seen: dict[str, int] = {}
    for p in PRESETS.values():
        credit = "" if p.credit == "none" else f", credit {p.credit}"
        anchor = "".join(c for c in p.name if c.isalnum() or c == "-")
        # Headings that come to the same anchor are numbered.
        seen[anchor] = seen.get(anchor, -1) + 1
        anchor += f"-{seen[anchor]}" if seen[anchor] else ""
        lines.append(
            f"| [{p.name}](#{anchor}) | {p.advantage}{credit} | {p.surrogate} | {p.reduction} | {_cell(p.when)} |"
        )
    return "\n".join(lines) + "\n"


def _section(preset: Preset) -> str:
    c, biased = preset.claims, ""
    if not c.unbiased_for:
        angle = round(math.degrees(math.asin(bias(build(preset, **c.shown_at), c.smallest_group))))
        biased = (
            f"Biased: {preset.why_not.get('unbiased_for', '')}. On the enumerated policy, in groups of {c.smallest_group}, the "
            f"mean gradient is {angle} degree{'s' * (angle != 1)} away from that of J.\n\n"
        )
    not_claimed = [
        f"{claim.replace('_', ' ')}: {reason}" for claim, reason in preset.why_not.items() if claim != "unbiased_for"
    ]
    own, row = own_settings(preset), describe(preset)
    lines = [f"\n### {preset.name}\n\n", f"    {preset.formula}\n\n", f"{preset.paper}; {preset.equation}.\n\n"]
    lines += [f"Use: {preset.when}.\n\n"]
    lines += [f"Settings: {_settings(own, code=True)}.\n\n"] if own else []
    lines += [f"Released code: {_settings(preset.released, code=True)}.\n\n"] if preset.released else []
    reads = [f"`{name}`" for name in (*row["needs"], *row["group_needs"])]
    lines += [f"Reads: {', '.join(reads)}.\n\n"] if reads else []
    lines += ["Differs:\n\n", _list(preset.deviations), "\n"] if preset.deviations else []
    lines += [biased] if biased else []
    at = f" (at {_settings(c.shown_at, code=True)})" if c.shown_at else ""
    lines += [f"Proven{at}:\n\n", _list(claims(preset))]
    lines += ["\nNot claimed:\n\n", _list(not_claimed)] if not_claimed else []
    return "".join(lines)


def _settings(settings: Any, code: bool = False) -> str:
    """As they are written in a recipe."""
    tick = "`" if code else ""
    return ", ".join(f"{tick}{key}={json.dumps(value)}{tick}" for key, value in settings.items())


def _list(items: Iterable[str]) -> str:
    return "".join(f"- {item}\n" for item in items)


def _cell(content: str) -> str:
    return content.replace("|", "\\|")
