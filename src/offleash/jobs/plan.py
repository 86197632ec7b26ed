"""`offleash plan`: how many problems and samples it takes to see a shift of pass@k."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from offleash.boundary import Counts, Plan, plan
from offleash.core import InputError
from offleash.jobs.display import aligned, progress
from offleash.jobs.sides import Selection, read_side, refuse_unused

Json = dict[str, Any]


def run(
    pilot: str,
    *,
    k: int,
    shift: float,
    spread: str = "all",
    power: float = 0.8,
    problems: Sequence[int] | None = None,
    samples: Sequence[int] | None = None,
    selection: Selection | None = None,
    as_json: bool = False,
) -> Json:
    """Print the plan; returns the document of `--json`.

    Args:
        pilot: PATH or PATH#MODEL as in `compare`, or the two shapes of a Beta distribution of success rates, "0.3,2".
        k, shift, spread, power, problems, samples: as `boundary.plan` takes them.
        selection: which samples of a store.
        as_json: print the document.

    Raises:
        InputError: no such pilot, an argument out of range, or a selection where nothing can be selected.
    """
    selection = selection or Selection()
    known = _pilot(pilot, selection)
    more: Json = {} if problems is None else {"problems": problems}
    with progress("simulating studies", 1) as report:
        found = plan(known, k, shift, spread=spread, power=power, samples=samples, **more)
        report(1)
    document = to_json(found)
    print(json.dumps(document, indent=2, allow_nan=False) if as_json else text_of(found))
    return document


def _pilot(text: str, selection: Selection) -> Counts | tuple[float, float]:
    try:
        a, b = (float(x) for x in text.split(","))
    except ValueError:
        refuse_unused(selection, [text])
        return read_side(text, selection).counts
    chosen = [f"--{name}" for name, value in vars(selection).items() if value is not None]
    if chosen:
        raise InputError(
            f"{', '.join(chosen)}: a guess at the rates ({text}) has no problems to choose from; leave it out, or give a pilot"
        )
    if not (0 < a < float("inf") and 0 < b < float("inf")):
        raise InputError(f"PILOT: {text!r}; the two shapes of a Beta distribution are above 0, such as 0.3,2")
    return a, b


def to_json(found: Plan) -> Json:
    """Keys: k, base, shift, spread, power, level, problems, samples, draws, table, needed, error; reason, caveat where there is one.

    `table` and `needed` are of the simultaneous band, by which `compare` judges.
    """
    return {
        "k": found.k,
        "base": found.base,
        "shift": found.shift,
        "spread": found.spread,
        "power": found.power,
        "level": found.level,
        "problems": found.problems or None,
        "samples": found.samples or None,
        "draws": found.draws or None,
        "table": [{"problems": p, "samples": n, "power": power} for (p, n), power in sorted(found.table.items())],
        "needed": {str(n): problems for n, problems in found.needed.items()},
        "error": found.error,
        **({"reason": found.reason} if found.reason else {}),
        **({"caveat": found.caveat} if found.caveat else {}),
    }


def text_of(found: Plan) -> str:
    """The power of each number of problems and samples, and the cheapest that has enough."""
    columns = sorted({n for _, n in found.table})
    rows = [
        (str(count), *(f"{found.table[count, n]:.2f}" for n in columns))
        for count in sorted({p for p, _ in found.table})
    ]
    needed = ("needed", *(str(found.needed[n] or ">5000") for n in columns))
    head = (
        f"power to see pass@{found.k} move from {found.base:.3f} by {found.shift:+g} ({found.spread} problems move), paired, "
        f"{found.level:.0%} band over all k up to n:"
    )
    table = aligned(("problems", *(f"n={n}" for n in columns)), [*rows, needed])
    if found.reason:
        last = found.reason
    else:
        last = (
            f"cheapest with power {found.power:g}: {found.problems} problems x {found.samples} samples of each model, "
            f"{found.draws} draws in all; `offleash compare ... --adaptive` needs fewer"
        )
    note = [f"caveat: {found.caveat}"] if found.caveat else []
    return "\n".join([head, *table, f"(each within +-{2 * found.error:.2f})", "", last, *note])
