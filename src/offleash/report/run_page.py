"""The page of a plain training run: its curves, probes, events, timings, completions and recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offleash.report import completions, digits, figures, history, reading
from offleash.report.facts import finite
from offleash.report.looks import Look
from offleash.report.study_page import Drawer, key, sampler_table, tally, text
from offleash.store import RunFolder

Json = Mapping[str, Any]

LONGEST_LIST = 200
SHOWN_PROBLEMS = 4

KEYS = {
    "kind": "run",
    "title": "name of the run's folder",
    "step": "steps of the metrics columns",
    "metrics.NAME": "a logged metric over those steps; null where it was undefined",
    "probes[]": "step, pass_at_k {K: value, low, high} on probe problems, and what else the probe measured",
    "events[]": "what happened at which step",
    "timings": "steps, seconds by phase and in all, tokens, tokens_per_s (sampled tokens by rollout seconds)",
    "completions[]": "problem id, arms {run: c correct of n decided, distinct_texts, texts}, from the newest samples kept",
    "recipe": "the resolved recipe, as it can be run again",
    "info": "what the run recorded of itself",
    "notes": "what is missing, in words",
}


def run_facts(folder: Path) -> dict[str, Any]:
    """Everything the page says, as one JSON document.

    Raises:
        InputError: no run there, or a damaged file in it.
    """
    run = RunFolder.open(folder)
    found: dict[str, Any] = finite({**history.history(folder), "completions": _completions(run)})
    return {"schema": 1, "kind": "run", "keys": KEYS, "title": folder.resolve().name, **found}


def _completions(run: RunFolder) -> list[dict[str, Any]]:
    """Texts of the newest samples the run kept, if it kept any."""
    samples = run.samples().to_pylist()
    if not samples:
        return []
    verdicts = {_key(row): row for row in run.verdicts().to_pylist()}
    rows = []
    for row in samples:
        judged = verdicts.get(_key(row), {})
        own = {name: judged.get(name) for name in ("correct", "answer", "reason")}
        rows.append({**row, "length": len(row["token_ids"]), **own})
    found = reading.by_problem(rows)
    out = []
    for problem in list(found)[-SHOWN_PROBLEMS:]:
        out.append({"id": problem, "arms": {"run": completions.of_arm(found[problem])}})
    return out


def _key(row: Json) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("model", "problem_id", "index", "seed", "sampler"))


def context(facts: Json) -> tuple[dict[str, Any], dict[str, Any]]:
    """The template's variables, and the figures."""
    own = Look("this run", 1)
    look, drawer = {own.label: own}, Drawer()
    runs = {own.label: facts}
    training = [
        drawer.chart(
            f"training-{metric}", history.TITLES[metric], history.CAPTIONS[metric],
            figures.training(metric, axis, runs, look), missing="The run has not logged this.", short=True,
        )
        for metric, axis in history.CURVES.items()
    ]  # fmt: skip
    others = [
        drawer.chart(f"other-{i}", name, "", figures.training(name, name, runs, look), short=True)
        for i, name in enumerate(n for n in facts["metrics"] if n not in history.CURVES)
    ]
    probes = drawer.chart(
        "probes", "Boundary probes",
        "pass@k on the probe problems, the same at every step, with 95% intervals. Upper lines that fall "
        "while the lowest rises: breadth is traded for accuracy.",
        figures.probes(facts["probes"], own, facts["events"]), missing="No probe was made: the recipe asks for none, or the run has not reached one.",
    )  # fmt: skip
    variables = {
        "title": facts["title"],
        "lede": _lede(facts),
        "notes": facts["notes"],
        "training": [chart for chart in training if facts["metrics"]],
        "others": others,
        "probes": probes,
        "probe_ks": sorted({int(k) for p in facts["probes"] for k in p["pass_at_k"]}),
        "events": [_event(e) for e in facts["events"][-LONGEST_LIST:]],
        "events_left_out": max(0, len(facts["events"]) - LONGEST_LIST),
        "timings": _timings(facts["timings"]),
        "completions": [
            {
                "title": f"Problem {problem['id'][:16]}",
                "because": "",
                "prompt": "",
                "arms": [
                    {"look": key(own), "label": "this run", "tally": tally(a), "texts": [text(t) for t in a["texts"]]}
                    for a in problem["arms"].values()
                ],
            }
            for problem in facts["completions"]
        ],
        "recipe": facts["recipe"],
        "info": sampler_table("", facts["info"]) | {"name": "What the run recorded of itself"},
    }
    return variables, drawer.figures


def _lede(facts: Json) -> str:
    steps = [s for s in facts["step"] if s is not None]
    if not steps:
        return "A training run that has not logged a step yet."
    last = {name: values[-1] for name, values in facts["metrics"].items()}
    shown = [
        f"{name.replace('_', ' ')} {digits.plain(last[name])}"
        for name in ("reward", "token_entropy")
        if last.get(name) is not None
    ]
    return f"A training run of {max(steps)} steps" + (f"; at the last, {', '.join(shown)}." if shown else ".")


def _event(event: Json) -> dict[str, str]:
    rest = {k: v for k, v in event.items() if k not in ("step", "kind", "message")}
    message = str(event.get("message", ""))
    more = ", ".join(f"{k} {v}" for k, v in sorted(rest.items()))
    step = event.get("step")
    return {
        "step": "" if step is None else str(step),
        "kind": str(event.get("kind", "")),
        "message": completions.visible("; ".join(part for part in (message, more) if part) or "-"),
    }


def _timings(facts: Json) -> list[list[str]]:
    if not facts:
        return []
    total = facts["seconds_total"]
    rows = [
        [name.removesuffix("_s"), f"{digits.plain(s)} s", f"{s / total:.0%}" if total else digits.UNDEFINED]
        for name, s in facts["seconds"].items()
    ]
    rows.append(["in all", f"{digits.plain(total)} s", f"{facts['steps']} steps"])
    return [*rows, ["sampled tokens", f"{facts['tokens']:,.0f}", f"{digits.plain(facts['tokens_per_s'])} a second"]]
